package wspush_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// full checks the answer on a connection beyond the limit.
func full(t *testing.T, resp *http.Response) {
	t.Helper()
	var p struct{ Type, Title, Detail string }
	body := text(t, resp)
	if err := json.Unmarshal([]byte(body), &p); err != nil || p.Type != "urn:wspush:full" || p.Title == "" || p.Detail == "" {
		t.Errorf("the problem is %s", body)
	}
	h := resp.Header
	if resp.StatusCode != 503 || h.Get("Retry-After") != "1" || h.Get("Content-Type") != "application/problem+json" {
		t.Errorf("answered %s %v", resp.Status, resp.Header)
	}
}

// TestMaxPushConns: there are never more publishers than the limit, whatever they do. Clients do not notice.
func TestMaxPushConns(t *testing.T) {
	const get, push = "GET /ws/@connections/ID HTTP/1.1\nHost: x\n\n", "PUSH\nContent-Length: 4\n\nfine"
	for entrance := range entrances {
		t.Run(entrance, func(t *testing.T) {
			testutil.NoLeak(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t, entrance, wspush.WorkerOptions{MaxPushConns: 3})
				for range 3 { // each time there is room again
					// One on the lane, if there is one; one with net/http; and one that has sent nothing yet.
					var publishers []io.ReadWriteCloser
					talk := func(i int, request string, want int) {
						t.Helper()
						go io.WriteString(publishers[i], p.request(request))
						resp, err := http.ReadResponse(bufio.NewReader(publishers[i]), nil)
						if err != nil || resp.StatusCode != want {
							t.Fatalf("publisher %d: %v, %v", i, resp, err)
						}
						io.Copy(io.Discard, resp.Body)
					}
					for i, first := range []string{push, get, ""} {
						conn, _ := p.dial(t)
						publishers = append(publishers, p.secure(conn))
						if first != "" {
							talk(i, first, map[string]int{push: 204, get: 200}[first])
						}
					}
					long := "PUSH\nContent-Length: 99999\n\n" + strings.Repeat("x", 9999)
					head := strings.Replace(get, "GET", "HEAD", 1)
					for _, request := range []string{push, get, head, long, "nonsense\n\n", ""} {
						refused(t, p, p.request(request))
					}
					talk(0, push, 204)
					talk(1, get, 200)
					c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, p.Worker, nil)), testutil.Options{Timeout: -1})
					conn, _ := greeted(t, p.Worker, c)
					start(t.Context(), conn, "hello")
					c.Expect(testutil.Text, "hello")
					c.Close()
					for _, i := range []int{2, 0, 1} { // when one leaves, one may come
						publishers[i].Close()
						synctest.Wait()
						conn, _ := p.dial(t)
						publishers[i] = p.secure(conn)
						talk(i, push, 204)
						refused(t, p, p.request(push))
					}
					for _, publisher := range publishers {
						publisher.Close()
					}
					synctest.Wait()
				}
				if got := len(p.messages()); got != 15 {
					t.Errorf("%d messages", got)
				}
			})
		})
	}
}

// refused is a publisher beyond the limit.
func refused(t *testing.T, p *place, request string) {
	t.Helper()
	conn, closed := p.dial(t)
	defer conn.Close()
	if request != "" { // a pipe would pass on even nothing
		go io.WriteString(conn, request)
	}
	in := bufio.NewReader(conn)
	method, _, _ := strings.Cut(request, " ")
	if p.tls != nil || request == "" {
		if b, err := in.ReadByte(); err != io.EOF {
			t.Errorf("answered %q, %v", b, err)
		}
	} else if resp, err := http.ReadResponse(in, &http.Request{Method: method}); err != nil {
		t.Errorf("%.20q is not answered: %v", request, err)
	} else {
		if method != "HEAD" {
			full(t, resp)
		} else if resp.StatusCode != 503 {
			t.Errorf("HEAD is answered %s", resp.Status)
		}
		if _, err := in.ReadByte(); !resp.Close || err != io.EOF {
			t.Errorf("it may go on: %v", err)
		}
	}
	if took := <-closed; took > 500*time.Millisecond {
		t.Errorf("it is kept for %v", took)
	}
}

