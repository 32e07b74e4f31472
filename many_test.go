package wspush_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// publisher is one that keeps its connections, as real ones do. It may be used by several goroutines.
func publisher(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// publish posts a text message and returns the status.
func publish(client *http.Client, address, message string) (int, error) {
	resp, err := client.Post(address, "text/plain", strings.NewReader(message))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// The problem that wspush exists for, and its cure. Two workers stand behind one front, which takes them in turns. A
// message that is posted to the front reaches either, and half of the time it is the one that has never heard of the
// client: 410. Posted to the address in the greeting it arrives, 1000 of 1000.
func TestTwoWorkersBehindOneFront(t *testing.T) {
	t.Parallel()
	var upstreams []*url.URL
	workers := map[string]*wspush.Worker{}
	for range 2 {
		w := newWorker(t, nil)
		mux := http.NewServeMux()
		mux.Handle("GET /ws", newHandler(t, w, nil))
		mux.Handle("/ws", w) // so that a push to the front can reach the right worker at all
		u, err := url.Parse(testutil.Serve(t, mux))
		if err != nil {
			t.Fatal(err)
		}
		upstreams = append(upstreams, u)
		workers[w.Addr().String()] = w
	}
	var turn atomic.Int64
	front := testutil.Serve(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstreams[turn.Add(1)%2])
		r.Out.Host = r.In.Host
	}})

	client := testutil.Dial(t, front, testutil.Options{})
	address := client.Text()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if workers[u.Host].Len() != 1 {
		t.Fatalf("%s does not name the worker that has the connection", address)
	}
	received := make(chan int, 1)
	go func() {
		n := 0
		for {
			_, data, err := client.Message()
			if err != nil || string(data) == "end" {
				received <- n
				return
			}
			n++
		}
	}()

	const pushes = 1000
	count := map[int]int{}
	throughFront := strings.Replace(address, u.Host, strings.TrimPrefix(front, "http://"), 1)
	p := publisher(t)
	for i := range 2 * pushes {
		to := throughFront
		if i >= pushes {
			to = address
		}
		status, err := publish(p, to, "message")
		if err != nil {
			t.Fatal(err)
		}
		if i >= pushes && status != 204 {
			t.Fatalf("push %d to the greeting's address: %d", i-pushes, status)
		}
		count[status]++
	}
	missed := count[410]
	if missed == 0 || count[204]+missed != 2*pushes {
		t.Errorf("answers: %v", count)
	}
	if status, err := publish(p, address, "end"); err != nil || status != 204 {
		t.Error(status, err)
	}
	if n := <-received; n != 2*pushes-missed {
		t.Errorf("%d received, %d answered with 204", n, 2*pushes-missed)
	}
	t.Logf("through the front %d of %d missed; at the address none of %d", missed, pushes, pushes)
}

// 500 clients connect at once, and each is pushed to 20 times by 16 publishers, while others come and go. Every message
// reaches its own client, once, and none other; the messages of each publisher arrive in order.
func TestManyClientsManyPublishers(t *testing.T) {
	t.Parallel()
	const clients, publishers, messages = 500, 16, 20
	w := newWorker(t, nil)
	server := serve(t, w, nil)

	// Those who come and go, and whose addresses must not reach anyone else.
	stop := make(chan struct{})
	var passers sync.WaitGroup
	p := publisher(t)
	for range 4 {
		passers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, _, err := testutil.TryDial(t, server, testutil.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				_, address, err := c.Message()
				if err != nil {
					t.Error(err)
				}
				c.Close()
				if status, err := publish(p, string(address), "stray"); err != nil || status != 204 && status != 410 && status != 504 {
					t.Errorf("to a client that has left: %d, %v", status, err)
				}
			}
		})
	}

	addresses := make([]string, clients)
	var connected, done sync.WaitGroup
	connected.Add(clients)
	for i := range clients {
		done.Go(func() {
			c, _, err := testutil.TryDial(t, server, testutil.Options{})
			if err != nil {
				t.Error(err)
				connected.Done()
				return
			}
			defer c.Close()
			_, address, err := c.Message()
			if err != nil {
				t.Error(err)
			}
			addresses[i] = string(address)
			connected.Done()
			var next [publishers]int
			for n := range messages {
				_, data, err := c.Message()
				var to, from, seq int
				if _, scan := fmt.Sscanf(string(data), "%d %d %d", &to, &from, &seq); err != nil || scan != nil {
					t.Errorf("client %d, message %d: %q, %v", i, n, data, err)
					return
				}
				if to != i || seq < next[from] {
					t.Errorf("client %d got %q; expected at least %d from this publisher", i, data, next[from])
				}
				next[from] = seq + 1
			}
			// Nothing more: the next frame answers this close.
			c.SendClose(1000, "")
			if op, data, err := c.Message(); err == nil {
				t.Errorf("client %d got one message too many: %v %q", i, op, data)
			}
		})
	}
	connected.Wait()
	if t.Failed() {
		t.FailNow()
	}
	var sending sync.WaitGroup
	for from := range publishers {
		sending.Go(func() {
			order := rand.Perm(clients)
			for seq := from; seq < messages; seq += publishers {
				for _, to := range order {
					status, err := publish(p, addresses[to], fmt.Sprintf("%d %d %d", to, from, seq))
					if err != nil || status != 204 {
						t.Errorf("push: %d, %v", status, err)
					}
				}
			}
		})
	}
	sending.Wait()
	done.Wait()
	close(stop)
	passers.Wait()
	if s := w.Stats(); s.Written < clients*messages {
		t.Errorf("Stats: %+v", s)
	}
	if err := w.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
