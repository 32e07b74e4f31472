package testutil

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log"
	"math/big"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Serve serves h on a port of 127.0.0.1 until the test ends, and returns "http://127.0.0.1:PORT". The test fails
// if a handler panics, or if connections or handlers outlive the server by more than a few seconds.
func Serve(tb testing.TB, h http.Handler) (url string) {
	tb.Helper()
	l := listen(tb)
	start(tb, l, h)
	return "http://" + l.Addr().String()
}

// ServeTLS is [Serve] over TLS, with its own certificate, which the returned configuration trusts. It returns
// "https://127.0.0.1:PORT". HTTP/2 is not offered.
func ServeTLS(tb testing.TB, h http.Handler) (url string, client *tls.Config) {
	tb.Helper()
	cert, pool := NewCertificate(tb)
	l := listen(tb)
	start(tb, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}), h)
	return "https://" + l.Addr().String(), &tls.Config{RootCAs: pool}
}

// Pipe serves h over one end of a [net.Pipe] and returns the client's end: a single connection with no sockets and no buffers,
// which works in a testing/synctest bubble. Otherwise it is like [Serve]. Both ends have the address "pipe".
func Pipe(tb testing.TB, h http.Handler) net.Conn {
	tb.Helper()
	client, server := net.Pipe()
	l := &pipeListener{conn: make(chan net.Conn, 1), done: make(chan struct{}), addr: server.LocalAddr()}
	l.conn <- server
	start(tb, l, h)
	tb.Cleanup(func() { _ = client.Close() })
	return client
}

// NewCertificate returns a self-signed certificate for 127.0.0.1, ::1 and localhost, valid from an hour ago to an hour from
// now, for servers and clients, and a pool that trusts only that certificate.
func NewCertificate(tb testing.TB) (tls.Certificate, *x509.CertPool) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("making a key: %v", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatalf("making a certificate: %v", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("reading the certificate back: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

func listen(tb testing.TB) net.Listener {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listening: %v", err)
	}
	return l
}

// start serves h on l in a goroutine that the test's clean-up stops and waits for.
func start(tb testing.TB, l net.Listener, h http.Handler) {
	// live counts the server's connections and the running handlers. It needs both: http.Server forgets a hijacked connection,
	// while its handler may run on.
	var live atomic.Int64
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			live.Add(1)
			defer live.Add(-1)
			defer reportPanic(tb)
			h.ServeHTTP(w, r)
		}),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				live.Add(1)
			case http.StateClosed, http.StateHijacked:
				live.Add(-1)
			}
		},
		ErrorLog: log.New(tb.Output(), "", 0),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	tb.Cleanup(func() {
		// Not Shutdown, which gives a connection that has sent nothing yet five seconds.
		if err := srv.Close(); err != nil {
			tb.Errorf("closing the test server: %v", err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			tb.Errorf("serving: %v", err)
		}
		if !poll(grace, func() bool { return live.Load() == 0 }) {
			tb.Errorf("%d connections or handlers are left %v after the test server was closed\n\n%s",
				live.Load(), grace, allStacks())
		}
	})
}

// reportPanic, when deferred, makes a handler's panic a failure of the test. http.Server would only log it.
func reportPanic(tb testing.TB) {
	v := recover()
	if v == nil {
		return
	}
	if v != http.ErrAbortHandler {
		tb.Errorf("handler panicked: %v\n%s", v, debug.Stack())
	}
	panic(http.ErrAbortHandler) // still ends the connection
}

// pipeListener accepts one connection, and then blocks until it is closed.
type pipeListener struct {
	conn chan net.Conn
	addr net.Addr
	once sync.Once
	done chan struct{} // closed by Close
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conn:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return l.addr }
