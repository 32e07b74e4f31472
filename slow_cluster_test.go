//go:build slow

package wspush_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// returnsWithin fails the test if f does not return within d. It does not wait any longer.
func returnsWithin(t *testing.T, what string, d time.Duration, f func()) {
	t.Helper()
	done := make(chan struct{})
	begun := time.Now()
	go func() { defer close(done); f() }()
	select {
	case <-done:
		t.Logf("%s took %v", what, time.Since(begun))
	case <-time.After(d):
		t.Errorf("%s is not over after %v", what, d)
	}
}

// A worker that takes no bytes does not block a worker that forwards to it for ever, nor that worker's Shutdown.
func TestSlowForwardToHungWorker(t *testing.T) {
	conn, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: hung(t)}}))
	other := rawMember(t, wspush.WorkerOptions{PushTimeout: time.Second})
	push := dialPush(t, other)
	go func() { // 40 MB: more than what the kernel takes
		fmt.Fprintf(push, "POST /ws/@connections/%s HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n", conn.SealedID(), 40_000_000)
		chunk := make([]byte, 1<<20)
		for range 40 {
			if _, err := push.Write(chunk); err != nil {
				return
			}
		}
	}()
	pause(2 * time.Second)
	push.Close() // the publisher leaves, even
	returnsWithin(t, "Shutdown with a context of 1 s", 8*time.Second, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = other.Shutdown(ctx)
	})
}

// Shutdown ends with its context, even if lines of a bulk request wait for another worker.
func TestSlowBulkForwardedShutdown(t *testing.T) {
	holder := newMember(t, wspush.WorkerOptions{})
	client, silent, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{Silent: true})
	other := rawMember(t, wspush.WorkerOptions{})
	b := openBulk(t, dialPush(t, other))
	b.send(fmt.Sprintf(`{"to":%q,"text":"a","confirm":"received","timeout":"30s"}`, silent.SealedID()))
	client.Expect(testutil.Text, "a")
	returnsWithin(t, "Shutdown with a context of 1 s", 8*time.Second, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = other.Shutdown(ctx)
	})
	silent.Close(1000, "")
}

// If a proxy in front of a worker gives up, it is not certain that nothing was written.
func TestSlowProxyTimeout(t *testing.T) {
	var proxy http.Handler
	front := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { proxy.ServeHTTP(w, r) }))
	holder := newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: front}})
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	reverse := &httputil.ReverseProxy{Transport: transport, ErrorLog: nil, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(mustParse("http://" + holder.Addr().String()))
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(504) }}
	proxy = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 300*time.Millisecond)
		defer cancel()
		reverse.ServeHTTP(w, r.WithContext(ctx))
	})
	other := newMember(t, wspush.WorkerOptions{})
	client, silent, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{Silent: true})
	read := expecting(client, "a", "b", "c")
	resp := post(t, sealedURL(other, silent)+"?confirm=received", "", []byte("a"))
	if resp.StatusCode != 504 {
		t.Errorf("the message was written, and the answer is %s %s", resp.Status, text(t, resp))
	}
	if _, err := other.Push(context.Background(), silent.SealedID(), wspush.Text, []byte("b"), wspush.Confirmed()); !errors.Is(err, wspush.ErrUnknown) {
		t.Errorf("the message was written, and the confirmed push returns %v", err)
	}
	_, _ = silent.Push(context.Background(), wspush.Text, []byte("c"))
	<-read
}

// slowFirst passes TCP connections on to a worker. It delays the bytes of the first one.
func slowFirst(t *testing.T, target *atomic.Pointer[string], late time.Duration) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { l.Close(); running.Wait() })
	running.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", *target.Load())
			if err != nil {
				c.Close()
				return
			}
			t.Cleanup(func() { c.Close(); out.Close() })
			running.Go(func() {
				if n == 0 {
					pause(late)
				}
				_, _ = io.Copy(out, c)
				_ = out.(*net.TCPConn).CloseWrite()
			})
			running.Go(func() { _, _ = io.Copy(c, out); c.Close() })
		}
	})
	return "http://" + l.Addr().String()
}

