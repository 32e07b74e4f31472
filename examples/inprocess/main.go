// Command inprocess pushes the progress of a long job to the client that started it, and to no other, with Worker.Push. The client's
// connection is a session: a page whose WebSocket is lost comes back to the rest of its job.
//
// It works in a single process only: a request to start a job must reach the worker that holds the client's connection. With
// several behind a load balancer, push to the connection's address instead, as examples/quickstart shows.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
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
	"github.com/wspush/wspush/client"
)

//go:embed page.html
var page []byte

const steps = 20 // per job

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "inprocess:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("inprocess", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8081", "`address`, or port of 127.0.0.1, of the page, the WebSocket and the jobs")
	step := flags.Duration("step", 400*time.Millisecond, "how long each of a job's steps takes")
	resume := flags.Duration("resume", 2*time.Minute, "how long a session, and with it a job, waits for its page to come back; 0: no sessions")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !strings.Contains(*listen, ":") { // a port alone
		*listen = "127.0.0.1:" + *listen
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	defer listener.Close() // in case a later step fails; otherwise the server closes it
	fmt.Fprintf(stdout, "Open http://%s/\n", listener.Addr())

	// Nobody pushes from outside, so no port is opened. Advertise must then be set, although nobody learns these addresses (see
	// greet); a name under .invalid leads nowhere (RFC 2606).
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.invalid"}})
	if err != nil {
		return err
	}
	// Proxies and load balancers drop silent connections, many after 60 s: hence the pings.
	clients, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second, ResumeWindow: *resume, Greeting: greet})
	if err != nil {
		return err
	}
	a := &app{worker: worker, step: *step, log: slog.New(slog.NewTextHandler(stdout, nil)), busy: make(map[string]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.Handle("/wspush.js", client.Script()) // with which the page connects, and comes back
	mux.Handle("/ws", clients)
	mux.HandleFunc("POST /jobs", a.startJob)
	server := &http.Server{
		// Other sites must not make their visitors start jobs here. This lets the WebSocket through, which is a GET: wspush
		// itself checks its Origin.
		Handler:     http.NewCrossOriginProtection().Handler(mux),
		ReadTimeout: 10 * time.Second, // for requests; it does not affect WebSockets
		// What somebody costs who has only begun to connect.
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
	}

	// The worker first: http.Server.Shutdown ignores WebSockets. Then the server, so that no new job can start while we wait
	// for the jobs. The end of its connection stops each job.
	stopping, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(err, worker.Shutdown(stopping), server.Shutdown(stopping))
	a.jobs.Wait()
	return err
}

// greet tells the page, and nobody else, the ID of its connection, with which the page starts jobs. It is the ID of the session, so it
// stays when the page comes back, and this is not called again.
func greet(c *wspush.Conn) (wspush.MessageType, []byte) {
	return wspush.Text, mustJSON(map[string]any{"type": "hello", "connection": c.ID()})
}

type app struct {
	worker *wspush.Worker
	step   time.Duration
	log    *slog.Logger
	jobs   sync.WaitGroup

	mu sync.Mutex // guards busy
	// By their IDs, the connections that have a job running. This is not in Conn.Value, which is that of the newest WebSocket: a page that
	// came back would have no job.
	busy map[string]bool
}

// take reserves a connection for one job, unless it has one.
func (a *app) take(conn *wspush.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy[conn.ID()] {
		return false
	}
	a.busy[conn.ID()] = true
	return true
}

func (a *app) release(conn *wspush.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.busy, conn.ID())
}

// startJob starts a job for the connection named in the form. The ID is a secret, so it is not in the URL: URLs end up in logs.
func (a *app) startJob(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1024)
	conn, ok := a.worker.Conn(r.PostFormValue("connection"))
	if !ok {
		http.Error(w, "there is no such connection", http.StatusGone)
		return
	}
	// One job at a time, or a client could start any number.
	if !a.take(conn) {
		http.Error(w, "this client already has a job running", http.StatusConflict)
		return
	}
	a.jobs.Go(func() { a.job(conn) })
	w.WriteHeader(http.StatusAccepted)
}

// job runs a job and reports its progress to conn. It goes on while the client is away, and ends with conn: then the client has left, or
// was away for too long, and nobody would see the result. A job that matters by itself would have its own context, and somewhere to store
// its result.
func (a *app) job(conn *wspush.Conn) {
	log := a.log.With("conn", conn.String()) // not the whole ID: that is the right to push
	log.Info("job started")
	err := a.work(conn)
	a.release(conn) // before the last report: a client that gets it may start the next job
	for err == nil {
		if err = a.report(conn, steps); !errors.Is(err, wspush.ErrBusy) {
			break
		}
		err = a.wait(conn) // then try again, since this report must arrive
	}
	log.Info("job ended", "error", err)
}

// work does all steps, reporting before each.
func (a *app) work(conn *wspush.Conn) error {
	for done := range steps {
		// ErrBusy: enough is waiting for this client already, so skip this report; the next one will say more. ErrGone and
		// others: the session has ended, perhaps during the push, or the worker is shutting down, so stop.
		if err := a.report(conn, done); err != nil && !errors.Is(err, wspush.ErrBusy) {
			return err
		}
		if err := a.wait(conn); err != nil {
			return err
		}
	}
	return nil
}

// wait takes the time of one step; a real job would work.
func (a *app) wait(conn *wspush.Conn) error {
	select {
	case <-time.After(a.step):
		return nil
	case <-conn.Context().Done():
		return context.Cause(conn.Context())
	}
}

// report pushes the number of steps done. It returns when that has been sent, so a slow client slows down its own job, but no
// other; one that does not read at all is cut off after WorkerOptions.WriteTimeout. For a client that is away it returns at once:
// the session has the report, and the client gets it when it is back.
func (a *app) report(conn *wspush.Conn, done int) error {
	data := mustJSON(map[string]any{"type": "progress", "done": done, "of": steps})
	_, err := a.worker.Push(conn.Context(), conn.ID(), wspush.Text, data)
	return err
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return data
}

func servePage(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "+
		"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	_, _ = w.Write(page)
}
