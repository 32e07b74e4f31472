package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// What the seed gets wrong: one test for each row of the second table of SEED.md, which is quoted above it.

// status fails the test unless the answer has this status.
func status(t *testing.T, resp *http.Response, want int) {
	t.Helper()
	if resp.StatusCode != want {
		t.Errorf("%s %s: %s, want %d", resp.Request.Method, resp.Request.URL, resp.Status, want)
	}
}

// "ID is the file descriptor: after a client leaves, a push to its address reaches the next client"
func TestSeedIDReused(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	seen := map[string]bool{}
	first, _, old := dial(t, w, server, testutil.Options{})
	for range 20 {
		first.Close()
		testutil.Eventually(t, "the client to leave", func() bool { return w.Len() == 0 })
		next, _, address := dial(t, w, server, testutil.Options{})
		status(t, post(t, old, "", []byte("for the one who left")), 410)
		status(t, post(t, address, "", []byte("for the next")), 204)
		next.Expect(testutil.Text, "for the next")
		if seen[address] {
			t.Fatalf("address %s is used again", address)
		}
		seen[address] = true
		first, old = next, address
	}
}

// "unknown ID, no ID, malformed ID: all 400"
func TestSeedWhichID(t *testing.T) {
	w := newWorker(t, nil)
	_, _, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	_, hostAndPath, _ := strings.Cut(address, "@")
	status(t, post(t, "http://"+unknownID+"@"+hostAndPath, "", []byte("x")), 410)
	status(t, post(t, "http://"+hostAndPath, "", []byte("x")), 401)
	status(t, post(t, "http://12@"+hostAndPath, "", []byte("x")), 400)
}

// "two workers have the same IDs; a push through the public port reaches a stranger"
func TestSeedStranger(t *testing.T) {
	a, b := newWorker(t, nil), newWorker(t, nil)
	serverA, serverB := serve(t, a, nil), serve(t, b, nil)
	clientA, connA, addressA := dial(t, a, serverA, testutil.Options{})
	clientB, connB, _ := dial(t, b, serverB, testutil.Options{})
	if connA.ID() == connB.ID() {
		t.Fatal("two workers have the same ID")
	}
	toB := strings.Replace(addressA, a.Addr().String(), b.Addr().String(), 1)
	status(t, post(t, toB, "", []byte("for a stranger")), 410)
	for _, public := range []string{serverA, serverB} {
		status(t, post(t, strings.Replace(public, "://", "://"+connA.ID()+"@", 1)+"/ws", "", []byte("for a stranger")), 405)
		status(t, post(t, public+"/ws/@connections/"+connA.ID(), "", []byte("for a stranger")), 405)
	}
	status(t, post(t, addressA, "", []byte("for A")), 204)
	clientA.Expect(testutil.Text, "for A")
	if _, err := connB.Push(t.Context(), wspush.Text, []byte("for B")); err != nil {
		t.Fatal(err)
	}
	clientB.Expect(testutil.Text, "for B")
}

// "body over about 1 KB cut, over 10 KB replaced by nothing, still 204; several chunks: only the first"
func TestSeedBodyCut(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytes: 30_000})
	c, _, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, n := range []int{1025, 9_000, 10_241, 30_000, 30_001} {
		for _, pieces := range []int{1, 3} {
			data := strings.Repeat("0123456789", n/10+1)[:n]
			var body io.Reader = strings.NewReader(data)
			if pieces > 1 { // an io.Pipe: each write is a chunk
				r, w := io.Pipe()
				go func() {
					defer w.Close()
					for i := range pieces {
						io.WriteString(w, data[i*n/pieces:(i+1)*n/pieces])
					}
				}()
				body = r
			}
			resp := do(t, newRequest(t, "POST", address, body))
			if n > 30_000 {
				status(t, resp, 413)
				continue
			}
			status(t, resp, 204)
			c.Expect(testutil.Text, data)
		}
	}
	post(t, address, "", []byte("and nothing in between"))
	c.Expect(testutil.Text, "and nothing in between")
}

// "an empty POST kills the worker"
func TestSeedEmptyPost(t *testing.T) {
	w := newWorker(t, nil)
	c, _, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	status(t, post(t, address, "", nil), 204)
	c.Expect(testutil.Text, "")
	status(t, post(t, address, "image/png", nil), 204)
	c.Expect(testutil.Binary, "")
	status(t, post(t, address, "", []byte("alive")), 204)
	c.Expect(testutil.Text, "alive")
}

