package wspush_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// wire returns frames as they go over the network.
func wire(frames ...testutil.Frame) (raw []byte) {
	for _, f := range frames {
		raw = testutil.AppendFrame(raw, f, [4]byte{0x5a, 0x12, 0xf0, 0x81})
	}
	return raw
}

// receive returns the next value from the channel, and ends the test if none comes.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("waited 10 s in vain for %s", what)
		panic("not reached")
	}
}

// lives counts the goroutines of connections: those that wait for a silent client, and all others.
func lives() (silent, busy int) {
	buf := make([]byte, 4<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		switch {
		case strings.Contains(stack, "socket.(*Socket).Await("):
			silent++
		case strings.Contains(stack, "wspush.(*life)"), strings.Contains(stack, "socket.(*Socket)"):
			busy++
		}
	}
	return silent, busy
}

// A connection whose client is silent costs one goroutine on the smallest stack there is, whatever has happened before.
func TestSilentConnectionIsOneGoroutine(t *testing.T) {
	conns := 400 // enough for what else the runtime does with stacks not to count
	if raced {
		conns = 100
	}
	testutil.Eventually(t, "earlier tests to leave", func() bool { silent, busy := lives(); return silent+busy == 0 })
	w := newWorker(t, quiet())
	server := serve(t, w, &wspush.HandlerOptions{OnMessage: echo(t)})
	var none, some runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&none)
	clients := make([]*testutil.Client, conns)
	goroutines := runtime.NumGoroutine()
	for i := range clients {
		clients[i], _, _ = dial(t, w, server, testutil.Options{})
	}
	settled := func(what string) {
		t.Helper()
		testutil.Eventually(t, "one goroutine for each connection after "+what, func() bool {
			silent, busy := lives()
			return silent == conns && busy == 0 && runtime.NumGoroutine() <= goroutines+conns
		})
		if raced {
			return
		}
		testutil.Eventually(t, "small stacks after "+what, func() bool {
			runtime.GC() // frees the stacks of goroutines that have ended
			runtime.ReadMemStats(&some)
			return int(some.StackInuse)-int(none.StackInuse) < conns*4000 // 2 KiB are the least, 4 KiB the next; 1 KiB more or less is the runtime's
		})
	}
	settled("the greeting")
	for _, c := range clients {
		c.Send(testutil.Pong, []byte("1"))
	}
	settled("a pong")
	for _, c := range clients {
		c.Send(testutil.Text, []byte(big[:40_000]))
	}
	for _, c := range clients {
		c.Expect(testutil.Text, big[:40_000])
	}
	settled("a message and its answer")
	for _, c := range clients {
		c.Write(wire(frame(true, testutil.Pong, "1"), frame(false, testutil.Text, "in ")))
		c.Write(wire(frame(true, testutil.Pong, "2"), frame(true, testutil.Continuation, "parts"), frame(true, testutil.Text, "next")))
	}
	for _, c := range clients {
		c.Expect(testutil.Text, "in parts")
		c.Expect(testutil.Text, "next")
	}
	settled("messages and pongs at once")
}

