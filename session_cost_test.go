package wspush_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// What a session costs beyond a plain connection, while its client is silent and there, and what it costs while its client is away, in bytes,
// beyond what is buffered. Both are documented in docs/sessions.md.
const (
	sessionMost   = 400
	suspendedMost = 1536
)

// TestSessionCost: a session costs little more than a plain connection, and next to nothing while its client is away; and a client that does not
// ask for one costs what it does without sessions.
func TestSessionCost(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	const conns = 1500 // registries and rosters cost each of a few connections more
	request := func(header string) string {
		return "GET /ws HTTP/1.1\r\nHost: h.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
			"Sec-WebSocket-Key: " + sampleKey + "\r\n" + header + "\r\n"
	}
	// cost connects clients, and returns what one of them costs once it is silent, and once it is gone without a word.
	cost := func(opts *wspush.HandlerOptions, header string, isSession bool) (silent, away int) {
		w := newWorker(t, quiet())
		server := testutil.Serve(t, newHandler(t, w, opts))
		clients := make([]net.Conn, conns)
		before := heapInUse()
		for i := range clients {
			clients[i] = greetedClient(t, server, request(header), isSession)
		}
		testutil.Eventually(t, "silence", func() bool {
			silent, busy := lives()
			return silent == conns && busy == 0 && (!isSession || w.Stats().Pongs == conns)
		})
		silent = (heapInUse() - before) / conns
		for _, c := range clients {
			c.Close()
		}
		clients = nil
		testutil.Eventually(t, "the WebSockets to end", func() bool { silent, busy := lives(); return silent+busy == 0 })
		if isSession {
			if n := w.Stats().Sessions.Suspended; n != conns {
				t.Fatalf("%d sessions are suspended", n)
			}
			away = (heapInUse() - before) / conns
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		return silent, away
	}
	testutil.Eventually(t, "earlier tests to leave", func() bool { silent, busy := lives(); return silent+busy == 0 })
	sessions := &wspush.HandlerOptions{ResumeWindow: time.Hour}
	offer := "Sec-WebSocket-Protocol: wspush.v1\r\n"
	cost(nil, "", false) // whatever is made once
	cost(sessions, offer, true)
	plain, _ := cost(nil, "", false)
	beside, _ := cost(sessions, "", false)
	session, away := cost(sessions, offer, true)
	t.Logf("a plain connection costs %d bytes, %d beside sessions, a session %d, and %d while its client is away", plain, beside, session, away)
	if session-plain > sessionMost {
		t.Errorf("a session costs %d bytes more than a plain connection, which may be %d", session-plain, sessionMost)
	}
	if away > suspendedMost {
		t.Errorf("a suspended session costs %d bytes, which may be %d", away, suspendedMost)
	}
	if diff := beside - plain; diff > 32 || diff < -32 {
		t.Errorf("a plain connection costs %d bytes more where there can be sessions", diff)
	}
}

// greetedClient connects with a request, and reads the greeting, or the hello, and answers the ping behind that. Nothing keeps the client but the
// caller, who closes it.
func greetedClient(t *testing.T, server, request string, answers bool) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	next := func(first byte) []byte {
		head := make([]byte, 2)
		if _, err := io.ReadFull(in, head); err != nil || head[0] != first {
			t.Fatalf("%#x, %v", head, err)
		}
		n := int(head[1])
		if n == 126 {
			if _, err := io.ReadFull(in, head); err != nil {
				t.Fatal(err)
			}
			n = int(binary.BigEndian.Uint16(head))
		}
		data := make([]byte, n)
		if _, err := io.ReadFull(in, data); err != nil {
			t.Fatal(err)
		}
		return data
	}
	next(0x81)
	if answers {
		if _, err := c.Write(wire(frame(true, testutil.Pong, string(next(0x89))))); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// A push to a session, and to a plain connection: both in the same run, to clients that read at once and answer pings.
func BenchmarkPushSession(b *testing.B) {
	w := newWorker(b, &wspush.WorkerOptions{Logger: noLog})
	server := testutil.Serve(b, newHandler(b, w, &wspush.HandlerOptions{ResumeWindow: time.Hour}))
	for _, size := range []int{100, 2000} {
		for _, kind := range []string{"plain", "session"} {
			b.Run(fmt.Sprintf("%s/bytes=%d", kind, size), func(b *testing.B) {
				tcp, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
				if err != nil {
					b.Fatal(err)
				}
				header := http.Header{}
				if kind == "session" {
					header.Set("Sec-WebSocket-Protocol", "wspush.v1")
				}
				client := testutil.Handshake(b, tcp, testutil.Options{Timeout: -1, Header: header})
				first := client.Text() // the greeting, or the hello
				_, id, _ := strings.Cut(first, "http://")
				id, _, _ = strings.Cut(id, "@")
				conn, ok := w.Conn(id)
				if !ok {
					b.Fatal(first)
				}
				go func() {
					for {
						if _, _, err := client.Message(); err != nil {
							return
						}
					}
				}()
				defer tcp.Close()
				data := make([]byte, size)
				pings := w.Stats().Pings
				b.ReportAllocs()
				for b.Loop() {
					if _, err := conn.Push(context.Background(), wspush.Binary, data); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(w.Stats().Pings-pings)/float64(b.N)*1000, "pings/1000")
			})
		}
	}
}