// "binary or invalid UTF-8 sent as text; the client drops the connection"
func TestSeedBinaryAsText(t *testing.T) {
	w := newWorker(t, nil)
	c, _, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	status(t, post(t, address, "image/png", []byte("\x89PNG\xff")), 204)
	c.Expect(testutil.Binary, "\x89PNG\xff")
	status(t, post(t, address, "text/plain", []byte("\x89PNG\xff")), 400)
	status(t, post(t, address, "", []byte("cut: \xc3")), 400)
	status(t, post(t, address, "", []byte("ü")), 204)
	c.Expect(testutil.Text, "ü") // and nothing of the refused ones before it
}

// "a client that does not read: every push 204, memory grows without bound, then stalls"
func TestSeedClientDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reasons := make(chan error, 1)
		w, _, conn := overPipe(t, wspush.WorkerOptions{MaxPending: 10_000, WriteTimeout: 10 * time.Second},
			&wspush.HandlerOptions{OnDisconnect: func(_ *wspush.Conn, reason error) { reasons <- reason }})
		start := time.Now()
		outcomes := make(chan error, 100)
		for range cap(outcomes) {
			go func() { outcomes <- outcome(w.Push(context.Background(), conn.ID(), wspush.Text, make([]byte, 744))) }()
		}
		synctest.Wait()
		if n := len(outcomes); n != 90 { // each costs 1000 bytes
			t.Errorf("%d of %d pushes are refused", n, cap(outcomes))
		}
		for range len(outcomes) {
			if err := <-outcomes; !errors.Is(err, wspush.ErrBusy) {
				t.Fatalf("got %v before the client has read", err)
			}
		}
		var closed *wspush.CloseError
		if err := <-reasons; !errors.As(err, &closed) || closed.Cause != wspush.CauseWriteTimeout {
			t.Errorf("OnDisconnect got %v", err)
		}
		if took := time.Since(start); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("the client is cut off after %v", took)
		}
		for range 10 {
			if err := <-outcomes; !errors.Is(err, wspush.ErrGone) && !errors.Is(err, wspush.ErrUnknown) {
				t.Errorf("got %v for a client that has read nothing", err)
			}
		}
		if _, err := w.Push(context.Background(), conn.ID(), wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// "a client that died: pushes 204 and vanish until the idle timeout" (1: the socket says so)
func TestSeedClientDied(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	for name, die := range map[string]func(net.Conn){
		"FIN": func(c net.Conn) { c.Close() },
		"RST": func(c net.Conn) { c.(*net.TCPConn).SetLinger(0); c.Close() },
	} {
		c, conn, address := dial(t, w, server, testutil.Options{})
		die(c.Conn())
		select {
		case <-conn.Context().Done():
		case <-time.After(2 * time.Second):
			t.Errorf("%s: the connection lives on", name)
		}
		status(t, post(t, address, "", []byte("x")), 410)
	}
}

// "a client that died: pushes 204 and vanish until the idle timeout" (2: nobody says so, and pushes go on)
func TestSeedClientSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, conn := overPipe(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{PingInterval: 20 * time.Second, IdleTimeout: 30 * time.Second})
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { // the kernel of the dead client's machine, say: it takes everything, and nobody answers
			for {
				if _, err := c.ReadFrame(); err != nil {
					return
				}
			}
		})
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for err := error(nil); err == nil; <-tick.C {
			_, err = w.Push(t.Context(), conn.ID(), wspush.Text, []byte("x"))
			if err != nil && !errors.Is(err, wspush.ErrGone) {
				t.Errorf("Push: %v", err)
			}
			if time.Since(start) > 2*time.Minute {
				t.Fatal("a dead client is pushed to for ever")
			}
		}
		var closed *wspush.CloseError
		if err := context.Cause(conn.Context()); !errors.As(err, &closed) || closed.Cause != wspush.CauseNoAnswer {
			t.Errorf("ended by %v", err)
		}
		c.Close()
		wg.Wait()
	})
}

// "the client's Close frame is not answered"
func TestSeedCloseUnanswered(t *testing.T) {
	w := newWorker(t, nil)
	c, _, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	c.SendClose(1000, "bye")
	if code, _ := c.AwaitClose(); code != 1000 {
		t.Errorf("answered with %d", code)
	}
	c.AwaitEOF()
}