// A client that is silent after the close frame, or does anything but answer it, is released 2 s after the frame is out, together
// with the goroutine that waits for it, whatever closes the connection.
func TestCloseWhileSilent(t *testing.T) {
	closers := map[string]struct {
		close func(w *wspush.Worker, conn *wspush.Conn)
		cause wspush.Cause
	}{
		"Close":    {func(w *wspush.Worker, conn *wspush.Conn) { conn.Close(1000, "") }, wspush.CauseClosed},
		"timer":    {func(w *wspush.Worker, conn *wspush.Conn) {}, wspush.CauseIdle},
		"Shutdown": {func(w *wspush.Worker, conn *wspush.Conn) { w.Shutdown(context.Background()) }, wspush.CauseShutdown},
	}
	peers := map[string]struct {
		does  func(client *testutil.Client) // after the close frame, in a goroutine
		lasts time.Duration                 // the connection, from then on
	}{
		"silent": {func(client *testutil.Client) {}, 2 * time.Second},
		"talks on": {func(client *testutil.Client) {
			for client.WriteFrame(frame(true, testutil.Text, "too late")) == nil && client.WriteFrame(frame(true, testutil.Ping, "")) == nil {
				<-time.After(70 * time.Millisecond)
			}
		}, 2 * time.Second},
		"in the midst of a message": {func(client *testutil.Client) { client.Conn().Write(wire(frame(true, testutil.Text, "too late"))[:10]) }, 2 * time.Second},
		"answers late": {func(client *testutil.Client) {
			<-time.After(time.Second)
			client.WriteFrame(frame(true, testutil.Close, "\x03\xe8"))
		}, time.Second},
		"answers behind more": {func(client *testutil.Client) {
			client.Conn().Write(wire(frame(true, testutil.Text, "too late"), frame(true, testutil.Ping, ""), frame(true, testutil.Close, "\x03\xe8"), frame(true, testutil.Text, "too late")))
		}, 0},
		"breaks the protocol": {func(client *testutil.Client) { client.Conn().Write([]byte{0xff, 0xff}) }, 2 * time.Second},
		"leaves":              {func(client *testutil.Client) { client.Close() }, 0},
	}
	for by, closer := range closers {
		for does, peer := range peers {
			t.Run(by+", "+does, func(t *testing.T) {
				var ended time.Time
				opts := &wspush.HandlerOptions{
					PingInterval: time.Minute, IdleTimeout: time.Hour,
					OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { t.Errorf("OnMessage got %q", data) },
					OnDisconnect: func(_ *wspush.Conn, reason error) {
						ended = time.Now()
						if got := reason.(*wspush.CloseError).Cause; got != closer.cause {
							t.Errorf("the cause is %v, want %v", got, closer.cause)
						}
					},
				}
				bubble(t, wspush.WorkerOptions{}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
					var doing sync.WaitGroup
					doing.Go(func() { closer.close(w, conn) })
					for client.NextFrame().Op != testutil.Close { // pings
					}
					out := time.Now()
					doing.Go(func() { peer.does(client) })
					for {
						if _, err := client.ReadFrame(); err != nil {
							break
						}
						t.Error("a frame behind the close frame")
					}
					if took := time.Since(out); took != peer.lasts {
						t.Errorf("the connection has lasted %v after the close frame, want %v", took, peer.lasts)
					}
					doing.Wait()
					synctest.Wait()
					if ended.Sub(out) != peer.lasts {
						t.Errorf("OnDisconnect was called %v after the close frame, want %v", ended.Sub(out), peer.lasts)
					}
					if silent, busy := lives(); silent+busy > 0 {
						t.Errorf("%d goroutines are left", silent+busy)
					}
				})
			})
		}
	}
}

// ends are the ways in which a client can end its network connection.
var ends = map[string]func(t *testing.T, conn net.Conn){
	"FIN": func(t *testing.T, conn net.Conn) { conn.Close() },
	"RST": func(t *testing.T, conn net.Conn) {
		conn = tcpOf(conn)
		if tcp, ok := conn.(*net.TCPConn); ok {
			if err := tcp.SetLinger(0); err != nil {
				t.Fatal(err)
			}
		}
		conn.Close()
	},
	"half-close": func(t *testing.T, conn net.Conn) {
		if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		// The server has no use for a connection whose client sends nothing more, and closes it.
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, conn); err != nil && !testutil.IsReset(err) {
			t.Errorf("the server's half ended with %v", err)
		}
	},
}

// tcpOf is the connection under TLS.
func tcpOf(conn net.Conn) net.Conn {
	if c, ok := conn.(*tls.Conn); ok {
		return c.NetConn()
	}
	return conn
}