// Lines to one connection are written in order, even if the other worker is slow to answer.
func TestSlowBulkForwardedOrderSlow(t *testing.T) {
	var target atomic.Pointer[string]
	front := slowFirst(t, &target, 1500*time.Millisecond)
	holder := newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: front}})
	at := holder.Addr().String()
	target.Store(&at)
	conn, client := connectTo(t, holder)
	got := make(chan string, 3)
	go func() {
		for range 2 {
			if _, data, err := client.Message(); err == nil {
				got <- string(data)
			}
		}
		close(got)
	}()
	b := openBulk(t, dialPush(t, newMember(t, wspush.WorkerOptions{})))
	b.send(textLine(conn.SealedID(), "first"))
	pause(1200 * time.Millisecond)
	b.send(textLine(conn.SealedID(), "second"))
	t.Log(b.answer(), b.answer())
	if one, two := <-got, <-got; one != "first" || two != "second" {
		t.Errorf("the client got %q, then %q", one, two)
	}
	b.end()
}

// The caller's context bounds Push, even while the worker has to find out whether its address leads to it alone.
func TestSlowAloneContext(t *testing.T) {
	address := hung(t)
	old, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: address}}))
	w := newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: address}})
	go w.Push(context.Background(), old.SealedID(), wspush.Text, nil)
	pause(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := w.Push(ctx, old.SealedID(), wspush.Text, nil)
	if waited := time.Since(begun); waited > time.Second || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Push with a context of 100 ms returned %v after %v", err, waited)
	}
}

// A Push by token to another worker's connection returns the same error as one to an own connection: the context's, if the message
// was withdrawn when that ended.
func TestSlowPushWithdrawn(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{WriteTimeout: -1, MaxPending: -1}), newMember(t, wspush.WorkerOptions{})
	_, conn, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{})
	fill, stop := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer stop()
	for range 20 { // it does not read
		_, _ = holder.Push(fill, conn.ID(), wspush.Text, []byte(strings.Repeat("x", 1<<20)))
	}
	for _, w := range []*wspush.Worker{holder, other} {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		if _, err := w.Push(ctx, conn.SealedID(), wspush.Text, []byte("a")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("own: %v: %v", w == holder, err)
		}
	}
}

// Idle bulk requests do not use up what other requests need.
func TestSlowIdleBulkSlots(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{Logger: noLog}), newMember(t, wspush.WorkerOptions{Logger: noLog, MaxPushConns: 1100})
	conn, client := connectTo(t, holder)
	go func() {
		for {
			if _, _, err := client.Message(); err != nil {
				return
			}
		}
	}()
	for range 1024 {
		b := openBulk(t, dialPush(t, other))
		b.send(textLine(conn.SealedID(), "a"))
		b.answer()
	}
	if resp := post(t, sealedURL(other, conn), "", []byte("a")); resp.StatusCode != 204 {
		t.Errorf("with 1024 idle bulk requests, a push is answered %s", resp.Status)
	}
	conn.Close(1000, "")
}

// A line for which the worker has to find out whether it is alone does not delay the lines before it.
func TestSlowBulkAloneDelay(t *testing.T) {
	address := hung(t)
	old, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: address}}))
	w := newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: address}})
	conn, client := connectTo(t, w)
	read := expecting(client, "a")
	b := openBulk(t, dialPush(t, w))
	begun := time.Now()
	b.send(textLine(conn.ID(), "a"), textLine(old.SealedID(), "b"))
	b.expect(text204(1))
	if waited := time.Since(begun); waited > time.Second {
		t.Errorf("the line before it was answered after %v", waited)
	}
	<-read
}

// valve passes TCP connections on until it is shut. From then on, connections that exist are stuck, and new ones pass.
type valve struct {
	url   string
	stuck atomic.Int64 // connections up to this number are stuck
	n     atomic.Int64 // connections so far
}