// "the first frame, if it arrives with the handshake, is lost"
func TestSeedFirstFrameLost(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{OnMessage: echo(t)})
	early := testutil.AppendFrame(nil, frame(true, testutil.Text, "early"), [4]byte{1, 2, 3, 4})
	c, _, _ := dial(t, w, server, testutil.Options{Early: early})
	c.Expect(testutil.Text, "early")
}

// "one ping only, never repeated"
func TestSeedOnePing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c, _ := overPipe(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{PingInterval: 10 * time.Second, IdleTimeout: 45 * time.Second})
		start := time.Now()
		var got []string
		for {
			f := c.NextFrame()
			got = append(got, fmt.Sprint(f.Op, " ", time.Since(start).Round(time.Second)))
			if f.Op == testutil.Close {
				break
			}
			if len(got) == 2 { // activity: all over again, from here
				c.Send(testutil.Pong, f.Payload)
				synctest.Wait()
			}
		}
		c.Close()
		want := "ping 10s, ping 20s, ping 30s, ping 40s, ping 50s, ping 1m0s, close 1m5s"
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

// "a GET without upgrade headers gets 101"
func TestSeedNoUpgrade(t *testing.T) {
	w := newWorker(t, nil)
	status(t, do(t, newRequest(t, "GET", serve(t, w, nil)+"/ws", nil)), 426)
	if w.Len() != 0 {
		t.Error("there is a connection")
	}
}

// "the publisher hangs for ever if the client leaves in the middle of its push"
func TestSeedPublisherHangs(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxPending: 4 << 20})
	c, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})

	publish := func(body io.Reader) <-chan int {
		answered := make(chan int, 1)
		req := newRequest(t, "POST", address, body)
		go func() {
			defer close(answered)
			resp, err := try(req)
			if err != nil {
				t.Errorf("no answer: %v", err)
				return
			}
			answered <- resp.StatusCode
		}()
		return answered
	}
	// In the middle of its message, which the client does not read; bigger than the kernel's buffers.
	inMessage := publish(strings.NewReader(strings.Repeat("x", 1<<20)))
	if _, err := io.ReadFull(c.Conn(), make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	// In the middle of its body.
	body, rest := io.Pipe()
	inBody := publish(body)
	if _, err := rest.Write([]byte("begun")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-conn.Context().Done()
	first := <-inMessage
	rest.Close()
	second := <-inBody
	// The kernel may have taken the whole message, in which case 204 is right.
	if first != 204 && first != 504 || second != 410 {
		t.Errorf("the publishers are answered with %d and %d", first, second)
	}
}

// "memory lost for every connection that closes; use after free; crashes under 20 concurrent connects"
func TestSeedLeaksAndCrashes(t *testing.T) {
	testutil.NoLeak(t)
	var (
		mu    sync.Mutex // guards conns
		conns []weak.Pointer[wspush.Conn]
	)
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{OnConnect: func(c *wspush.Conn) {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, weak.Make(c))
	}})
	files := testutil.OpenFiles(t)
	for range 5 {
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				c, _, err := testutil.TryDial(t, server, testutil.Options{})
				if err != nil {
					t.Errorf("connecting: %v", err)
					return
				}
				defer c.Close()
				_, greeting, err := c.Message()
				if err != nil {
					t.Errorf("the greeting: %v", err)
					return
				}
				req, err := http.NewRequest("POST", string(greeting), strings.NewReader(string(greeting)))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := try(req)
				if err != nil || resp.StatusCode != 204 {
					t.Errorf("pushing: %v, %v", resp, err)
					return
				}
				if _, data, err := c.Message(); err != nil || string(data) != string(greeting) {
					t.Errorf("got %q, %v; want %q", data, err, greeting)
				}
			})
		}
		wg.Wait()
		testutil.Eventually(t, "the clients to leave", func() bool { return w.Len() == 0 })
	}
	testutil.Eventually(t, "the descriptors to be closed", func() bool { return testutil.OpenFiles(t) <= files })
	testutil.Eventually(t, "the memory of all connections to be freed", func() bool {
		runtime.GC()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			if c.Value() != nil {
				return false
			}
		}
		return len(conns) == 200
	})
}
