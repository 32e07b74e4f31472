package wspush_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
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

// A client need answer only the latest of several pings, and may take its time. Any other pong is a sign of life and nothing more.
// Times count from the beginning of the connection.
func TestPongs(t *testing.T) {
	type step struct {
		at      time.Duration
		payload string // of a pong
	}
	const s = time.Second
	tests := map[string]struct {
		pongs []step
		want  []string // what the server sends until 10 s are over, with pings each second and the end after 3.5 s
	}{
		"only the latest of two": {[]step{{2 * s, "1"}, {4 * s, "2"}}, []string{"1s 1", "2s 1", "3s 2", "4s 2", "5s 3", "6s 3", "7s 3", "7.5s close"}},
		"late": {[]step{{2500 * time.Millisecond, "1"}, {5700 * time.Millisecond, "2"}},
			[]string{"1s 1", "2s 1", "3.5s 2", "4.5s 2", "5.5s 2", "6.7s 3", "7.7s 3", "8.7s 3", "9.2s close"}},
		"twice":              {[]step{{time.Second, "1"}, {1500 * time.Millisecond, "1"}, {2 * s, "1"}}, []string{"1s 1", "3s 2", "4s 2", "5s 2", "5.5s close"}},
		"something else":     {[]step{{500 * time.Millisecond, "1"}, {2 * s, ""}, {2500 * time.Millisecond, "2"}, {3 * s, "01"}}, []string{"1.5s 1", "4s 1", "5s 1", "6s 1", "6.5s close"}},
		"each for two":       {[]step{{s, "1"}, {3 * s, "2"}, {5 * s, "3"}, {7 * s, "4"}, {9 * s, "5"}}, []string{"1s 1", "2s 2", "3s 2", "4s 3", "5s 3", "6s 4", "7s 4", "8s 5", "9s 5", "10s 6"}},
		"before it is asked": {[]step{{s - 1, "1"}}, []string{"1.999999999s 1", "2.999999999s 1", "3.999999999s 1", "4.499999999s close"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			opts := &wspush.HandlerOptions{PingInterval: time.Second, IdleTimeout: 3500 * time.Millisecond}
			bubble(t, wspush.WorkerOptions{}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
				begin := time.Now()
				var got []string
				done := make(chan struct{})
				go func() {
					defer close(done)
					for {
						f, err := client.ReadFrame()
						if err != nil {
							return
						}
						what := string(f.Payload)
						if f.Op != testutil.Ping {
							what = f.Op.String()
						}
						got = append(got, fmt.Sprint(time.Since(begin), " ", what))
					}
				}()
				for _, step := range tt.pongs {
					testutil.Pass(step.at - time.Since(begin))
					synctest.Wait() // so that a ping of the same moment goes out first, and is answered
					client.Send(testutil.Pong, []byte(step.payload))
				}
				testutil.Pass(10*s - time.Since(begin))
				synctest.Wait()
				client.Close()
				<-done
				if !slices.Equal(got, tt.want) {
					t.Errorf("the server sent\n%q, want\n%q", got, tt.want)
				}
			})
		})
	}
}

// Unsolicited pongs are allowed everywhere (RFC 6455 section 5.5.3), in any number of pieces, and do no harm to the messages around
// them, on a silent connection and on one that is being read.
func TestPongsUnasked(t *testing.T) {
	pong := func(payload string) []byte { return wire(frame(true, testutil.Pong, payload)) }
	hello := wire(frame(true, testutil.Text, "hello"))
	pieces := func(raw []byte, size int) [][]byte { return slices.Collect(slices.Chunk(raw, size)) }
	full := strings.Repeat("\xff", 125)
	var lengths, lengthsTogether [][]byte
	for n := range 126 {
		lengths = append(lengths, pong(full[:n]))
	}
	lengthsTogether = [][]byte{bytes.Join(lengths, nil)}
	halves := slices.Concat(wire(frame(false, testutil.Text, "he")), pong("?"), pong(full), pong(""), wire(frame(true, testutil.Continuation, "llo")))
	tests := map[string]struct {
		writes [][]byte
		want   int // messages
	}{
		"of each length":                 {lengths, 0},
		"of each length, at once":        {lengthsTogether, 0},
		"of each length, in pieces of 7": {pieces(lengthsTogether[0], 7), 0},
		"byte by byte":                   {pieces(slices.Concat(pong("1"), pong(""), pong("12345")), 1), 0},
		"the longest, byte by byte":      {pieces(pong(full), 1), 0},
		"before a message":               {[][]byte{slices.Concat(pong("1"), hello)}, 1},
		"before each byte of a message":  {pieces(slices.Concat(pong("1"), hello), len(pong("1"))+1), 1},
		"before half a message":          {[][]byte{slices.Concat(pong("1"), hello[:8]), hello[8:]}, 1},
		"before a byte of a message":     {[][]byte{slices.Concat(pong("1"), hello[:1]), hello[1:]}, 1},
		"behind a message":               {[][]byte{slices.Concat(hello, pong("1"))}, 1},
		"around messages":                {[][]byte{slices.Concat(pong(""), hello, pong("1"), pong("2"), hello, pong(full), hello, pong("1"))}, 3},
		"between fragments, at once":     {[][]byte{halves}, 1},
		"between fragments, in pieces":   {pieces(halves, 5), 1},
		"between fragments, by bytes":    {pieces(halves, 1), 1},
		"of messages and pongs, in 32s":  {pieces(bytes.Repeat(slices.Concat(pong("1"), hello), 20), 32), 20},
		"of messages and pongs, in 31s":  {pieces(bytes.Repeat(slices.Concat(pong("1"), hello), 20), 31), 20},
	}
	for name, connect := range stages {
		w := newWorker(t, quiet())
		messages := make(chan string, 100)
		h := newHandler(t, w, &wspush.HandlerOptions{OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { messages <- string(data) }})
		for what, tt := range tests {
			t.Run(name+", "+what, func(t *testing.T) {
				client := testutil.Handshake(t, connect(t, h), testutil.Options{})
				conn, _ := greeted(t, w, client)
				defer client.Close()
				for range 2 { // from a connection that has been silent so far, and one that has not
					for _, raw := range tt.writes {
						client.Write(raw)
					}
					client.Send(testutil.Text, []byte("end"))
					for n := 0; ; n++ {
						got := receive(t, "OnMessage", messages)
						if got == "end" && n == tt.want {
							break
						}
						if got != "hello" || n >= tt.want {
							t.Fatalf("message %d of %d: %.100q", n, tt.want, got)
						}
					}
				}
				go conn.Push(context.Background(), wspush.Text, []byte("alive"))
				client.Expect(testutil.Text, "alive")
			})
		}
	}
}

