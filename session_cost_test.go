package wspush_test

import (
	"bufio"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A session takes at most 400 bytes more than a plain connection, and 1.5 KiB while it is suspended, beside what is buffered.
func TestSessionCost(t *testing.T) {
	if raced || testing.Short() {
		t.Skip("the race detector takes memory of its own")
	}
	const n = 1000
	w := newWorker(t, quiet())
	server := strings.TrimPrefix(serve(t, w, &wspush.HandlerOptions{ResumeWindow: time.Hour}), "http://")
	memory := func() int64 {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	connect := func(offers string) (each int64, clients []net.Conn) {
		before := memory()
		for range n {
			conn, err := net.Dial("tcp", server)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", server, offers)
			br := bufio.NewReaderSize(conn, 1024)
			for line := ""; line != "\r\n"; {
				if line, err = br.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = br.ReadByte()
			clients = append(clients, conn)
		}
		testutil.Eventually(t, "the clients to be greeted", func() bool {
			for c := range w.Conns() {
				if c.Info().Pending > 0 {
					return false
				}
			}
			return true
		})
		return (memory() - before) / n, clients
	}
	measure := func(offers string) int64 {
		each, clients := connect(offers)
		for _, c := range clients {
			fmt.Fprint(c, "\x88\x80\x00\x00\x00\x00") // a close frame, which ends a session, too
			c.Close()
		}
		testutil.Eventually(t, "the clients to be gone", func() bool { return w.Len() == 0 })
		return each
	}
	const offer = "Sec-WebSocket-Protocol: wspush.v1\r\n"
	measure(offer) // what is made once
	plain, session := measure(""), measure(offer)
	for range 3 { // the heap is not the test's alone
		plain, session = max(plain, measure("")), min(session, measure(offer))
	}
	before := memory()
	_, clients := connect(offer)
	for _, c := range clients {
		c.Close()
	}
	clients = nil
	testutil.Eventually(t, "the clients to be away", func() bool { return w.Stats().Sessions.Suspended == n })
	suspended := (memory() - before) / n
	t.Logf("plain %d, session %d, suspended %d bytes", plain, session, suspended)
	if session > plain+400 || suspended > 1536 {
		t.Errorf("a connection takes %d bytes, a session %d, and a suspended one %d", plain, session, suspended)
	}
}
