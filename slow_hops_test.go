//go:build slow

package wspush_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// valve passes TCP on until it is shut: then what there is gets stuck, and what is new passes again.
type valve struct {
	url   string
	stuck atomic.Int64 // connections up to this number are
	n     atomic.Int64
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

// When a connection to another worker is dead, what comes later takes another, over HTTP/2 as over HTTP/1.
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
				_, err := other.Push(ctx, conn.SealedID(), wspush.Text, []byte("a"))
				return err
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

// A line that another worker does not answer is answered in time, also while more are sent there.
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

// A publisher that is sending when the worker shuts down sees the last line.
func TestSlowBulkShutdownWhileSending(t *testing.T) {
	for i := range 5 {
		w := newWorker(t, &wspush.WorkerOptions{Logger: noLog})
		push := dialPush(t, w)
		b := openBulk(t, push)
		var running sync.WaitGroup
		running.Go(func() {
			body := strings.Repeat(textLine(nobody, "a")+"\n", 100)
			for {
				if _, err := fmt.Fprintf(push, "%x\r\n%s\r\n", len(body), body); err != nil {
					return
				}
			}
		})
		time.AfterFunc(200*time.Millisecond, func() {
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
			defer cancel()
			_ = w.Shutdown(ctx)
		})
		last := ""
		s := bufio.NewScanner(b.answers)
		for s.Scan() {
			last = s.Text()
		}
		if !strings.HasPrefix(last, `{"lines":`) {
			t.Errorf("attempt %d: last line %.100q, %v", i, last, s.Err())
		}
		push.Close()
		running.Wait()
	}
}

var _ = http.NoBody

// A worker that takes a push and never answers leaves its outcome unknown, 5 s after what the push may wait.
func TestSlowForwardUnanswered(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	silent := testutil.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-release }))
	defer close(release)
	conn, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: silent}}))
	other := newMember(t, wspush.WorkerOptions{})
	begun := time.Now()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Post(sealedURL(other, conn), "", strings.NewReader("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if waited := time.Since(begun); resp.StatusCode != 504 || waited < 35*time.Second || waited > 40*time.Second {
		t.Errorf("%s after %v", resp.Status, waited)
	}
}
