package wspush_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// badListener is a listener whose Accept first returns what fail returns, until that is nil.
type badListener struct {
	net.Listener
	fail  func() error
	calls atomic.Int64
}

func (l *badListener) Accept() (net.Conn, error) {
	l.calls.Add(1)
	if err := l.fail(); err != nil {
		return nil, err
	}
	return l.Listener.Accept()
}

// One error of accept, of whatever kind, and before or after connections, ends nothing, on no way in.
func TestPushAfterAcceptErrors(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	for name, config := range map[string]*tls.Config{"plain": nil, "TLS": {Certificates: []tls.Certificate{certificate}}} {
		t.Run(name, func(t *testing.T) {
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			errnos := []syscall.Errno{syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EPROTO}
			calls := 0
			l := &badListener{Listener: inner, fail: func() error {
				if calls++; calls%2 == 1 && calls/2 < len(errnos) {
					return &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", errnos[calls/2])}
				}
				return nil
			}}
			w := newWorker(t, &wspush.WorkerOptions{Listener: l, TLS: config})
			c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
			for range len(errnos) {
				for _, http2 := range []bool{false, true} { // http2 means nothing without TLS
					resp, err := keeping(t, &tls.Config{RootCAs: pool}, http2).Do(newRequest(t, "POST", conn.PathAddresses()[0], strings.NewReader("hello")))
					if err != nil {
						t.Fatal(err)
					}
					resp.Body.Close()
					want{status: 204}.check(t, "POST", resp)
					c.Expect(testutil.Text, "hello")
				}
			}
			if err := w.Failed(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A worker whose push listener somebody else has closed says so, to its application and to a probe that comes in another way, and
// publishers are refused at once.
func TestFailed(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	l := &badListener{Listener: inner, fail: func() error {
		<-over
		return &net.OpError{Op: "accept", Net: "tcp", Err: net.ErrClosed} // although it is not: a wrapper's mistake
	}}
	w := newWorker(t, &wspush.WorkerOptions{Listener: l, Logger: quiet().Logger})
	c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	probe := func(status int, body string) {
		t.Helper()
		resp := recorded(w, httptest.NewRequest("GET", "/@ready", nil))
		if got := text(t, resp); resp.StatusCode != status || got != body {
			t.Errorf("%s %s, want %d %s", resp.Status, got, status, body)
		}
	}
	if err := w.Failed(); err != nil {
		t.Errorf("at the start: %v", err)
	}
	probe(200, `{"takesPushes":true,"draining":false}`)
	close(over)
	testutil.Eventually(t, "the failure", func() bool { return w.Failed() != nil })
	if err := w.Failed(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the failure is %v", err)
	}
	probe(503, `{"takesPushes":false,"draining":false}`)
	testutil.Eventually(t, "publishers to be refused, rather than wait in a queue", func() bool {
		s, err := net.Dial("tcp", inner.Addr().String())
		if err == nil {
			s.Close()
		}
		return err != nil
	})
	if err := outcome(w.Push(t.Context(), conn.ID(), wspush.Text, []byte("in-process"))); err != nil {
		t.Error(err)
	}
	c.Expect(testutil.Text, "in-process")
}

// An application's listener may return errors for as long as it likes.
func TestFailedForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		l := &badListener{Listener: newLonely(), fail: func() error {
			if time.Since(began) < time.Minute {
				return io.EOF
			}
			return nil
		}}
		w := newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"push.test"}, Logger: quiet().Logger})
		for _, step := range []struct {
			at     time.Duration
			failed bool
		}{{time.Second, false}, {9 * time.Second, false}, {12 * time.Second, true}, {59 * time.Second, true}, {63 * time.Second, false}} {
			testutil.Pass(time.Until(began.Add(step.at)))
			if err := w.Failed(); (err != nil) != step.failed || err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("after %v: %v", step.at, err)
			}
			if resp := recorded(w, httptest.NewRequest("GET", "/@ready", nil)); (resp.StatusCode == 503) != step.failed {
				t.Errorf("after %v a probe is answered %s", step.at, resp.Status)
			}
		}
		if n := l.calls.Load(); n > 80 {
			t.Errorf("%d calls of Accept", n)
		}
		if err := w.Shutdown(t.Context()); err != nil || w.Failed() != nil {
			t.Errorf("Shutdown: %v; then %v", err, w.Failed())
		}
	})
}

// Without a push listener, nothing can fail.
func TestFailedWithoutListener(t *testing.T) {
	if err := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.test"}}).Failed(); err != nil {
		t.Error(err)
	}
}

// lonely is a listener to which nobody connects.
type lonely struct{ closed chan struct{} }

func newLonely() lonely { return lonely{make(chan struct{})} }

func (p lonely) Accept() (net.Conn, error) {
	<-p.closed
	return nil, net.ErrClosed
}

func (p lonely) Close() error {
	close(p.closed)
	return nil
}

func (p lonely) Addr() net.Addr { return &net.UnixAddr{Name: "lonely", Net: "pipe"} }
