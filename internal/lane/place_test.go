package lane

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// served is a Listener with net/http behind it, as in a worker. A request to PATH/hijack is hijacked, as is one that opens a link;
// any other is answered with 204.
type served struct {
	*Listener
	*pipes
	server   *http.Server
	done     chan struct{}
	hijacked chan net.Conn
	tls      *tls.Config // the publishers'; nil: none
	log      *lockedBuffer
}

// dial connects to it, with TLS if it has that.
func (s *served) dial() net.Conn {
	c := s.pipes.dial()
	if s.tls != nil {
		return tls.Client(c, s.tls)
	}
	return c
}

// serveHTTPS is serveHTTP with TLS.
func serveHTTPS(t *testing.T, config Config) *served {
	t.Helper()
	certificate, pool := testutil.NewCertificate(t)
	config.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
	s := serveHTTP(t, config)
	s.tls = &tls.Config{RootCAs: pool, ServerName: "localhost"}
	return s
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu  sync.Mutex // guards all
	all bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

const opening = "GET /@link/nonce HTTP/1.1\r\nHost: x\r\n\r\n"

func serveHTTP(t *testing.T, config Config) *served {
	t.Helper()
	config.Full = func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }
	s := &served{done: make(chan struct{}), hijacked: make(chan net.Conn, 1), log: &lockedBuffer{}}
	s.Listener, s.pipes = start(config)
	s.server = &http.Server{ConnState: s.ConnState, ConnContext: s.ConnContext, ErrorLog: log.New(s.log, "", 0)}
	s.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if IsGone(w, r) {
			panic(http.ErrAbortHandler)
		}
		if r.Header.Get("X-Never") != "" {
			t.Error("the request is carried out")
		}
		if r.URL.Path == "/known" {
			MarkKnown(w, r)
		}
		if !strings.HasSuffix(r.URL.Path, "/hijack") && !OpensLink([]byte("GET "+r.RequestURI+" HTTP/1.1\r\n")) || r.Header.Get("X-Wrong") != "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		s.hijacked <- c
	})
	go func() {
		defer close(s.done)
		_ = s.server.Serve(s.Listener)
	}()
	return s
}

func (s *served) shutdown(t *testing.T) {
	t.Helper()
	s.Drain()
	s.Listener.Wait(t.Context())
	s.server.Close()
	<-s.done
	s.CloseHijacked()
	s.WaitRefused(t.Context())
	synctest.Wait()
	if n := s.Conns(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	if n := len(s.limiter.hijacked); n != 0 {
		t.Errorf("%d hijacked connections are remembered", n)
	}
	if n := s.beyond(); n != 0 {
		t.Errorf("%d places beyond the limit are taken", n)
	}
}

// beyond returns how many connections beyond the limit there are.
func (s *served) beyond() int { return s.limiter.silent.length() + s.limiter.openers.length() }

// say sends a request and returns the hijacked connection that it has led to.
func (s *served) say(t *testing.T, c net.Conn, request string) net.Conn {
	t.Helper()
	go func() {
		if _, err := io.WriteString(c, request); err != nil {
			t.Error(err)
		}
	}()
	select {
	case hijacked := <-s.hijacked:
		return hijacked
	case <-time.After(time.Minute):
		t.Fatal("it is not hijacked")
		return nil
	}
}

// isOpen reports whether the server has left the connection open.
func isOpen(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return err != io.EOF
}

// A hijacked connection has a publisher's place until it is closed.
func TestHijacked(t *testing.T) {
	for name, serve := range map[string]func(*testing.T, Config) *served{"plain": serveHTTP, "TLS": serveHTTPS} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, Config{Handler: noContent, MaxConns: 1})
				for range 3 {
					c := s.dial()
					hijacked := s.say(t, c, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
					synctest.Wait()
					if n := s.Conns(); n != 1 {
						t.Errorf("%d connections", n)
					}
					second := s.dial()
					if status := ask(t, second, plain); status != 503 {
						t.Errorf("another is answered %d", status)
					}
					hijacked.Close()
					hijacked.Close() // gives up one place, not two
					synctest.Wait()
					if n := s.Conns(); n != 0 {
						t.Errorf("%d connections after it has been closed", n)
					}
					c.Close()
					second.Close()
				}
				lost := s.dial() // whose handler forgets it
				defer lost.Close()
				s.say(t, lost, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
				s.shutdown(t)
				if isOpen(lost) {
					t.Error("a hijacked connection that is nobody's is left open")
				}
			})
		})
	}
}

// A connection of a listener that does TLS itself is counted as any other.
func TestHijackedForeignTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serveHTTP(t, Config{Handler: noContent, MaxConns: 1})
		client, server := net.Pipe()
		defer client.Close()
		secure := tls.Server(server, &tls.Config{})
		s.pipes.conns <- secure
		synctest.Wait()
		if n := s.Conns(); n != 1 {
			t.Errorf("%d connections", n)
		}
		go io.WriteString(client, "this is no TLS")
		synctest.Wait()
		if n := s.Conns(); n != 0 {
			t.Errorf("%d connections after it has failed", n)
		}
		s.shutdown(t)
	})
}
