package lane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// pipes is a listener whose connections are pipes.
type pipes struct {
	conns chan net.Conn
	done  chan struct{} // closed by Close
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.done)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "pipe"} }

// dial connects to the listener.
func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

const plain = plainHead + "Content-Length: 1\r\n\r\nx"

// start makes a Listener in a bubble of fake time.
func start(config Config) (*Listener, *pipes) {
	p := newPipes()
	config.HeaderTimeout, config.IdleTimeout, config.WriteTimeout = time.Second, time.Minute, time.Second
	config.Log, config.Context = slog.New(slog.DiscardHandler), context.Background()
	if config.MaxConns == 0 {
		config.MaxConns = -1
	}
	return New(p, config), p
}

// ask sends a request and returns the status of the answer.
func ask(t *testing.T, c net.Conn, request string) int {
	t.Helper()
	go io.WriteString(c, request)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func noContent(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// Plain pushes stay on the lane. At anything else the connection, with everything that has been read, goes to Accept.
func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := start(Config{Handler: noContent})
		c := p.dial()
		defer c.Close()
		for range 3 {
			if status := ask(t, c, plain); status != 204 {
				t.Errorf("answered %d", status)
			}
		}
		const other = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
		go io.WriteString(c, other)
		handed, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(other))
		if _, err := io.ReadFull(handed, got); err != nil || string(got) != other {
			t.Errorf("handed over with %q, %v", got, err)
		}
		if n := l.Conns(); n != 1 {
			t.Errorf("%d connections", n)
		}
		handed.Close()
		l.ConnState(handed, http.StateClosed)
		if n := l.Conns(); n != 0 {
			t.Errorf("%d connections after net/http has closed the last", n)
		}
		l.Drain()
		l.Close()
		l.Wait(t.Context())
	})
}

// A connection that nobody accepts is closed.
func TestListenerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, p := start(Config{Handler: noContent})
		waiting := p.dial()
		defer waiting.Close()
		io.WriteString(waiting, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		synctest.Wait()
		l.Drain()
		l.Close()
		if _, err := waiting.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a connection that nobody accepts stays open: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
		l.Wait(t.Context())
		if n := l.Conns(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// Drain closes connections between two requests. One that is in a request gets its answer first, unless Wait's context ends.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l, p := start(Config{Handler: func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Wait") != "" {
				<-release
			}
			noContent(w, r)
		}})
		idle, busy := p.dial(), p.dial()
		defer idle.Close()
		defer busy.Close()
		ask(t, idle, plain)
		go fmt.Fprint(busy, plainHead+"X-Wait: 1\r\nContent-Length: 0\r\n\r\n")
		synctest.Wait()
		drained := time.Now()
		l.Drain()
		if _, err := idle.Read(make([]byte, 1)); err != io.EOF || time.Now() != drained {
			t.Errorf("the idle connection: %v, after %v", err, time.Since(drained))
		}
		close(release)
		resp, err := http.ReadResponse(bufio.NewReader(busy), nil)
		if err != nil || resp.StatusCode != 204 || !resp.Close {
			t.Errorf("the busy connection: %+v, %v", resp, err)
		}
		silent, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		l.Wait(silent)
		if silent.Err() != nil {
			t.Error("Wait waits although there is nothing on the lane")
		}
		l.Close()
	})
}

// Connections beyond the limit are told so. They do not count.
func TestMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait := make(chan struct{})
		l, p := start(Config{Handler: waits(wait), MaxConns: 1, Full: func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) }})
		first := p.dial()
		go io.WriteString(first, plainHead+"X-Wait: 1\r\nContent-Length: 0\r\n\r\n")
		synctest.Wait()
		second := p.dial()
		defer second.Close()
		if status := ask(t, second, plain); status != 503 {
			t.Errorf("the second is answered %d", status)
		}
		if l.Conns() != 1 || l.Refused() != 1 {
			t.Errorf("%d connections, %d refused", l.Conns(), l.Refused())
		}
		close(wait)
		first.Close()
		synctest.Wait()
		third := p.dial()
		defer third.Close()
		if status := ask(t, third, plain); status != 204 {
			t.Errorf("the third is answered %d", status)
		}
		l.Drain()
		l.Close()
		l.Wait(t.Context())
		l.WaitRefused(t.Context())
	})
}
