// Command quickstart serves a page that holds one connection and shows its address and everything pushed to it. The connection is a session:
// it outlives its WebSocket.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	slashpath "path"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/client"
)

// script is the path of the client that the page uses.
const script = "/wspush.js"

//go:embed page.html
var page string

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	var (
		listen  = flags.String("listen", "127.0.0.1:8080", "`address`, or port of 127.0.0.1, of the page and the WebSocket")
		push    = flags.String("push", "127.0.0.1:0", "`address` of the worker's push listener")
		path    = flags.String("path", "/ws", "`path` of the WebSocket")
		ping    = flags.Duration("ping", 0, "ping a client after this much silence; 0 is the library's default")
		idle    = flags.Duration("idle", 0, "close a client after this much silence; 0 is the library's default")
		echo    = flags.Bool("echo", false, "send messages from a client back to it")
		resume  = flags.Duration("resume", 2*time.Minute, "how long a session waits for its page to come back; 0: no sessions")
		file    = flags.String("session-file", "", "`file` in which sessions outlive a restart, which must be in order (Ctrl-C, SIGTERM)")
		verbose = flags.Bool("v", false, "log at debug level")
	)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !strings.Contains(*listen, ":") { // a port alone
		*listen = "127.0.0.1:" + *listen
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err := checkPath(*path); err != nil {
		return fmt.Errorf("-path %q: %w", *path, err)
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	worker, err := wspush.NewWorker(&wspush.WorkerOptions{Listen: *push, SessionFile: *file, Logger: log})
	if err != nil {
		return err
	}
	defer shutdown(worker.Shutdown, log) // in case a later step fails; otherwise it has been done already

	options := &wspush.HandlerOptions{PingInterval: *ping, IdleTimeout: *idle, ResumeWindow: *resume}
	if *echo {
		options.OnMessage = func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
			if _, err := c.Push(c.Context(), typ, data); err != nil {
				log.Debug("echo", "error", err)
			}
		}
	}
	handler, err := wspush.NewHandler(worker, options)
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage(*path))
	mux.Handle(script, client.Script())
	mux.Handle(*path, handler)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "Open http://%s/\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// The worker first: http.Server.Shutdown ignores WebSockets.
	shutdown(worker.Shutdown, log)
	shutdown(server.Shutdown, log)
	return nil
}

// checkPath refuses anything but one fixed path: http.ServeMux takes patterns, in which spaces, braces and a trailing slash
// have a meaning.
func checkPath(path string) error {
	if !strings.HasPrefix(path, "/") || path == "/" {
		return errors.New("it must begin with a slash and be longer than that: the page itself is at /")
	}
	if path == script {
		return errors.New("the client is there")
	}
	u, err := url.ParseRequestURI(path)
	if err != nil || u.EscapedPath() != path {
		return errors.New("it must be escaped as in a URL (%20 for a space), without a query")
	}
	if slashpath.Clean(u.Path) != u.Path {
		return errors.New("it must not end with a slash, or contain . or .. or empty segments")
	}
	return nil
}

func shutdown(stop func(context.Context) error, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := stop(ctx); err != nil {
		log.Warn("shutdown", "error", err)
	}
}

// servePage serves the page, which connects to path on the server that it came from.
func servePage(path string) http.HandlerFunc {
	body := strings.Replace(page, "{{PATH}}", html.EscapeString(path), 1)
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "+
			"img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		fmt.Fprint(w, body)
	}
}
