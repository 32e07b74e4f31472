package wspush_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// The parts of a push, for benchstat to compare two commits; bench/ compares with other libraries.

// quiet is a log of nothing, for what is repeated a million times.
func quiet() *wspush.WorkerOptions {
	return &wspush.WorkerOptions{Logger: slog.New(slog.DiscardHandler)}
}

// readers connects n clients that read and drop whatever comes.
func readers(b *testing.B, w *wspush.Worker, server string, n int) []*wspush.Conn {
	var wg sync.WaitGroup
	conns := make([]*wspush.Conn, n)
	for i := range conns {
		client, conn, _ := dial(b, w, server+"/ws", testutil.Options{})
		conns[i] = conn
		wg.Go(func() { _, _ = io.Copy(io.Discard, client.Conn()) })
	}
	b.Cleanup(wg.Wait) // after the Close that is registered next, since the last comes first
	b.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close(1000, "")
		}
	})
	return conns
}

var payload = []byte(strings.Repeat("x", 100))

// One connection, and one to many publishers in the same process.
func BenchmarkPush(b *testing.B) {
	for _, publishers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			w := newWorker(b, quiet())
			c := readers(b, w, serve(b, w, nil), 1)[0]
			ctx := context.Background()
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for i := range publishers {
				n := b.N / publishers
				if i < b.N%publishers {
					n++
				}
				wg.Go(func() {
					for range n {
						if _, err := w.Push(ctx, c.ID(), wspush.Text, payload); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// Many connections of another worker, by their sealed IDs, and many publishers in the same process.
func BenchmarkPushElsewhere(b *testing.B) {
	for _, publishers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("publishers=%d", publishers), func(b *testing.B) {
			options := *quiet()
			holder, other := newMember(b, options), newMember(b, options)
			conns := readers(b, holder, serve(b, holder, nil), 500)
			sealed := make([]string, len(conns))
			for i, c := range conns {
				sealed[i] = c.SealedID()
			}
			ctx := context.Background()
			b.ReportAllocs()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range publishers {
				wg.Go(func() {
					for n := left.Add(-1); n >= 0; n = left.Add(-1) {
						if _, err := other.Push(ctx, sealed[int(n)%len(sealed)], wspush.Text, payload); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// answerPings reads short frames, and answers pings without an allocation, until the connection ends.
func answerPings(conn io.ReadWriter) {
	r := bufio.NewReader(conn)
	pong := make([]byte, 6+125)
	for {
		first, err := r.ReadByte()
		if err != nil {
			return
		}
		n, _ := r.ReadByte()
		pong[0], pong[1] = 0x80|byte(testutil.Pong), 0x80|n // masked with nothing but zeros
		if _, err := io.ReadFull(r, pong[6:6+int(n)]); err != nil {
			return
		}
		if first == 0x80|byte(testutil.Ping) {
			_, _ = conn.Write(pong[:6+int(n)])
		}
	}
}

// One connection and one publisher that waits for each confirmation.
func BenchmarkPushConfirmed(b *testing.B) {
	w := newWorker(b, quiet())
	client, conn, _ := dial(b, w, serve(b, w, nil), testutil.Options{})
	var reading sync.WaitGroup
	reading.Go(func() { answerPings(client.Conn()) })
	defer reading.Wait()
	defer client.Close()
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Push(ctx, wspush.Text, payload, wspush.Confirmed()); err != nil {
			b.Fatal(err)
		}
	}
}

// A connection chosen at random for each push, by its ID; write(2) is a bare write of the same bytes to the same sockets.
func BenchmarkPushRandom(b *testing.B) {
	const clients = 500
	recorder := &recordingListener{}
	w := newWorker(b, quiet())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	recorder.Listener = l
	server := &http.Server{Handler: newHandler(b, w, nil)}
	go server.Serve(recorder)
	b.Cleanup(func() { server.Close() })
	conns := readers(b, w, "http://"+l.Addr().String(), clients)
	order := make([]int, 1<<16)
	for i := range order {
		order[i] = rand.IntN(clients)
	}
	ids := make([]string, clients)
	for i, c := range conns {
		ids[i] = c.ID()
	}
	b.Run("Push", func(b *testing.B) {
		ctx := context.Background()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := w.Push(ctx, ids[order[i%len(order)]], wspush.Text, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("write", func(b *testing.B) {
		frame := append([]byte{0x81, byte(len(payload))}, payload...)
		for i := 0; b.Loop(); i++ {
			if _, err := recorder.conns[order[i%len(order)]].Write(frame); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// recordingListener keeps the connections that it accepts, and hands them on as they are.
type recordingListener struct {
	net.Listener
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func (l *recordingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

// One push by HTTP, with the request's way through net/http on both sides.
func BenchmarkPost(b *testing.B) {
	w := newWorker(b, quiet())
	c := readers(b, w, serve(b, w, nil), 1)[0]
	url := c.PathAddresses()[0]
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	b.ReportAllocs()
	for b.Loop() {
		resp, err := client.Post(url, "text/plain", strings.NewReader(string(payload)))
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			b.Fatal(resp.Status)
		}
	}
}

// From the handshake to the close frame's answer.
func BenchmarkConnect(b *testing.B) {
	w := newWorker(b, quiet())
	server := serve(b, w, nil)
	b.ReportAllocs()
	for b.Loop() {
		client := testutil.Dial(b, server+"/ws", testutil.Options{})
		client.Text()
		client.SendClose(1000, "")
		client.AwaitClose()
		client.Close()
	}
}
