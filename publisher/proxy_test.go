package publisher_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// inbox is what one client has received, in order.
type inbox struct {
	address string
	mu      sync.Mutex // guards got
	got     []string
}

// collect connects clients that read everything, until the test ends.
func collect(t testing.TB, server string, n int) []*inbox {
	t.Helper()
	all := make([]*inbox, n)
	for i := range all {
		client := testutil.Dial(t, server, testutil.Options{Timeout: time.Minute})
		in := &inbox{address: client.Text()}
		all[i] = in
		read := make(chan struct{})
		go func() {
			defer close(read)
			for {
				_, data, err := client.Message()
				if err != nil {
					return
				}
				in.mu.Lock()
				in.got = append(in.got, string(data))
				in.mu.Unlock()
			}
		}()
		t.Cleanup(func() { client.Close(); <-read })
	}
	return all
}

func (in *inbox) count() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.got)
}

// reverseProxy is Go's, in front of a worker, over HTTP/1.1. Once an answer has begun, it throws away what it still reads of the
// request.
func reverseProxy(t testing.TB, to string) string {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return testutil.Serve(t, &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(u) },
		Transport: transport,
		ErrorLog:  log.New(t.Output(), "", 0),
	})
}

// sized is the n-th message for a client, of about that size, in which every part says where it belongs.
func sized(client, n, size int) string {
	part := fmt.Sprintf("%d/%d ", client, n)
	return strings.Repeat(part, max(1, size/len(part)))
}

// Behind a proxy that loses parts of requests, a Stream loses nothing, writes nothing twice, and keeps the order.
func TestStreamReverseProxy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ size, messages int }{{10, 2000}, {10, 7}, {60_000, 100}, {500_000, 10}} {
		t.Run(fmt.Sprint(test.messages, " of ", test.size), func(t *testing.T) {
			w, server := realWorker(t, wspush.WorkerOptions{})
			clients := collect(t, server, 4)
			proxy := reverseProxy(t, "http://"+w.Addr().String())
			s := newStream(t, newClient(t, publisher.Options{}))
			var all sync.WaitGroup
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			for i := range test.messages {
				c := i % len(clients)
				_, host, _ := strings.Cut(clients[c].address, "@")
				userinfo := strings.TrimSuffix(clients[c].address, "@"+host)
				_, id, _ := strings.Cut(userinfo, "//")
				all.Add(1)
				if err := send(ctx, s, proxy+"/ws/@connections/"+id, sized(c, i, test.size), func(err error) {
					defer all.Done()
					if err != nil {
						t.Errorf("message %d: %v", i, err)
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
			all.Wait()
			for c, in := range clients {
				want := 0
				for i := c; i < test.messages; i += len(clients) {
					want++
				}
				testutil.Eventually(t, "all messages", func() bool { return in.count() >= want })
				in.mu.Lock()
				for n, got := range in.got {
					if got != sized(c, c+n*len(clients), test.size) {
						t.Errorf("client %d: message %d is %.30q", c, n, got)
						break
					}
				}
				if len(in.got) != want {
					t.Errorf("client %d: %d messages, not %d", c, len(in.got), want)
				}
				in.mu.Unlock()
			}
		})
	}
}

// send is Stream.Send of a text.
func send(ctx context.Context, s *publisher.Stream, address, text string, done func(error)) error {
	return s.Send(ctx, address, publisher.Text, []byte(text), done)
}