func newValve(t *testing.T, scheme string, target *atomic.Pointer[string]) *valve {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{url: scheme + l.Addr().String()}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", *target.Load())
			if err != nil {
				c.Close()
				continue
			}
			number := v.n.Add(1)
			t.Cleanup(func() { c.Close(); out.Close() })
			pass := func(to, from net.Conn) {
				buf := make([]byte, 32<<10)
				for {
					n, err := from.Read(buf)
					for v.stuck.Load() >= number {
						pause(10 * time.Millisecond)
						if _, err := to.Write(nil); err != nil {
							return
						}
					}
					if n > 0 {
						if _, err := to.Write(buf[:n]); err != nil {
							return
						}
					}
					if err != nil {
						to.Close()
						return
					}
				}
			}
			go pass(out, c)
			go pass(c, out)
		}
	}()
	return v
}

// When a connection to another worker is dead, later requests take another one, over HTTP/2 as over HTTP/1.
func TestSlowForwardDeadConnection(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	for _, scheme := range []string{"http://", "https://"} {
		t.Run(scheme, func(t *testing.T) {
			var target atomic.Pointer[string]
			v := newValve(t, scheme, &target)
			opts := wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: v.url, TLS: &tls.Config{RootCAs: pool}}}
			if scheme == "https://" {
				opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
			}
			holder := newMember(t, opts)
			at := holder.Addr().String()
			target.Store(&at)
			conn, client := connectTo(t, holder)
			go func() {
				for {
					if _, _, err := client.Message(); err != nil {
						return
					}
				}
			}()
			other := newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{TLS: &tls.Config{RootCAs: pool}}})
			push := func() error {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				return outcome(other.Push(ctx, conn.SealedID(), wspush.Text, []byte("a")))
			}
			if err := push(); err != nil {
				t.Fatal(err)
			}
			v.stuck.Store(v.n.Load())
			var errs []error
			for range 16 {
				if errs = append(errs, push()); errs[len(errs)-1] == nil {
					break
				}
			}
			t.Logf("%d pushes until one arrived", len(errs))
			if errs[len(errs)-1] != nil {
				t.Errorf("%d connections; %v", v.n.Load(), errs)
			}
			conn.Close(1000, "")
		})
	}
}

// A line that another worker does not answer is answered in time, even while more lines are sent there.
func TestSlowBulkForwardedTimeout(t *testing.T) {
	var target atomic.Pointer[string]
	v := newValve(t, "http://", &target)
	holder := newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: v.url}})
	at := holder.Addr().String()
	target.Store(&at)
	conn, client := connectTo(t, holder)
	push := dialPush(t, newMember(t, wspush.WorkerOptions{PushTimeout: time.Second}))
	_ = push.SetDeadline(time.Now().Add(2 * time.Minute))
	b := openBulk(t, push)
	b.send(textLine(conn.SealedID(), "first"))
	client.Expect(testutil.Text, "first")
	b.expect(text204(1))
	v.stuck.Store(v.n.Load())
	answered := make(chan string, 1)
	begun := time.Now()
	go func() { line, _ := b.answers.ReadString('\n'); answered <- line }()
	for time.Since(begun) < 50*time.Second {
		b.send(textLine(conn.SealedID(), "more"))
		select {
		case line := <-answered:
			t.Logf("%s after %v", line, time.Since(begun))
			return
		case <-time.After(5 * time.Second):
		}
	}
	t.Errorf("the first of the lines is not answered after %v", time.Since(begun))
}

// What takes connections and never opens a link is given up after 3 s, for all pushes that wait for it. Others are refused at once
// for a second.
func TestSlowForwardNeverOpens(t *testing.T) {
	t.Parallel()
	conn, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: hung(t)}}))
	other := newMember(t, wspush.WorkerOptions{})
	var running sync.WaitGroup
	begun := time.Now()
	for range 100 {
		running.Go(func() {
			if resp := post(t, sealedURL(other, conn), "", []byte("a")); resp.StatusCode != 502 {
				t.Errorf("%s %s", resp.Status, text(t, resp))
			}
		})
	}
	running.Wait()
	if waited := time.Since(begun); waited < 2*time.Second || waited > 6*time.Second {
		t.Errorf("answered after %v", waited)
	}
	begun = time.Now()
	if resp := post(t, sealedURL(other, conn), "", []byte("a")); resp.StatusCode != 502 || time.Since(begun) > time.Second {
		t.Errorf("the next one: %s after %v", resp.Status, time.Since(begun))
	}
}

