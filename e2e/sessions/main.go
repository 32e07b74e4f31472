// Command sessions serves a page that connects with wspush.js, for sessions-browser.mjs.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/wspush/wspush/client"
)

//go:embed page.html
var page []byte

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` of the page, of the WebSocket at /ws, and of pushes")
	resume := flag.Duration("resume", 2*time.Minute, "how long a session waits for its client; 0: no sessions")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *resume); err != nil {
		log.Fatal("sessions: ", err)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, listen string, resume time.Duration) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	reference := newReference(listener.Addr().String(), resume)
	mux := http.NewServeMux()
	mux.Handle("/wspush.js", client.Script())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(page)
	})
	mux.HandleFunc("GET /elsewhere", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<!doctype html><title>elsewhere</title>"))
	})
	mux.HandleFunc("GET /ws", reference.connect)
	mux.HandleFunc("POST /ws/@connections/{id}", reference.push)
	mux.HandleFunc("DELETE /ws/@connections/{id}", reference.end)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	fmt.Printf("Open http://%s/\n", listener.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	reference.shutdown()
	_ = server.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
