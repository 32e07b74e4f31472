package wspushtest_test

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
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

// A paused client reads nothing, however often it is paused, and nothing is lost.
func TestPause(t *testing.T) {
	everywhere(t, func(t *testing.T, connect func(*wspushtest.Server, *wspushtest.ClientOptions) *wspushtest.Client) {
		s := wspushtest.New(t, nil)
		c := connect(s, nil)
		for i := range 20 {
			c.Pause()
			c.Pause()
			pushed := make(chan error, 1)
			message := fmt.Sprint(i)
			go func() { _, err := s.Worker.Push(t.Context(), c.ID, wspush.Text, []byte(message)); pushed <- err }()
			c.ExpectNothing(2 * time.Millisecond)
			c.Resume()
			c.Resume()
			c.Expect(message)
			if err := <-pushed; err != nil {
				t.Error(err)
			}
		}
	})
}

// The application gets what the handshake carries, and the client gets the application's answers.
func TestClientOptions(t *testing.T) {
	w := wspushtest.NewWorker(t, nil)
	var seen *http.Request
	h, err := wspush.NewHandler(w, &wspush.HandlerOptions{
		Subprotocols: []string{"v2", "v1"},
		Accept: func(r *http.Request) (any, error) {
			seen = r.Clone(context.Background())
			return nil, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/ws?a=b", "http://example.com/ws?a=b", "https://example.com/ws?a=b", "ws://example.com/ws?a=b"} {
		c := wspushtest.Connect(t, h, target, &wspushtest.ClientOptions{
			Header: http.Header{"Cookie": {"session=s1"}, "Origin": {"https://example.com"}}, Subprotocols: []string{"v0", "v1"},
		})
		cookie, err := seen.Cookie("session")
		if err != nil || cookie.Value != "s1" || seen.Host != "example.com" || seen.URL.RequestURI() != "/ws?a=b" {
			t.Errorf("%s: the application sees %v, %v, %s%s", target, cookie, err, seen.Host, seen.URL.RequestURI())
		}
		if host, port, err := net.SplitHostPort(seen.RemoteAddr); err != nil || net.ParseIP(host) == nil || port == "" {
			t.Errorf("%s: the client's address is %q, %v", target, seen.RemoteAddr, err)
		}
		if got := c.Subprotocol(); got != "v1" {
			t.Errorf("%s: the subprotocol is %q", target, got)
		}
		if conn, ok := w.Conn(c.ID); !ok || conn.Info().Path != "/ws" || c.Address() != "http://"+c.ID+"@worker.test/ws" {
			t.Errorf("%s: the client's ID is %q, its address %s", target, c.ID, c.Address())
		}
	}
	resp := wspushtest.ExpectRefused(t, h, "/ws", http.StatusForbidden, &wspushtest.ClientOptions{Header: http.Header{"Origin": {"https://evil.test"}}})
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("the refusal is of type %q", got)
	}
}

// The ID is read from the default greeting in any of its forms, and from no other greeting.
func TestGreetings(t *testing.T) {
	key := []byte(strings.Repeat("k", 32))
	none := func(*wspush.Conn) string { return "" }
	greeting := func(text string) func(*wspush.Conn) (wspush.MessageType, []byte) {
		return func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(text) }
	}
	tests := []struct {
		name      string
		opts      wspushtest.Options
		addresses int
		id        func(c *wspush.Conn) string
	}{
		{"one address", wspushtest.Options{}, 1, (*wspush.Conn).ID},
		{"two addresses", wspushtest.Options{Worker: wspush.WorkerOptions{Advertise: []string{"https://a.test/x", "10.0.0.5:9000"}}}, 2, (*wspush.Conn).ID},
		{"sealed", wspushtest.Options{Worker: wspush.WorkerOptions{
			PublicURL: "https://push.test", Cluster: &wspush.Cluster{Keys: [][]byte{key}, Address: "http://10.0.0.5:9000"}}}, 1, (*wspush.Conn).SealedID},
		{"paths", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			return wspush.Text, []byte(strings.Join(c.PathAddresses(), ","))
		}}}, 1, (*wspush.Conn).ID},
		{"another", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: greeting("hello, you")}}, 0, none},
		{"a URL with a user", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: greeting("http://you@example.com/ws")}}, 0, none},
		{"a URL", wspushtest.Options{Handler: wspush.HandlerOptions{Greeting: greeting("http://example.com/@connections/you")}}, 0, none},
		{"none", wspushtest.Options{
			Handler: wspush.HandlerOptions{Greeting: func(*wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, nil }},
			Client:  wspushtest.ClientOptions{NoGreeting: true},
		}, 0, none},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := wspushtest.New(t, &tt.opts)
				c := s.Connect()
				synctest.Wait()
				for conn := range s.Worker.Conns() {
					if want := tt.id(conn); c.ID != want || len(c.Addresses) != tt.addresses {
						t.Errorf("ID %q, addresses %q, of %v; want ID %q, %d addresses", c.ID, c.Addresses, c.Greeting, want, tt.addresses)
					}
					if c.ID == "" {
						c.ID = conn.ID()
					}
				}
				s.PushAndExpect(c, "found")
			})
		})
	}
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