// inProcess runs f in a process of its own, and fails the test if that process crashes.
func inProcess(t *testing.T, f func(t *testing.T)) {
	if os.Getenv("WSPUSH_TEST_CHILD") == t.Name() {
		f(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "WSPUSH_TEST_CHILD="+t.Name())
	out, err := cmd.CombinedOutput()
	for _, sign := range []string{"panic: ", "DATA RACE"} {
		if i := bytes.Index(out, []byte(sign)); i >= 0 {
			t.Errorf("%v\n%.2500s", err, out[i:])
			return
		}
	}
	if err != nil {
		t.Logf("%v\n%.2000s", err, out)
	}
}

// panicsForward is a slog.Handler that panics at one kind of record.
type panicsForward struct{ slog.Handler }

func (panicsForward) Enabled(context.Context, slog.Level) bool { return true }
func (panicsForward) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "cannot be reached") {
		panic("the application's Logger")
	}
	return nil
}

// A Logger that panics does not end the process.
func TestSlowLoggerPanics(t *testing.T) {
	inProcess(t, func(t *testing.T) {
		unreachable, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: "http://" + deadAddress(t)}}))
		b := openBulk(t, dialPush(t, newMember(t, wspush.WorkerOptions{Logger: slog.New(panicsForward{slog.DiscardHandler})})))
		b.send(textLine(unreachable.SealedID(), "a"))
		_, _ = b.answers.ReadString('\n')
	})
}

// lateEOF is a request's body whose reader is suspended for a moment at the end, as the scheduler or a middleware may do.
type lateEOF struct{ io.ReadCloser }

func (b lateEOF) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		pause(100 * time.Millisecond)
	}
	return n, err
}

// The transport may go on reading a body after its request has ended. That must not touch anything that has been released.
func TestSlowForwardBodyEndsLate(t *testing.T) {
	inProcess(t, func(t *testing.T) {
		holder := newMember(t, wspush.WorkerOptions{Logger: noLog})
		other := newMember(t, wspush.WorkerOptions{Logger: noLog, NoListen: true, Advertise: []string{"127.0.0.1:1"}})
		conn, _ := connectTo(t, holder)
		conn.Close(1000, "")
		testutil.Eventually(t, "the connection to end", func() bool { return holder.Len() == 0 })
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = lateEOF{r.Body}
			other.ServeHTTP(w, r)
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		r, w := io.Pipe()
		go func() { fmt.Fprint(w, big[:50_000]); w.Close() }()
		resp, err := server.Client().Post(server.URL+"/ws/@connections/"+conn.SealedID(), "", r)
		fmt.Println(resp, err)
		pause(time.Second)
	})
}

// A process survives publishers over HTTP/2 whose pushes are answered before they have been sent in full.
func TestSlowForwardHTTP2Process(t *testing.T) {
	inProcess(t, func(t *testing.T) {
		certificate, pool := testutil.NewCertificate(t)
		holder := newMember(t, wspush.WorkerOptions{Logger: noLog})
		other := newMember(t, wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Logger: noLog})
		conn, _ := connectTo(t, holder)
		conn.Close(1000, "")
		testutil.Eventually(t, "the connection to end", func() bool { return holder.Len() == 0 })
		address := "https://" + other.Addr().String() + "/ws/@connections/" + conn.SealedID()
		deadline := time.Now().Add(15 * time.Second)
		var running sync.WaitGroup
		for i := range 6 {
			running.Go(func() {
				client := keeping(t, &tls.Config{RootCAs: pool}, true)
				for n := 0; time.Now().Before(deadline); n++ {
					size := 17_000 + (n*7919+i*1000)%200_000
					req, _ := http.NewRequest("POST", address, io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
					if resp, err := client.Do(req); err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				}
			})
		}
		running.Wait()
		fmt.Println("survived")
	})
}
