//go:build slow

package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// returnsWithin fails the test if f is not over in that time. It waits for it no longer than that.
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

// rawMember is newMember without the clean-up's Shutdown.
func rawMember(t *testing.T, opts wspush.WorkerOptions) *wspush.Worker {
	opts.Logger = noLog
	c := wspush.Cluster{}
	if opts.Cluster != nil {
		c = *opts.Cluster
	}
	c.Keys = [][]byte{clusterKey}
	opts.Cluster = &c
	w, err := wspush.NewWorker(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// hung accepts connections, and does nothing with them: a process that is stopped.
func hung(t *testing.T) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return "http://" + l.Addr().String()
}

// A worker that takes no bytes does not hold up whoever forwards to it, for ever, nor its Shutdown.
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

// Shutdown ends with its context, also when lines of a bulk request wait for another worker.
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

// Whoever gets to see a proof, such as what listens now where a worker did, cannot use it for anything else.
func TestSlowHopReplay(t *testing.T) {
	var seen atomic.Pointer[http.Request]
	stranger := testutil.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen.Store(r.Clone(context.Background())) }))
	dead, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: stranger}}))
	refuseAll := func(*http.Request) error { return wspush.ErrForbidden }
	victim := newMember(t, wspush.WorkerOptions{AuthorizePush: refuseAll})
	client, conn, _ := dial(t, victim, serve(t, victim, nil), testutil.Options{})
	first := newMember(t, wspush.WorkerOptions{})
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			if _, data, err := client.Message(); err != nil {
				return
			} else {
				t.Logf("the client of the victim got %q", data)
			}
		}
	}()

	t.Run("bulk", func(t *testing.T) { // a proof for one bulk request is one for all, at every worker
		b := openBulk(t, dialPush(t, first))
		b.send(textLine(dead.SealedID(), "a"))
		b.answer()
		req := newRequest(t, "POST", "http://"+victim.Addr().String()+"/ws/@connections", strings.NewReader(textLine(conn.ID(), "by the proof of another bulk request")))
		req.Header.Set("Content-Type", "application/x-ndjson")
		req.Header.Set("Wspush-Hop", seen.Load().Header.Get("Wspush-Hop"))
		if resp := do(t, req); resp.StatusCode != 403 && resp.StatusCode != 508 {
			t.Errorf("%s %s", resp.Status, text(t, resp))
		}
	})
	t.Run("userinfo", func(t *testing.T) { // it is of the path's last segment, and the push goes to the user
		_, _ = first.Push(context.Background(), dead.SealedID(), wspush.Text, []byte("a"))
		was := seen.Load()
		req := newRequest(t, "POST", "http://"+victim.Addr().String()+"/x/"+dead.SealedID()+"?"+was.URL.RawQuery, strings.NewReader("by the proof of a push to someone else"))
		req.SetBasicAuth(conn.ID(), "")
		req.Header.Set("Wspush-Hop", was.Header.Get("Wspush-Hop"))
		if resp := do(t, req); resp.StatusCode != 403 && resp.StatusCode != 508 {
			t.Errorf("%s %s", resp.Status, text(t, resp))
		}
	})
	t.Run("answer", func(t *testing.T) { // what answers need not be the worker: any worker's proof will do
		forger := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			out, _ := http.NewRequest(r.Method, "http://"+victim.Addr().String()+r.URL.RequestURI(), nil)
			out.Header = r.Header.Clone()
			resp, err := http.DefaultTransport.RoundTrip(out)
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
			w.Header().Set("Wspush-Hop", resp.Header.Get("Wspush-Hop"))
			w.WriteHeader(204)
		}))
		to, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: forger}}))
		if resp := post(t, sealedURL(first, to), "", []byte("a")); resp.StatusCode == 204 {
			t.Errorf("nothing was written, and the answer is %s", resp.Status)
		}
	})
	conn.Close(1000, "")
	<-read
}

// A proxy before one worker that gives up does not make it certain that nothing was written.
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

// slowFirst passes TCP on to a worker, the first connection's bytes late.
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

// The lines to one connection are written in their order, also when the other worker is slow to answer.
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

// The caller's context bounds the wait of Push, also when a worker has to find out whether it is alone.
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

// Push by a token returns what it returns for one's own: the context's error for a message that was withdrawn when it ended.
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

// A bulk request that is idle does not use up what is there for others.
func TestSlowIdleBulkSlots(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{Logger: noLog}), newMember(t, wspush.WorkerOptions{Logger: noLog})
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

// A line that has the worker find out whether it is alone does not hold up those before it.
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
