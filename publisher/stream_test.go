package publisher_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// newStream makes a Stream that the test's end closes.
func newStream(t testing.TB, c *publisher.Client) *publisher.Stream {
	t.Helper()
	s := c.NewStream()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if n := s.Routes(); n != 0 {
			t.Errorf("%d routes are left", n)
		}
	})
	return s
}

func streamPush(t testing.TB, s *publisher.Stream, address string) error {
	t.Helper()
	return inError(t, outcome(s.Push(context10(t), address, publisher.Text, []byte("hello"))))
}

func TestStream(t *testing.T) {
	w, server := serveWorker(t, &worker{answer: func(_, _ int, id, _ string) int {
		switch id {
		case nthID(1):
			return 410
		case nthID(2):
			return 429
		}
		return 204
	}})
	s := newStream(t, newClient(t, publisher.Options{Credential: "bearer-secret"}))
	if err := streamPush(t, s, connection(server, 0)); err != nil {
		t.Error(err)
	}
	if err := streamPush(t, s, connection(server, 1)); !errors.Is(err, publisher.ErrGone) {
		t.Error(err)
	}
	var e *publisher.Error
	if err := streamPush(t, s, connection(server, 2)); !errors.Is(err, publisher.ErrBusy) || !errors.As(err, &e) || e.RetryAfter != 3*time.Second {
		t.Error(err)
	}
	if _, err := s.Push(t.Context(), strings.Replace(server, "//", "//"+sealedID+"@", 1)+"/ws", publisher.Binary, []byte{1}); err != nil {
		t.Error(err)
	}
	receipt, err := s.Push(t.Context(), connection(server, 0), publisher.Text, []byte("c"), publisher.Confirmed())
	if err != nil || receipt.RoundTrip != 12500*time.Microsecond {
		t.Error(receipt.RoundTrip, err)
	}
	if err := inError(t, outcome(s.Push(t.Context(), connection(server, 0), publisher.Text, []byte{0xff}))); !errors.Is(err, publisher.ErrInvalidUTF8) {
		t.Error(err)
	}
	if _, err := s.Push(t.Context(), strings.Replace(connection(server, 3), "/ws", "/other", 1), publisher.Text, []byte("o")); err != nil {
		t.Error(err)
	}
	want := []string{nthID(0) + " hello", nthID(1) + " hello", nthID(2) + " hello", sealedID + " binary:\x01", nthID(0) + " c", nthID(3) + " o"}
	if got := w.messages(); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := w.paths(); !slices.Equal(got, []string{"/ws/@connections", "/other/@connections"}) {
		t.Errorf("requests: %q", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := streamPush(t, s, connection(server, 0)); !errors.Is(err, publisher.ErrClosed) {
		t.Error(err)
	}
	if _, open := w.count(); open != 0 {
		t.Errorf("%d requests are open", open)
	}
}

func TestStreamHTTP2(t *testing.T) {
	w := &worker{t: t}
	server, opts := serveTLS(t, w)
	s := newStream(t, newClient(t, opts))
	for i := range 10 {
		if err := streamPush(t, s, connection(server, i)); err != nil {
			t.Error(err)
		}
	}
}

// Many at once, and each gets its own outcome.
func TestStreamMany(t *testing.T) {
	w, server := serveWorker(t, &worker{answer: func(_, _ int, id, _ string) int {
		if strings.HasSuffix(id, "7") {
			return 410
		}
		return 204
	}})
	s := newStream(t, newClient(t, publisher.Options{MaxStreamBytes: 4 << 10}))
	var all sync.WaitGroup
	for g := range 10 {
		all.Go(func() {
			for i := range 100 {
				n := g*100 + i
				_, err := s.Push(context.Background(), connection(server, n), publisher.Text, []byte("x"))
				if gone := n%10 == 7; gone != errors.Is(err, publisher.ErrGone) || !gone && err != nil {
					t.Errorf("%d: %v", n, err)
				}
			}
		})
	}
	all.Wait()
	if lines, _ := w.count(); lines != 1000 || len(w.paths()) != 1 {
		t.Errorf("%d lines in %d requests", lines, len(w.paths()))
	}
}

// Send returns when the message is queued; the messages stay in order, also when the worker ends its request again and again.
func TestStreamOrder(t *testing.T) {
	w, server := serveWorker(t, &worker{answer: func(request, line int, _, _ string) int {
		if line > 10*request && request < 8 {
			return end
		}
		return 204
	}})
	s := newStream(t, newClient(t, publisher.Options{MaxStreamBytes: 8 << 10}))
	var failed atomic.Int64
	var all sync.WaitGroup
	sent := 0
	for i := range 500 {
		all.Add(1)
		if err := s.Send(t.Context(), connection(server, 0), publisher.Text, fmt.Appendf(nil, "%04d", i), func(_ publisher.Receipt, err error) {
			if inError(t, err) != nil {
				if !errors.Is(err, publisher.ErrUnreachable) { // not sent, twice
					t.Error(err)
				}
				failed.Add(1)
			}
			all.Done()
		}); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	all.Wait()
	got := w.messages()
	if !slices.IsSorted(got) || len(slices.Compact(got)) != sent-int(failed.Load()) {
		t.Errorf("%d messages, sorted: %v; %d failed", len(got), slices.IsSorted(got), failed.Load())
	}
}

// A message that was not read is sent once more; one that was is not, and neither is one whose answer was lost.
func TestStreamResend(t *testing.T) {
	t.Run("ended once", func(t *testing.T) {
		w, server := serveWorker(t, &worker{answer: func(request, _ int, _, _ string) int {
			if request == 1 {
				return end
			}
			return 204
		}})
		if err := streamPush(t, newStream(t, newClient(t, publisher.Options{})), connection(server, 0)); err != nil || len(w.paths()) != 2 {
			t.Error(err, w.paths())
		}
	})
	t.Run("ended twice", func(t *testing.T) {
		w, server := serveWorker(t, &worker{answer: func(int, int, string, string) int { return end }})
		if err := streamPush(t, newStream(t, newClient(t, publisher.Options{})), connection(server, 0)); !errors.Is(err, publisher.ErrUnreachable) || len(w.paths()) != 2 {
			t.Error(err, w.paths())
		}
	})
	t.Run("cut", func(t *testing.T) {
		w, server := serveWorker(t, &worker{answer: func(request, _ int, _, _ string) int {
			if request == 1 {
				return cut
			}
			return 204
		}})
		s := newStream(t, newClient(t, publisher.Options{}))
		if err := streamPush(t, s, connection(server, 0)); !errors.Is(err, publisher.ErrUnknown) || len(w.paths()) != 1 {
			t.Error(err, w.paths())
		}
		if err := streamPush(t, s, connection(server, 0)); err != nil || len(w.paths()) != 2 {
			t.Error(err, w.paths())
		}
	})
}

// What answers the whole request, worker or not.
func TestStreamRefused(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
		status int
	}{
		"403": {problem(403, "forbidden"), publisher.ErrForbidden, 403}, "503": {problem(503, "full"), publisher.ErrBusy, 503}, "405": {problem(405, "method-not-allowed"), nil, 405},
		"404 of a proxy": {says(404, "", id), nil, 404}, "502 of a proxy": {says(502, "", id), publisher.ErrUnreachable, 502}, "200": {says(200, "text/html", id), publisher.ErrUnreachable, 200},
		"redirect": {says(307, "", ""), nil, 307}, "endless": {says(200, "application/x-ndjson", strings.Repeat("x", 1<<20)), publisher.ErrUnknown, 0},
		"echo": {says(200, "application/x-ndjson", `{"line":"`+id+`"}`), publisher.ErrUnknown, 0},
	} {
		t.Run(name, func(t *testing.T) {
			server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = http.NewResponseController(w).EnableFullDuplex()
				if test.status == 0 { // it begins as a worker's answer does
					w.Header().Set("Content-Type", "application/x-ndjson")
					_ = http.NewResponseController(w).Flush()
				}
				for n, err := 0, error(nil); n < 100 && err == nil && test.status == 0; {
					n, err = r.Body.Read(make([]byte, 1000))
				}
				r.Body = http.NoBody
				test.answer(w, r)
			}))
			err := streamPush(t, newStream(t, newClient(t, publisher.Options{})), addressOf(server))
			var e *publisher.Error
			if !errors.As(err, &e) || test.want != nil && !errors.Is(err, test.want) || test.want == nil && errors.Is(err, publisher.ErrUnknown) || e.Status != test.status {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Where there is no connection to the first alternative, the second gets everything, in order; and then keeps it.
func TestStreamAlternatives(t *testing.T) {
	w, server := serveWorker(t, &worker{})
	none := nobody(t)
	s := newStream(t, newClient(t, publisher.Options{}))
	var all sync.WaitGroup
	for i := range 100 {
		all.Add(1)
		// The ID may be another one at each.
		if err := s.Send(t.Context(), connection(none, 5)+","+connection(server, 6), publisher.Text, fmt.Appendf(nil, "%03d", i), func(_ publisher.Receipt, err error) {
			if inError(t, err) != nil {
				t.Error(err)
			}
			all.Done()
		}); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
	got := w.messages()
	if !slices.IsSorted(got) || len(got) != 100 || got[0] != nthID(6)+" 000" {
		t.Errorf("got %d: %q", len(got), got)
	}
	err := streamPush(t, s, connection(none, 5)+","+connection(nobody(t), 6))
	if !errors.Is(err, publisher.ErrUnreachable) {
		t.Error(err)
	}
}

// However many push to a worker that is not there, each learns it.
func TestStreamNobody(t *testing.T) {
	s := newStream(t, newClient(t, publisher.Options{MaxStreamBytes: 1}))
	address := addressOf(nobody(t)) + "," + addressOf(nobody(t))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := inError(t, outcome(s.Push(context.Background(), address, publisher.Text, nil))); !errors.Is(err, publisher.ErrUnreachable) {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// A context that ends: nothing was sent while the message waited for room, nobody knows when it was under way.
func TestStreamContext(t *testing.T) {
	w, server := serveWorker(t, &worker{answer: func(int, int, string, string) int { return 0 }})
	c := newClient(t, publisher.Options{MaxStreamBytes: 1})
	s := c.NewStream()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		testutil.Eventually(t, "the line", func() bool { lines, _ := w.count(); return lines == 1 })
		cancel()
	}()
	if err := inError(t, outcome(s.Push(ctx, connection(server, 0), publisher.Text, nil))); !errors.Is(err, publisher.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := inError(t, outcome(s.Push(ctx, connection(server, 0), publisher.Text, nil))); errors.Is(err, publisher.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := inError(t, outcome(s.Push(ctx, connection(server, 0), publisher.Text, nil))); errors.Is(err, publisher.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	c.Close() // ends the stream
	if err := streamPush(t, s, connection(server, 0)); !errors.Is(err, publisher.ErrClosed) {
		t.Error(err)
	}
	_ = s.Close()
}

// Close waits for the outcome of what was sent, and lets nobody wait for room.
func TestStreamClose(t *testing.T) {
	release := make(chan bool)
	_, server := serveWorker(t, &worker{answer: func(int, int, string, string) int {
		<-release
		return 204
	}})
	s := newClient(t, publisher.Options{MaxStreamBytes: 1}).NewStream()
	result := make(chan error, 1)
	if err := s.Send(t.Context(), connection(server, 0), publisher.Text, nil, func(_ publisher.Receipt, err error) { result <- err }); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() { waiting <- outcome(s.Push(context.Background(), connection(server, 0), publisher.Text, nil)) }()
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	if err := inError(t, <-waiting); !errors.Is(err, publisher.ErrClosed) {
		t.Error(err)
	}
	select {
	case <-closed:
		t.Error("closed before the outcome was known")
	default:
	}
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
}

// Someone who sends addresses with ever new paths does not make the publisher open ever more requests.
func TestStreamPaths(t *testing.T) {
	w, server := serveWorker(t, &worker{})
	s := newStream(t, newClient(t, publisher.Options{}))
	most := 0
	for i := range 200 {
		if err := streamPush(t, s, fmt.Sprintf("%s/%d/@connections/%s", server, i, id)); err != nil {
			t.Fatal(err)
		}
		_, open := w.count()
		most = max(most, open)
	}
	if most > 64 {
		t.Errorf("%d requests were open", most)
	}
}

// piped is options, and a stream, for a server in the memory of a bubble.
func piped(t *testing.T, h http.Handler, opts publisher.Options) *publisher.Stream {
	c := newClient(t, opts)
	c.Transport().DialContext = func(context.Context, string, string) (net.Conn, error) { return testutil.Pipe(t, h), nil }
	return newStream(t, c)
}

// What keeps requests until they are whole gets one finished request after the other, after the first second.
func TestStreamBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worker{t: t, whole: true}
		s := piped(t, w, publisher.Options{})
		for i := range 10 {
			begun := time.Now()
			if err := inError(t, outcome(s.Push(t.Context(), connection("http://127.0.0.1", i), publisher.Text, []byte("x")))); err != nil {
				t.Error(err)
			}
			if d := time.Since(begun); i == 0 && d != time.Second+2*time.Millisecond || i > 0 && d > 10*time.Millisecond {
				t.Errorf("push %d took %v", i, d)
			}
		}
		for i := range 100 {
			if err := s.Send(t.Context(), connection("http://127.0.0.1", 0), publisher.Text, fmt.Appendf(nil, "%03d", i), func(_ publisher.Receipt, err error) {
				if err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Error(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if got := w.messages(); len(got) != 110 || !slices.IsSorted(got[10:]) {
			t.Errorf("got %q", got)
		}
	})
}

// An idle request is ended after a minute.
func TestStreamIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worker{t: t}
		s := piped(t, w, publisher.Options{})
		for range 3 {
			if err := inError(t, outcome(s.Push(t.Context(), connection("http://127.0.0.1", 0), publisher.Text, nil))); err != nil {
				t.Error(err)
			}
			<-time.After(30 * time.Second)
		}
		if _, open := w.count(); open != 1 || len(w.paths()) != 1 {
			t.Errorf("%d are open of %d", open, len(w.paths()))
		}
		<-time.After(40 * time.Second)
		if _, open := w.count(); open != 0 || s.Routes() != 0 {
			t.Errorf("%d are open", open)
		}
		if err := inError(t, outcome(s.Push(t.Context(), connection("http://127.0.0.1", 0), publisher.Text, nil))); err != nil || len(w.paths()) != 2 {
			t.Error(err)
		}
	})
}

// A request in which nothing is answered any more is cut off.
func TestStreamStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &worker{t: t, answer: func(_, line int, _, _ string) int {
			if line == 2 {
				return 0
			}
			return 204
		}}
		s := piped(t, w, publisher.Options{})
		begun := time.Now()
		outcomes := make(chan error, 3)
		for i := range 3 {
			if err := s.Send(t.Context(), connection("http://127.0.0.1", i), publisher.Text, nil, func(_ publisher.Receipt, err error) { outcomes <- err }); err != nil {
				t.Error(err)
			}
			<-time.After(10 * time.Second)
		}
		for _, want := range []error{nil, nil, publisher.ErrUnknown} {
			if err := inError(t, <-outcomes); !errors.Is(err, want) {
				t.Errorf("got %v", err)
			}
		}
		// Since the last answer, which came after 20 s.
		if d := time.Since(begun); d < 60*time.Second || d > 70*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

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

// A Stream and a worker understand each other.
func TestStreamWorker(t *testing.T) {
	w, server := realWorker(t, wspush.WorkerOptions{MaxPushBytes: 1000})
	push := "http://" + w.Addr().String()
	const n = 20
	clients, addresses := make([]*testutil.Client, n), make([]string, n)
	for i := range n {
		clients[i] = testutil.Dial(t, server, testutil.Options{})
		addresses[i] = clients[i].Text()
	}
	s := newStream(t, newClient(t, publisher.Options{}))
	for i := range n {
		for j := range 50 {
			if err := s.Send(t.Context(), addresses[i], publisher.Text, fmt.Appendf(nil, "%d", j), func(_ publisher.Receipt, err error) {
				if inError(t, err) != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for address, err := range s.PushEach(t.Context(), slices.Values(addresses), publisher.Binary, []byte{0xff}) {
		if inError(t, err) != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, c := range clients {
		for j := range 50 {
			c.Expect(testutil.Text, fmt.Sprint(j))
		}
		c.Expect(testutil.Binary, "\xff")
	}
	for text, want := range map[string]error{strings.Repeat("x", 1001): wspush.ErrTooLarge, "\n\"<&": nil} {
		if err := inError(t, outcome(s.Push(t.Context(), addresses[0], publisher.Text, []byte(text)))); !errors.Is(err, want) {
			t.Error(err)
		}
	}
	clients[0].Expect(testutil.Text, "\n\"<&")
	read := make(chan struct{})
	go func() { // which answers the ping
		defer close(read)
		for {
			if _, _, err := clients[0].Message(); err != nil {
				return
			}
		}
	}()
	receipt, err := s.Push(t.Context(), addresses[0], publisher.Text, []byte("x"), publisher.Confirmed())
	if inError(t, err) != nil || receipt.RoundTrip <= 0 {
		t.Error(receipt.RoundTrip, err)
	}
	gone := push + "/ws/@connections/" + id
	if err := streamPush(t, s, gone); !errors.Is(err, wspush.ErrGone) {
		t.Error(err)
	}
	for _, err := range s.PushEach(t.Context(), slices.Values([]string{gone, gone}), publisher.Text, nil) {
		if !errors.Is(inError(t, err), wspush.ErrGone) {
			t.Error(err)
		}
	}
	clients[0].Close()
	<-read
}
