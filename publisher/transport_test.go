package publisher_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
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

// The environment does not say where pushes go.
func TestNoProxy(t *testing.T) {
	var asked atomic.Int64
	proxy := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(204)
	}))
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy)
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	// Nobody has this name (RFC 6761), and only a proxy would not need to know.
	c := newClient(t, publisher.Options{Hosts: []string{"worker.invalid"}, DialTimeout: 100 * time.Millisecond})
	if err := push(t, c, addressOf("http://worker.invalid")); !errors.Is(err, publisher.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	if n := asked.Load(); n != 0 || c.Transport().Proxy != nil {
		t.Error("the proxy was asked")
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
	if err := push(t, newClient(t, publisher.Options{DialTimeout: 500 * time.Millisecond}), address+","+works); err != nil {
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