// The server notices at once that a client has vanished, although it expects nothing from it; also after pongs and messages.
func TestClientVanishesWhileSilent(t *testing.T) {
	said := map[string][]byte{
		"":                  nil,
		" after a pong":     wire(frame(true, testutil.Pong, "1")),
		" after a message":  wire(frame(true, testutil.Text, "hello")),
		" in a pong":        wire(frame(true, testutil.Pong, "1"))[:6],
		" in a pong's head": wire(frame(true, testutil.Pong, "1"))[:1],
	}
	for name, connect := range stages {
		for how, vanish := range ends {
			if name == "pipe" && how == "half-close" { // a pipe has none
				continue
			}
			for what, raw := range said {
				t.Run(name+", "+how+what, func(t *testing.T) {
					j := newJournal()
					w := newWorker(t, quiet())
					client := testutil.Handshake(t, connect(t, newHandler(t, w, j.options())), testutil.Options{})
					greeted(t, w, client)
					if len(raw) > 0 {
						client.Write(raw)
					}
					vanish(t, client.Conn())
					if reason := receive(t, "OnDisconnect", j.ended); reason.Cause != wspush.CauseLost || reason.Code != 1006 {
						t.Errorf("reason: %v", reason)
					}
					if n := w.Len(); n != 0 {
						t.Errorf("%d connections are left", n)
					}
				})
			}
		}
	}
}

// All silent connections end at once when Shutdown's context ends, and their OnDisconnect is called before Shutdown returns.
func TestShutdownCutsTheSilent(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, connect := range stages {
		t.Run(name, func(t *testing.T) {
			const conns = 5
			j := newJournal()
			w := newWorker(t, quiet())
			h := newHandler(t, w, j.options())
			clients := make([]*testutil.Client, conns)
			for i := range clients {
				clients[i] = testutil.Handshake(t, connect(t, h), testutil.Options{Silent: true})
				greeted(t, w, clients[i])
			}
			if err := w.Shutdown(ended); err != nil && err != context.Canceled {
				t.Error(err)
			}
			if w.Len() != 0 {
				t.Errorf("%d connections are left", w.Len())
			}
			for _, c := range clients {
				for { // maybe a close frame, then the end
					if _, err := c.ReadFrame(); err != nil {
						break
					}
				}
			}
			for range clients {
				select {
				case reason := <-j.ended:
					if reason.Cause != wspush.CauseShutdown {
						t.Errorf("reason: %v", reason)
					}
				case <-time.After(time.Second): // less than a client gets to answer a close frame
					t.Fatal("a connection has not ended")
				}
			}
		})
	}
}

// A silent connection ends once, however many close it at the same time, and whatever the client does meanwhile.
func TestEndsOnce(t *testing.T) {
	for name, connect := range stages {
		t.Run(name, func(t *testing.T) {
			for range 10 {
				j := newJournal()
				w := newWorker(t, quiet())
				client := testutil.Handshake(t, connect(t, newHandler(t, w, j.options())), testutil.Options{})
				conn, _ := greeted(t, w, client)
				closed := make(chan error, 4)
				var wg sync.WaitGroup
				for range cap(closed) {
					wg.Go(func() { closed <- conn.Close(1000, "") })
				}
				wg.Go(func() { client.WriteFrame(frame(true, testutil.Pong, "1")) })
				wg.Go(func() { client.WriteFrame(frame(true, testutil.Close, "\x03\xe8")) })
				var err error
				for err == nil {
					_, _, err = client.Message()
				}
				client.Close()
				wg.Wait()
				reason := receive(t, "OnDisconnect", j.ended)
				wins := 0
				for range cap(closed) {
					if <-closed == nil {
						wins++
					}
				}
				if want := map[wspush.Cause]int{wspush.CauseClosed: 1, wspush.CauseClient: 0}; wins != want[reason.Cause] {
					t.Errorf("%d calls of Close were the first, and the reason is %v", wins, reason)
				}
				if err := w.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
				j.mu.Lock()
				entries := slices.Clone(j.entries)
				j.mu.Unlock()
				if !slices.Equal(entries, []string{"connect", "disconnect"}) {
					t.Errorf("callbacks: %q", entries)
				}
			}
		})
	}
}
