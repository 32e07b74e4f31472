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

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/client"
)

//go:embed page.html
var page []byte

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` of the page, and of the WebSocket at /ws")
	resume := flag.Duration("resume", 2*time.Minute, "how long a session waits for its client; 0: no sessions")
	file := flag.String("session-file", "", "`file` in which sessions outlive a restart")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *file, *resume); err != nil {
		log.Fatal("sessions: ", err)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, listen, file string, resume time.Duration) error {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{SessionFile: file})
	if err != nil {
		return err
	}
	defer shutdown(worker)
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{ResumeWindow: resume})
	if err != nil {
		return err
	}
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
	mux.Handle("/ws", handler)
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	fmt.Printf("Open http://%s/\n", listener.Addr())
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	shutdown(worker)
	_ = server.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func shutdown(worker *wspush.Worker) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = worker.Shutdown(ctx)
}
