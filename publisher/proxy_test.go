package publisher_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
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

// sized is the n-th message of a client, of about that size, in which every part says where it belongs.
func sized(client, n, size int) string {
	part := fmt.Sprintf("%d/%d ", client, n)
	return strings.Repeat(part, max(1, size/len(part)))
}

// pushAll sends messages of that size to clients in turn, by the proxy, and fails unless each is written, and received once, in
// order.
func pushAll(t *testing.T, proxy string, clients []*inbox, messages, size int) {
	t.Helper()
	s := newStream(t, newClient(t, publisher.Options{}))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range messages {
		c := i % len(clients)
		all.Add(1)
		if err := send(ctx, s, clients[c].by(proxy), sized(c, i, size), func(err error) {
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
		want := (messages - c + len(clients) - 1) / len(clients)
		testutil.Eventually(t, "all messages", func() bool { return in.count() >= want })
		in.mu.Lock()
		for n, got := range in.got {
			if got != sized(c, c+n*len(clients), size) {
				t.Errorf("client %d: message %d is %.30q", c, n, got)
				break
			}
		}
		if len(in.got) != want {
			t.Errorf("client %d: %d messages, not %d", c, len(in.got), want)
		}
		in.mu.Unlock()
	}
}

// by is the client's address, by a proxy.
func (in *inbox) by(proxy string) string {
	_, rest, _ := strings.Cut(in.address, "//")
	id, _, _ := strings.Cut(rest, "@")
	return proxy + "/ws/@connections/" + id
}

// send is Stream.Send of a text.
func send(ctx context.Context, s *publisher.Stream, address, text string, done func(error)) error {
	return s.Send(ctx, address, publisher.Text, []byte(text), func(_ publisher.Receipt, err error) { done(err) })
}

// Behind a proxy that loses parts of a request once its answer has begun, a Stream loses nothing, writes nothing twice, and keeps
// the order.
func TestStreamReverseProxy(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ size, messages int }{{10, 2000}, {10, 7}, {60_000, 100}, {500_000, 10}} {
		t.Run(fmt.Sprint(test.messages, " of ", test.size), func(t *testing.T) {
			w, server := realWorker(t, wspush.WorkerOptions{})
			clients := collect(t, server, 4)
			pushAll(t, reverseProxy(t, "http://"+w.Addr().String()), clients, test.messages, test.size)
		})
	}
}

// The same behind a proxy that lets the answer begin at once, as Go's does not, and loses ranges of bytes from then on.
func TestStreamLosingProxy(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w, server := realWorker(t, wspush.WorkerOptions{})
			clients := collect(t, server, 3)
			proxy := &losingProxy{to: w.Addr().String(), transport: &http.Transport{}, seed: seed}
			t.Cleanup(proxy.transport.CloseIdleConnections)
			pushAll(t, testutil.Serve(t, proxy), clients, 600, 10+50*int(seed))
			if proxy.lost.Load() == 0 {
				t.Error("the proxy has lost nothing")
			}
		})
	}
}

type losingProxy struct {
	to        string
	transport *http.Transport
	seed      uint64
	lost      atomic.Int64 // ranges
}

func (p *losingProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_ = rc.EnableFullDuplex()
	lossy := &lossyBody{body: r.Body, rand: rand.New(rand.NewPCG(p.seed, 0)), lost: &p.lost}
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI, out.Body = "http", p.to, "", lossy
	resp, err := p.transport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	lossy.begun.Store(true)
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	for buf := make([]byte, 4096); ; {
		_ = rc.Flush()
		n, err := resp.Body.Read(buf)
		_, _ = w.Write(buf[:n])
		if err == io.EOF {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// lossyBody loses ranges of bytes once begun is set.
type lossyBody struct {
	body  io.ReadCloser
	rand  *rand.Rand
	begun atomic.Bool
	lost  *atomic.Int64
}

func (l *lossyBody) Read(p []byte) (int, error) {
	n, err := l.body.Read(p)
	if n > 1 && l.begun.Load() && l.rand.IntN(3) == 0 {
		from := l.rand.IntN(n)
		to := from + 1 + l.rand.IntN(n-from)
		if l.rand.IntN(2) == 0 { // at the boundaries of lines
			from = bytes.LastIndexByte(p[:from], '\n') + 1
			to += bytes.IndexByte(p[to:n], '\n') + 1
		}
		n = from + copy(p[from:], p[to:n])
		l.lost.Add(1)
	}
	return n, err
}

func (l *lossyBody) Close() error { return l.body.Close() }
