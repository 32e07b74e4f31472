package lane

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// A publisher that has closed its side can be asked whether it is there when net/http's time for writing an answer is long over.
func TestProbingLate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("cannot be known on this system")
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(inner, Config{
		HeaderTimeout: time.Minute, IdleTimeout: time.Minute, WriteTimeout: time.Minute, MaxConns: -1,
		Log: slog.New(slog.DiscardHandler), Context: context.Background(),
	})
	server := &http.Server{WriteTimeout: 10 * time.Millisecond, ConnState: l.ConnState, ConnContext: l.ConnContext}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(30 * time.Millisecond) // WriteTimeout is over
		stop := Probing(w, r)
		select {
		case <-r.Context().Done():
			t.Error("the publisher seems to have left")
		case <-time.After(20 * probeDelay):
		}
		stop()
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute))
		w.WriteHeader(http.StatusNoContent)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	defer func() {
		l.Drain()
		l.Wait(t.Context())
		server.Close()
		<-done
	}()
	publisher, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer publisher.Close()
	_ = publisher.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(publisher, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = publisher.(*net.TCPConn).CloseWrite()
	in := bufio.NewReader(publisher)
	for _, want := range []int{http.StatusContinue, http.StatusNoContent} {
		if resp, err := http.ReadResponse(in, nil); err != nil || resp.StatusCode != want {
			t.Fatalf("%v, %v; want %d", resp, err, want)
		}
	}
}