// An HTTP/2 connection counts once, however many requests it has.
func TestMaxPushConnsHTTP2(t *testing.T) {
	testutil.NoLeak(t)
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, "TLS", wspush.WorkerOptions{MaxPushConns: 2})
		p.tls.NextProtos = []string{"h2"}
		come := func() io.Closer {
			conn, _ := p.dial(t)
			c := tls.Client(conn, p.tls)
			if _, err := io.WriteString(c, preface+string(http2Frame(frameSettings, 0, 0, nil))); err != nil {
				t.Fatal(err)
			}
			go io.Copy(io.Discard, c)
			synctest.Wait()
			return c
		}
		for range 5 {
			first, second := come(), come()
			refused(t, p, "")
			refused(t, p, "PRI")
			first.Close()
			second.Close()
			synctest.Wait()
		}
	})
}

// TestStorm: hundreds of connections beyond the limit, most of them silent, are closed at once, and leave nothing behind.
func TestStorm(t *testing.T) {
	for entrance := range entrances {
		t.Run(entrance, func(t *testing.T) {
			testutil.NoLeak(t)
			synctest.Test(t, func(t *testing.T) {
				p := newPlace(t, entrance, wspush.WorkerOptions{MaxPushConns: 1})
				conn, _ := p.dial(t)
				defer conn.Close()
				c := p.secure(conn)
				in := bufio.NewReader(c)
				push := func() {
					t.Helper()
					go io.WriteString(c, p.request("PUSH\nContent-Length: 4\n\ngood"))
					if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != 204 {
						t.Fatal(resp, err)
					}
				}
				push()
				var storm sync.WaitGroup
				for i := range 500 {
					conn, closed := p.dial(t)
					storm.Go(func() {
						if i%5 == 0 {
							io.WriteString(conn, p.request("PUSH\nContent-Length: 99\n\n"))
						}
						if took := <-closed; took > 500*time.Millisecond {
							t.Errorf("one is kept for %v", took)
						}
					})
				}
				push()
				storm.Wait()
				push()
				// Shutdown does not wait for them any longer either.
				for range 10 {
					p.dial(t)
				}
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				go io.Copy(io.Discard, in) // a pipe would hold up the goodbye of TLS
				began := time.Now()
				p.Shutdown(ended)
				if took := time.Since(began); took > 500*time.Millisecond {
					t.Errorf("Shutdown takes %v", took)
				}
			})
		})
	}
}

// TestTold: a publisher beyond the limit sees the answer, whatever it sends, and not just a reset connection.
func TestTold(t *testing.T) {
	testutil.NoLeak(t)
	w := newWorker(t, &wspush.WorkerOptions{MaxPushConns: 1})
	c, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{0, 1, 5000, 1 << 20} {
		for range 5 {
			full(t, post(t, "http://"+w.Addr().String()+"/ws/@connections/"+unknownID, "", make([]byte, size)))
		}
	}
	c.Close()
	testutil.Eventually(t, "room", func() bool {
		return post(t, "http://"+w.Addr().String()+"/ws/@connections/"+unknownID, "", nil).StatusCode == 410
	})
}

// TestMaxConns: there are never more clients than the limit. Neither publishers nor connected clients notice.
func TestMaxConns(t *testing.T) {
	testutil.NoLeak(t)
	var asked atomic.Int64
	w := newWorker(t, &wspush.WorkerOptions{MaxConns: 2, MaxPushConns: 50})
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) {
		asked.Add(1)
		return nil, nil
	}})
	first, conn, address := dial(t, w, server, testutil.Options{})
	second, _, _ := dial(t, w, server, testutil.Options{})
	for range 3 {
		_, resp, err := testutil.TryDial(t, server, testutil.Options{})
		if err == nil || resp == nil {
			t.Fatalf("the third client gets %v, %v", resp, err)
		}
		full(t, resp)
		want{status: 204}.check(t, "POST", post(t, address, "", []byte("by HTTP")))
		first.Expect(testutil.Text, "by HTTP")
		if _, err := conn.Push(t.Context(), wspush.Text, []byte("in-process")); err != nil {
			t.Error(err)
		}
		first.Expect(testutil.Text, "in-process")
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("Accept is asked %d times", n)
	}
	// The answer to a wrong handshake says what is wrong with it.
	if resp := do(t, newRequest(t, "GET", server+"/ws", nil)); resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("got %s", resp.Status)
	}
	second.Close()
	testutil.Eventually(t, "room", func() bool {
		c, resp, err := testutil.TryDial(t, server, testutil.Options{})
		if err != nil {
			full(t, resp)
			return false
		}
		c.Text() // with which it is registered
		return true
	})
	// However they connect, there are no more of them.
	var in, out atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, _, err := testutil.TryDial(t, server, testutil.Options{}); err == nil {
				in.Add(1)
			} else {
				out.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 0 || w.Len() != 2 {
		t.Errorf("%d more are let in, %d refused, and there are %d", in.Load(), out.Load(), w.Len())
	}
}

