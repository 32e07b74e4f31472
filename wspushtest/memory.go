package wspushtest

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// HTTPClient makes an HTTP client that sends every request to h, in memory, whatever host it names, with http and https alike.
// It works in a testing/synctest bubble.
//
// If h is a [wspush.Worker], which is an [http.Handler], the client can push to the addresses of that worker's connections. If
// h is the application's own handler, the client can sign in and keep the cookies for a [Client]: see [ClientOptions].Jar. If h
// is a handler of the test's, it can stand in for a worker and answer whatever the test wants.
//
// The client's connections end with the test. The test fails if h panics, or has not returned 5 s after the test's end.
func HTTPClient(tb testing.TB, h http.Handler) *http.Client {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatalf("making a cookie jar: %v", err)
	}
	dial := Dialer(tb, h)
	// Closing the server ends the connections that this keeps open.
	return &http.Client{Transport: &http.Transport{DialContext: dial, DialTLSContext: dial}, Jar: jar}
}

// Dialer makes a function that connects to h, in memory, whatever address it is given. It is for code that dials by itself
// instead of taking an [http.Client]: for example, as Dial in the Options of package publisher. Apart from that it works like
// [HTTPClient]. It has no TLS: for https, run a TLS server and use [Dial].
func Dialer(tb testing.TB, h http.Handler) func(ctx context.Context, network, address string) (net.Conn, error) {
	tb.Helper()
	return serve(tb, h)
}

// dialFunc makes a network connection.
type dialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// handlerTimeout is how long handlers may take to return once the test has ended.
const handlerTimeout = 5 * time.Second

// serve serves h in memory until the test ends. It returns a function that connects to it.
func serve(tb testing.TB, h http.Handler) dialFunc {
	tb.Helper()
	if h == nil {
		tb.Fatalf("there is no handler")
	}
	// live counts handlers and connections, except hijacked ones. A handler starts on a connection that counts, so once no more
	// connections are accepted, live can be waited for.
	var live sync.WaitGroup
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			live.Add(1)
			defer live.Done()
			defer reportPanic(tb)
			h.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				live.Add(1)
			case http.StateClosed, http.StateHijacked:
				live.Done()
			}
		},
		ErrorLog: log.New(newOutput(tb), "", 0),
	}
	l := &listener{conns: make(chan net.Conn), done: make(chan struct{})}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	tb.Cleanup(func() {
		_ = srv.Close() // closing pipes cannot fail
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("serving in memory: %v", err)
		}
		ended := make(chan struct{})
		go func() {
			live.Wait()
			close(ended)
		}()
		limit := time.NewTimer(handlerTimeout)
		defer limit.Stop()
		select {
		case <-ended:
		case <-limit.C:
			tb.Errorf("an HTTP handler had not returned %v after the end of the test", handlerTimeout)
		}
	})
	return l.dial
}

// reportPanic, when deferred, makes a handler's panic a failure of the test. http.Server would only log it.
func reportPanic(tb testing.TB) {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler {
		tb.Errorf("the handler panicked: %v\n%s", v, debug.Stack())
	}
	panic(http.ErrAbortHandler) // still ends the connection
}

// listener is a net.Listener for connections within the process.
type listener struct {
	conns  chan net.Conn
	dialed atomic.Int64
	once   sync.Once
	done   chan struct{} // closed by Close
}

func (l *listener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- &serverConn{server, int(l.dialed.Add(1))}:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return serverAddr }

// serverAddr and the clients' addresses are reserved for documentation (RFC 5737), like those of
// [net/http/httptest.NewRequest].
var serverAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80}

// serverConn is the server's end of a pipe. Its addresses look like a network's, since applications parse
// http.Request.RemoteAddr.
type serverConn struct {
	net.Conn
	number int
}

func (c *serverConn) LocalAddr() net.Addr { return serverAddr }

func (c *serverConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024 + c.number%60000}
}
