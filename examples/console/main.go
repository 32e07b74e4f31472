// Command console is an application that mounts the console for its operators, and simulates clients to show there.
//
// The console is behind a login, as it must be everywhere. Here the login is a link with a secret in it, which the program
// prints.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/console"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "console:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("console", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8086", "`address`, or port of 127.0.0.1, of the console and the WebSocket")
	clients := flags.Int("clients", 300, "simulated clients")
	stalled := flags.Int("stalled", 3, "of the simulated clients, those that do not read")
	travellers := flags.Int("travellers", 20, "of the simulated clients, those with a session, who go through tunnels")
	churn := flags.Float64("churn", 3, "simulated clients that leave, and others that come, per second")
	pushes := flags.Float64("pushes", 40, "pushes to simulated clients per second")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !strings.Contains(*listen, ":") { // a port alone
		*listen = "127.0.0.1:" + *listen
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	defer listener.Close() // in case a later step fails; otherwise the server closes it
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{WriteTimeout: 5 * time.Second, DrainOver: 2 * time.Second})
	if err != nil {
		return err
	}
	defer worker.Shutdown(context.Background()) // likewise
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 10 * time.Second, // frequent, so that there are round trips to see
		ResumeWindow: 2 * time.Minute,  // for clients that ask for a session
		// A copy, since a part of the URL would keep all of it in memory.
		Accept: func(r *http.Request) (any, error) { return strings.Clone(r.URL.Query().Get("user")), nil },
		User:   func(_ *http.Request, value any) string { return value.(string) },
		Groups: func(c *wspush.Conn) []string { return []string{"everybody", groupOf(c.Info().Path)} },
	})
	if err != nil {
		return err
	}
	console, err := console.New(worker, &console.Options{
		User:   func(*http.Request) string { return "operator" },
		Logger: slog.New(slog.NewTextHandler(stdout, nil)),
	})
	if err != nil {
		return err
	}
	login := &login{secret: rand.Text()}
	mux := http.NewServeMux()
	mux.Handle("/ws/", realAddress(handler))
	mux.Handle("/login", login)
	mux.Handle("/debug/wspush/", login.required(console))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "Open http://%s/login?secret=%s\n", listener.Addr(), login.secret)

	var simulated sync.WaitGroup
	simulating, stop := context.WithCancel(context.Background())
	crowd := &crowd{url: "ws://" + listener.Addr().String() + "/ws", worker: worker, running: &simulated}
	simulated.Go(func() { crowd.run(simulating, *clients, *stalled, *travellers, *churn, *pushes) })

	select {
	case err = <-served:
	case <-ctx.Done():
	}
	// The worker first, so that the console shows its clients being closed; then the console; then the server.
	stopping, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	err = errors.Join(err, worker.Shutdown(stopping), console.Shutdown(stopping), server.Shutdown(stopping))
	stop()
	simulated.Wait()
	return err
}

// groupOf returns the group of those who have connected at a path: the first word after /ws.
func groupOf(path string) string {
	group, _, _ := strings.Cut(strings.TrimPrefix(path, "/ws/"), "/")
	return cmp.Or(group, "nowhere")
}

// login admits anyone with the secret. A real application has users, and knows which of them are operators.
type login struct{ secret string }

const cookieName = "operator"

// ServeHTTP moves the secret from the URL, which is seen and stored in too many places, to a cookie.
func (l *login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !l.knows(r.FormValue("secret")) {
		http.Error(w, "this is not the link that the program printed", http.StatusForbidden)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: l.secret, Path: "/debug/wspush/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	http.Redirect(w, r, "/debug/wspush/", http.StatusSeeOther)
}

// required serves h to those who have logged in.
func (l *login) required(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie(cookieName); err != nil || !l.knows(cookie.Value) {
			http.Error(w, "for operators only: open the link that the program printed", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (l *login) knows(secret string) bool {
	return subtle.ConstantTimeCompare([]byte(secret), []byte(l.secret)) == 1
}

// realAddress trusts the addresses that the simulated clients report, as an application would trust those from its own proxy,
// and only that one.
func realAddress(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forwarded := r.Header.Get("X-Forwarded-For"); forwarded != "" {
			r = r.Clone(r.Context())
			r.RemoteAddr = forwarded
		}
		h.ServeHTTP(w, r)
	})
}