// A handshake that fails, or that Accept refuses, takes up no room.
func TestMaxConnsAfterRefusals(t *testing.T) {
	testutil.NoLeak(t)
	w := newWorker(t, &wspush.WorkerOptions{MaxConns: 1})
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(r *http.Request) (any, error) {
		if r.Header.Get("X-Auth") == "no" {
			return nil, wspush.ErrUnauthorized
		}
		return nil, nil
	}})
	for range 3 {
		for _, header := range []http.Header{{"X-Auth": {"no"}}, {"Origin": {"http://evil.test"}}, {"Sec-WebSocket-Key": {"x"}}} {
			if _, resp, err := testutil.TryDial(t, server, testutil.Options{Header: header}); err == nil || resp.StatusCode == 503 {
				t.Errorf("%v: %v, %v", header, resp, err)
			}
		}
	}
	dial(t, w, server, testutil.Options{})
}

// TestMaxPendingAll: the bytes that wait for all clients together are bounded, and counted exactly: whatever becomes of them,
// the same number fits in again afterwards. Clients that read are still pushed to meanwhile.
func TestMaxPendingAll(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, cancel func(), conn *wspush.Conn, client *testutil.Client)
	}{
		{"they leave", func(_ *testing.T, _ func(), _ *wspush.Conn, client *testutil.Client) { client.Close() }},
		{"they read", func(_ *testing.T, _ func(), _ *wspush.Conn, client *testutil.Client) {
			go func() {
				for {
					if _, _, err := client.Message(); err != nil {
						return
					}
				}
			}()
		}},
		{"nobody waits for them, and they leave", func(_ *testing.T, cancel func(), _ *wspush.Conn, client *testutil.Client) {
			cancel()
			synctest.Wait()
			client.Close()
		}},
		{"they are closed", func(_ *testing.T, _ func(), conn *wspush.Conn, _ *testutil.Client) { conn.Close(1000, "") }},
		{"they are cut off", func(*testing.T, func(), *wspush.Conn, *testutil.Client) { <-time.After(time.Minute) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const stalled, size, limit = 4, 1000, 20_000 // a message counts 256 bytes more than it has
				w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.test"}, MaxPendingAll: limit})
				h := newHandler(t, w, nil)
				connect := func() (*wspush.Conn, *testutil.Client) {
					client := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
					conn, _ := greeted(t, w, client)
					synctest.Wait()
					return conn, client
				}
				healthy, reader := connect()
				go func() {
					for {
						if _, _, err := reader.Message(); err != nil {
							return
						}
					}
				}()
				data := strings.Repeat("x", size)
				for round := range 3 {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					var conns []*wspush.Conn
					var clients []*testutil.Client
					var results []<-chan error
					for range stalled {
						conn, client := connect()
						conns, clients = append(conns, conn), append(clients, client)
					}
					waiting := 0
					for i := 0; ; i++ {
						result := start(ctx, conns[i%stalled], data)
						if len(result) == 0 {
							results = append(results, result)
							waiting++
							continue
						}
						if err := <-result; !errors.Is(err, wspush.ErrBusy) {
							t.Fatalf("round %d: push %d: %v", round, i, err)
						}
						break
					}
					if want := limit / (size + 256); waiting != want {
						t.Errorf("round %d: %d messages wait, want %d", round, waiting, want)
					}
					for _, conn := range conns {
						if _, err := conn.Push(ctx, wspush.Text, []byte(data)); !errors.Is(err, wspush.ErrBusy) {
							t.Errorf("round %d: %v", round, err)
						}
						push := newRequest(t, "POST", "http://x/ws/@connections/"+conn.ID(), strings.NewReader(data))
						problem(t, recorded(w, push), 429, "busy", "")
					}
					for range 3 {
						if _, err := healthy.Push(ctx, wspush.Text, []byte(data)); err != nil {
							t.Errorf("round %d: a client that reads: %v", round, err)
						}
						synctest.Wait()
					}
					for i := range conns {
						tc.end(t, cancel, conns[i], clients[i])
					}
					for _, result := range results {
						<-result
					}
					for _, client := range clients {
						client.Close()
					}
					synctest.Wait()
				}
			})
		})
	}
}
