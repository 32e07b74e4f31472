package publisher_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// counting counts the requests of a handler.
func counting(n *atomic.Int64, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}
}

// The next alternative is tried where nothing was written and it may help, and nowhere else.
func TestAlternatives(t *testing.T) {
	lost := func(w http.ResponseWriter, r *http.Request) { hijacked(w, r).Close() }
	for name, test := range map[string]struct {
		first http.HandlerFunc // nil: nobody
		next  bool
		want  error // when the second is never asked
	}{
		"nobody": {nil, true, nil}, "401": {problem(401, "unauthorized"), true, nil}, "403": {problem(403, "forbidden"), true, nil},
		"404": {problem(404, "not-found"), true, nil}, "405": {problem(405, "method-not-allowed"), true, nil}, "410": {problem(410, "gone"), true, nil},
		"421": {problem(421, "misdirected"), true, nil}, "502": {problem(502, "unreachable"), true, nil}, "508": {problem(508, "loop"), true, nil},
		"400": {problem(400, "bad-request"), false, nil}, "413": {problem(413, "too-large"), false, publisher.ErrTooLarge},
		"429": {problem(429, "busy"), false, publisher.ErrBusy}, "503": {problem(503, "full"), false, publisher.ErrBusy},
		"503 shutdown": {problem(503, "shutdown"), false, publisher.ErrShutdown}, "504": {problem(504, "unknown"), false, publisher.ErrUnknown},
		"500": {problem(500, "internal"), false, publisher.ErrUnknown}, "404 of a proxy": {says(404, "", ""), false, nil},
		"502 of a proxy": {says(502, "", ""), false, publisher.ErrUnknown}, "200": {says(200, "", ""), false, publisher.ErrUnknown},
		"302": {says(302, "", ""), false, nil}, "lost": {lost, false, publisher.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, publisher.Options{})
			first := nobody(t)
			var asked [2]atomic.Int64
			if test.first != nil {
				first = testutil.Serve(t, counting(&asked[0], test.first))
			}
			address := addressOf(first) + "," + addressOf(testutil.Serve(t, counting(&asked[1], says(204, "", ""))))
			for range 2 {
				err := push(t, c, address)
				if (err == nil) != test.next || test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
			}
			// The second time, the one that worked comes first.
			want := [2]int64{2, 0}
			if test.next {
				want = [2]int64{1, 2}
			}
			if test.first == nil {
				want[0] = 0
			}
			if got := [2]int64{asked[0].Load(), asked[1].Load()}; got != want {
				t.Errorf("asked %v, want %v", got, want)
			}
		})
	}
}

// When no alternative works, the error is the one that says most.
func TestNoAlternativeWorks(t *testing.T) {
	serve := func(h http.HandlerFunc) string { return addressOf(testutil.Serve(t, h)) }
	gone, forbidden, unreachable, none := serve(problem(410, "gone")), serve(problem(403, "forbidden")), serve(problem(502, "unreachable")), addressOf(nobody(t))
	c := newClient(t, publisher.Options{})
	for name, test := range map[string]struct {
		address string
		want    error
		status  int
	}{
		"gone first":   {gone + "," + forbidden + "," + none, publisher.ErrGone, 410},
		"gone last":    {none + "," + forbidden + "," + gone, publisher.ErrGone, 410},
		"last refusal": {unreachable + "," + forbidden + "," + none, publisher.ErrForbidden, 403},
		"nobody":       {none + "," + addressOf(nobody(t)), publisher.ErrUnreachable, 0},
	} {
		err := push(t, c, test.address)
		var e *publisher.Error
		if !errors.As(err, &e) || !errors.Is(err, test.want) || e.Status != test.status {
			t.Errorf("%s: got %v", name, err)
		}
		if test.status == 0 && !testutil.IsRefused(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What is remembered is bounded, and not kept for connections.
func TestMemory(t *testing.T) {
	works := addressOf(testutil.Serve(t, says(204, "", "")))
	c := newClient(t, publisher.Options{Allow: nil, Hosts: []string{"127.0.0.1"}})
	for i, id := range []string{id, id2, sealedID} {
		if err := push(t, c, strings.ReplaceAll(works+","+works, "/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed", "/@connections/"+id)); err != nil {
			t.Error(i, err)
		}
	}
	if n := c.Remembered(); n != 1 {
		t.Errorf("it remembers %d", n)
	}
}

// Connections are used again, over both versions.
func TestKeepAlive(t *testing.T) {
	var mu sync.Mutex
	from := make(map[string]string)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = r.Proto
		mu.Unlock()
		if strings.HasSuffix(r.URL.Path, id2) {
			problem(410, "gone")(w, r)
			return
		}
		says(204, "", "")(w, r)
	})
	run := func(t *testing.T, server string, opts publisher.Options, proto string) {
		from = make(map[string]string)
		c := newClient(t, opts)
		for range 5 {
			if err := push(t, c, addressOf(server)); err != nil {
				t.Error(err)
			}
			if err := push(t, c, strings.ReplaceAll(addressOf(server), id, id2)); !errors.Is(err, publisher.ErrGone) {
				t.Error(err)
			}
		}
		if len(from) != 1 {
			t.Errorf("it took %d connections", len(from))
		}
		for _, got := range from {
			if got != proto {
				t.Errorf("it spoke %s", got)
			}
		}
	}
	t.Run("HTTP/1.1", func(t *testing.T) { run(t, testutil.Serve(t, h), publisher.Options{}, "HTTP/1.1") })
	t.Run("HTTP/2", func(t *testing.T) {
		server, opts := serveTLS(t, h)
		run(t, server, opts, "HTTP/2.0")
	})
}

// A certificate that nobody vouches for is the end, before anything is sent.
func TestTLS(t *testing.T) {
	server, _ := serveTLS(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("somebody was asked") }))
	if err := push(t, newClient(t, publisher.Options{}), addressOf(server)); !errors.Is(err, publisher.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

// answerOnce reads a request, counts it, and answers 204.
func answerOnce(conn net.Conn, requests *atomic.Int64) {
	r, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	requests.Add(1)
	_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
}

// A connection that has ended while it was idle costs nothing but another one; and a message that was sent before that was
// noticed is not sent again.
func TestStale(t *testing.T) {
	var pushes, requests atomic.Int64
	server := raw(t, func(_ int, conn net.Conn) {
		answerOnce(conn, &requests) // and closes
	})
	c := newClient(t, publisher.Options{})
	for range 50 {
		err := push(t, c, addressOf(server))
		if err == nil {
			pushes.Add(1)
		} else if !errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("got %v", err)
		}
	}
	if pushes.Load() != requests.Load() || pushes.Load() < 10 {
		t.Errorf("%d pushes became %d requests", pushes.Load(), requests.Load())
	}
}