// Pongs that arrive while a callback runs wait with everything else. The one among them that answers a ping counts afterwards.
func TestPongsDuringCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, proceed := make(chan string), make(chan struct{})
		_, client, _ := overPipe(t, wspush.WorkerOptions{}, &wspush.HandlerOptions{
			PingInterval: time.Second, IdleTimeout: time.Minute,
			OnMessage: func(_ *wspush.Conn, _ wspush.MessageType, data []byte) {
				calls <- string(data)
				<-proceed
			},
		})
		begin := time.Now()
		pongs := []testutil.Frame{frame(true, testutil.Pong, "0"), frame(true, testutil.Pong, "1"), frame(true, testutil.Pong, "?")}
		client.Send(testutil.Text, []byte("first"))
		if got := <-calls; got != "first" {
			t.Fatalf("got %q", got)
		}
		for i := range 3 {
			client.Expect(testutil.Ping, "1")
			if at := time.Since(begin); at != time.Duration(i+1)*time.Second {
				t.Errorf("ping %d after %v", i, at)
			}
		}
		wrote := make(chan error)
		go func() {
			var errs []error
			for _, f := range slices.Concat(pongs, []testutil.Frame{frame(true, testutil.Text, "second")}, pongs) {
				errs = append(errs, client.WriteFrame(f))
			}
			wrote <- errors.Join(errs...)
		}()
		synctest.Wait()
		proceed <- struct{}{}
		if got := <-calls; got != "second" {
			t.Fatalf("got %q", got)
		}
		proceed <- struct{}{}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		client.Expect(testutil.Ping, "2")
		if at := time.Since(begin); at != 4*time.Second {
			t.Errorf("the ping after that came after %v", at)
		}
	})
}

// An invalid pong is a violation like any other, on a silent connection or behind valid frames, at once or byte by byte.
func TestPongsWrong(t *testing.T) {
	good := frame(true, testutil.Pong, "1")
	wrong := map[string][]byte{
		"RSV1":                wire(testutil.Frame{Fin: true, Rsv: 4, Op: testutil.Pong, Masked: true, Payload: []byte("1")}),
		"RSV2":                wire(testutil.Frame{Fin: true, Rsv: 2, Op: testutil.Pong, Masked: true, Payload: []byte("1")}),
		"RSV3":                wire(testutil.Frame{Fin: true, Rsv: 1, Op: testutil.Pong, Masked: true, Payload: []byte("1")}),
		"unmasked":            wire(testutil.Frame{Fin: true, Op: testutil.Pong, Payload: []byte("123456")}),
		"unmasked, as if not": append(wire(testutil.Frame{Fin: true, Op: testutil.Pong, Payload: []byte("12345")}), "mask"...),
		"no FIN":              wire(frame(false, testutil.Pong, "1")),
		"126 bytes":           wire(frame(true, testutil.Pong, strings.Repeat("x", 126))),
		"64 KiB":              wire(frame(true, testutil.Pong, strings.Repeat("x", 1<<16))),
	}
	before := map[string][]byte{
		"":                  nil,
		" behind a pong":    wire(good),
		" behind a message": wire(frame(true, testutil.Text, "hello")),
		" in a message":     wire(frame(false, testutil.Text, "hello")),
	}
	for name, connect := range stages {
		j := newJournal()
		w := newWorker(t, quiet())
		h := newHandler(t, w, j.options())
		for what, raw := range wrong {
			for where, first := range before {
				for _, size := range []int{1, len(first) + len(raw)} {
					if size == 1 && len(raw) > 200 {
						continue
					}
					t.Run(fmt.Sprintf("%s, %s%s, %d at a time", name, what, where, size), func(t *testing.T) {
						client := testutil.Handshake(t, connect(t, h), testutil.Options{})
						greeted(t, w, client)
						defer client.Close()
						go func() { // until the server has had enough
							for piece := range slices.Chunk(slices.Concat(first, raw), size) {
								if _, err := client.Conn().Write(piece); err != nil {
									return
								}
							}
						}()
						f := client.NextFrame()
						if f.Op != testutil.Close || len(f.Payload) < 2 || binary.BigEndian.Uint16(f.Payload) != 1002 {
							t.Errorf("got a %v, want a close frame with 1002", f)
						}
						client.Close()
						if reason := receive(t, "OnDisconnect", j.ended); reason.Cause != wspush.CauseProtocol || reason.Code != 1002 {
							t.Errorf("reason: %v", reason)
						}
					})
				}
			}
		}
	}
}
