package wspushtest_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"
)

// everywhere runs a test in memory in a bubble, in memory outside a bubble, and over the network.
func everywhere(t *testing.T, test func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client)) {
	t.Helper()
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			test(t, func(s *wspushtest.Server, opts *wspushtest.ClientOptions) *wspushtest.Client {
				return wspushtest.Connect(t, s.Handler, "/ws", opts)
			})
		})
	})
	t.Run("memory", func(t *testing.T) {
		test(t, func(s *wspushtest.Server, opts *wspushtest.ClientOptions) *wspushtest.Client {
			return wspushtest.Connect(t, s.Handler, "/ws", opts)
		})
	})
	t.Run("network", func(t *testing.T) {
		test(t, func(s *wspushtest.Server, opts *wspushtest.ClientOptions) *wspushtest.Client {
			return wspushtest.Dial(t, listen(t, s.Handler)+"/ws", opts)
		})
	})
}

// Messages of both types go both ways, in order and whole, whatever their size.
func TestMessages(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client) {
		s := wspushtest.New(t, &wspushtest.Options{Handler: wspush.HandlerOptions{
			ReadLimit: -1,
			OnMessage: func(c *wspush.Conn, typ wspush.MessageType, data []byte) { _, _ = c.Push(c.Context(), typ, data) },
		}})
		c := connect(s, nil)
		long := strings.Repeat("x", 300_000)
		c.Send("a")
		c.SendBinary([]byte{0, 0xff})
		c.Send("")
		c.Send(long)
		c.Expect("a")
		c.ExpectBinary([]byte{0, 0xff})
		c.Expect("")
		c.Expect(long)
		s.PushAndExpect(c, "b")
		c.ExpectNothing(time.Millisecond)
		c.ExpectNothing(0)
	})
}

// The application sees each way of leaving as what it is, and Receive keeps telling the client.
func TestLeaving(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client) {
		reasons := make(chan *wspush.CloseError, 1)
		s := wspushtest.New(t, &wspushtest.Options{Handler: wspush.HandlerOptions{OnDisconnect: func(_ *wspush.Conn, reason error) {
			reasons <- reason.(*wspush.CloseError)
		}}})
		tests := []struct {
			name  string
			leave func(c *wspushtest.Client)
			cause wspush.Cause
			code  int
		}{
			{"Close", func(c *wspushtest.Client) { c.Close(4001, "bye") }, wspush.CauseClient, 4001},
			{"Close, paused", func(c *wspushtest.Client) { c.Pause(); c.Close(4002, "bye") }, wspush.CauseClient, 4002},
			{"Disconnect", func(c *wspushtest.Client) { c.Disconnect(); c.Disconnect() }, wspush.CauseLost, 1006},
			{"Disconnect, paused", func(c *wspushtest.Client) { c.Pause(); c.Disconnect() }, wspush.CauseLost, 1006},
		}
		for _, tt := range tests {
			c := connect(s, nil)
			s.Push(c, "before")
			c.Expect("before")
			tt.leave(c)
			if reason := <-reasons; reason.Cause != tt.cause || reason.Code != tt.code {
				t.Errorf("%s: the application sees %v, want %s %d", tt.name, reason, tt.cause, tt.code)
			}
			for range 2 {
				var end *wspushtest.CloseError
				if _, err := c.Receive(t.Context()); !errors.As(err, &end) || end.Code != tt.code {
					t.Errorf("%s: Receive: %v, want %d", tt.name, err, tt.code)
				}
			}
			c.ExpectClose(tt.code)
		}
	})
}

// Receive obeys its context, and several callers may share the messages.
func TestReceive(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client) {
		s := wspushtest.New(t, nil)
		c := connect(s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		const n = 20
		got := make(chan string, n)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for {
					m, err := c.Receive(ctx)
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						return
					}
					got <- string(m.Data)
				}
			})
		}
		var want, all []string
		for i := range n {
			s.Push(c, fmt.Sprint(i))
			want = append(want, fmt.Sprint(i))
		}
		for range n {
			all = append(all, <-got)
		}
		cancel()
		wg.Wait()
		slices.Sort(want)
		slices.Sort(all)
		if !slices.Equal(all, want) {
			t.Errorf("got %v, want %v", all, want)
		}
	})
}

// The client leaves a server that breaks the protocol at once.
func TestBrokenServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan struct{})
		c := wspushtest.Connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(left)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			accept := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
			fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
				base64.StdEncoding.EncodeToString(accept[:]))
			_, _ = conn.Write([]byte{0x83, 0}) // a frame with a reserved opcode
			_, _ = io.Copy(io.Discard, conn)
		}), "/", &wspushtest.ClientOptions{NoGreeting: true})
		c.ExpectClose(1006)
		<-left
	})
}

// A server that does not read is noticed at the client's timeout.
func TestSendTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wantFailure(t, `fatal: sending the text message "b": the server did not read it within 5s; the connection is closed`, func(tb testing.TB) {
			busy := make(chan struct{})
			s := wspushtest.New(tb, &wspushtest.Options{Handler: wspush.HandlerOptions{OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) { <-busy }}})
			defer close(busy)
			c := s.Connect()
			c.Send("a")
			synctest.Wait()
			c.Send("b")
		})
	})
}

// In a goroutine other than the test's, a failure is reported and ends nothing.
func TestOtherGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wantFailure(t, "want a message; nothing arrived within 5s", func(tb testing.TB) {
			c := wspushtest.New(tb, nil).Connect()
			var wg sync.WaitGroup
			wg.Go(func() {
				if m := c.Next(); m.Data != nil {
					t.Errorf("got %v", m)
				}
			})
			wg.Wait()
		})
	})
}