// onceConn takes one request; then nothing more can be written to it.
type onceConn struct {
	net.Conn
	requests int
}

func (c *onceConn) Write(p []byte) (int, error) {
	if c.requests++; c.requests > 1 {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// What could not be written to a connection that was used before is sent on another.
func TestStaleWrite(t *testing.T) {
	var requests, dials atomic.Int64
	server := testutil.Serve(t, counting(&requests, says(204, "", "")))
	c := newClient(t, publisher.Options{})
	c.Transport().DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		dials.Add(1)
		return publisher.Counted(&onceConn{Conn: conn}), nil
	}
	for range 3 {
		if err := push(t, c, addressOf(server)); err != nil {
			t.Error(err)
		}
	}
	if requests.Load() != 3 || dials.Load() != 3 {
		t.Errorf("%d requests over %d connections", requests.Load(), dials.Load())
	}
}

// A request whose connection is lost after it was read is not sent again, over a new connection or one used before.
func TestNeverTwice(t *testing.T) {
	for _, before := range []int{0, 1} {
		var requests atomic.Int64
		server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if requests.Add(1) <= int64(before) {
				says(204, "", "")(w, r)
				return
			}
			hijacked(w, r).Close()
		}))
		c := newClient(t, publisher.Options{})
		for range before {
			if err := push(t, c, addressOf(server)); err != nil {
				t.Fatal(err)
			}
		}
		for _, data := range []string{"hello", ""} {
			requests.Store(int64(before))
			if err := inError(t, outcome(c.Push(t.Context(), addressOf(server)+","+addressOf(server), publisher.Text, []byte(data)))); !errors.Is(err, publisher.ErrUnknown) {
				t.Errorf("got %v", err)
			}
			if n := requests.Load(); n != int64(before)+1 {
				t.Errorf("%d requests", n)
			}
		}
	}
}

// The same over HTTP/2, where a reset may invite another try.
func TestNeverTwiceHTTP2(t *testing.T) {
	var requests atomic.Int64
	server, opts := serveTLS(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}))
	c := newClient(t, opts)
	for _, data := range []string{"hello", ""} {
		requests.Store(0)
		if err := inError(t, outcome(c.Push(t.Context(), addressOf(server), publisher.Text, []byte(data)))); !errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("got %v", err)
		}
		if n := requests.Load(); n != 1 {
			t.Errorf("%d requests", n)
		}
	}
}

// A context that ends while connecting ends with nothing sent.
func TestEndWhileConnecting(t *testing.T) {
	accepted := make(chan bool, 1)
	server := raw(t, func(_ int, conn net.Conn) { // never answers the TLS handshake
		accepted <- true
		_, _ = io.Copy(io.Discard, conn)
	})
	address := addressOf(strings.Replace(server, "http:", "https:", 1))
	c := newClient(t, publisher.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-accepted
		cancel()
	}()
	if err := inError(t, outcome(c.Push(ctx, address, publisher.Text, nil))); !errors.Is(err, context.Canceled) || errors.Is(err, publisher.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	works := addressOf(testutil.Serve(t, says(204, "", "")))
	if err := push(t, newClient(t, publisher.Options{DialTimeout: 50 * time.Millisecond}), address+","+works); err != nil {
		t.Errorf("got %v", err)
	}
}

// Dial is asked for nothing that is not allowed, within DialTimeout, and what it returns is what is used.
func TestDial(t *testing.T) {
	refused := errors.New("no tunnel")
	var dialled []string
	p, err := publisher.New(&publisher.Options{Hosts: []string{"worker.test"}, DialTimeout: time.Hour, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Hour {
			t.Errorf("the deadline is %v, %t", deadline, ok)
		}
		dialled = append(dialled, network+" "+address)
		return nil, refused
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	if _, err := p.Push(t.Context(), "http://"+id+"@elsewhere.test/ws", publisher.Text, nil); err == nil || errors.Is(err, refused) {
		t.Errorf("elsewhere: %v", err)
	}
	if _, err := p.Push(t.Context(), "http://"+id+"@worker.test:99/ws", publisher.Text, nil); !errors.Is(err, publisher.ErrUnreachable) {
		t.Errorf("%v, want ErrUnreachable", err)
	}
	if want := []string{"tcp worker.test:99"}; !slices.Equal(dialled, want) {
		t.Errorf("dialled %q, want %q", dialled, want)
	}
}
