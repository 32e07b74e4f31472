// Command inprocess pushes the progress of a long job to the client that started it, and to no other, by Worker.Push.
//
// It is for one process: a request to start a job must reach the worker that holds the client's connection. Behind a load
// balancer in front of several, push to the connection's address, as examples/quickstart shows.
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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wspush/wspush"
)

//go:embed page.html
var page []byte

const steps = 20 // of each job

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
	listen := flags.String("listen", "127.0.0.1:8081", "`address` of the page, the WebSocket and the jobs")
	step := flags.Duration("step", 400*time.Millisecond, "how long each of a job's steps takes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	defer listener.Close() // where what follows fails; otherwise the server has closed it
	fmt.Fprintf(stdout, "Open http://%s/\n", listener.Addr())

	// Nobody pushes from outside, so no port is opened for it. Advertise must be set then, although nobody is told these
	// addresses (see greet); one under .invalid leads nowhere (RFC 2606).
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.invalid"}})
	if err != nil {
		return err
	}
	// Proxies and load balancers drop silent connections, many after 60 s: hence the pings.
	clients, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second, Accept: accept, Greeting: greet})
	if err != nil {
		return err
	}
	a := &app{worker: worker, step: *step, log: slog.New(slog.NewTextHandler(stdout, nil))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.Handle("/ws", clients)
	mux.HandleFunc("POST /jobs", a.startJob)
	server := &http.Server{
		// Other sites may not have their visitors start jobs here. The WebSocket is a GET, which this lets pass: wspush
		// itself checks its Origin.
		Handler:     http.NewCrossOriginProtection().Handler(mux),
		ReadTimeout: 10 * time.Second, // of requests; it does not concern the WebSockets
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
	}

	// The worker first: http.Server.Shutdown does not know the WebSockets. Then the server, so that no job can start any
	// more when the jobs are waited for; they have all been told, by the end of their connections.
	stopping, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err = errors.Join(err, worker.Shutdown(stopping), server.Shutdown(stopping))
	a.jobs.Wait()
	return err
}

// client is what the application knows of a client.
type client struct{ busy atomic.Bool } // has a job under way

// accept lets everyone in, with a client as Conn.Value. An application with a login finds out here who it is.
func accept(*http.Request) (any, error) { return new(client), nil }

// greet tells the page, and nobody else, the ID of its connection, for it to start jobs with.
func greet(c *wspush.Conn) (wspush.MessageType, []byte) {
	return wspush.Text, mustJSON(map[string]any{"type": "hello", "connection": c.ID()})
}

type app struct {
	worker *wspush.Worker
	step   time.Duration
	log    *slog.Logger
	jobs   sync.WaitGroup
}

// startJob starts a job for the connection in the form. Its ID is a secret, and not in the URL: URLs end up in logs.
func (a *app) startJob(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1024)
	conn, ok := a.worker.Conn(r.PostFormValue("connection"))
	if !ok {
		http.Error(w, "there is no such connection", http.StatusGone)
		return
	}
	// One at a time, or one client could start any number.
	if !conn.Value().(*client).busy.CompareAndSwap(false, true) {
		http.Error(w, "a job of this client is under way", http.StatusConflict)
		return
	}
	a.jobs.Go(func() { a.job(conn) })
	w.WriteHeader(http.StatusAccepted)
}

// job does a job and reports its progress to conn. It ends with conn: without its client nobody would ever see the result.
// A job that is worth something by itself would have a context of its own, and a place to leave its result.
func (a *app) job(conn *wspush.Conn) {
	log := a.log.With("conn", conn.String()) // which is not the whole ID: that is the right to push
	log.Info("job started")
	err := a.work(conn)
	conn.Value().(*client).busy.Store(false) // before the last report: whoever has that may start the next job
	for err == nil {
		if err = a.report(conn, steps); !errors.Is(err, wspush.ErrBusy) {
			break
		}
		err = a.wait(conn) // and try again, since this one must arrive
	}
	log.Info("job ended", "error", err)
}

// work does all steps, and reports before each.
func (a *app) work(conn *wspush.Conn) error {
	for done := range steps {
		// ErrBusy: more than enough waits for this client already. Leave this report out; the next will say more.
		// ErrGone and the others: the client has left, perhaps during the push, or the worker shuts down. Stop.
		if err := a.report(conn, done); err != nil && !errors.Is(err, wspush.ErrBusy) {
			return err
		}
		if err := a.wait(conn); err != nil {
			return err
		}
	}
	return nil
}

// wait takes the time of one step; a real job would do something.
func (a *app) wait(conn *wspush.Conn) error {
	select {
	case <-time.After(a.step):
		return nil
	case <-conn.Context().Done():
		return context.Cause(conn.Context())
	}
}

// report pushes how many steps are done. It returns when the client has been sent that, so a client that reads slowly holds
// up its own job, if nobody else's; one that does not read at all is cut off after WorkerOptions.WriteTimeout.
func (a *app) report(conn *wspush.Conn, done int) error {
	data := mustJSON(map[string]any{"type": "progress", "done": done, "of": steps})
	_, err := a.worker.Push(conn.Context(), conn.ID(), wspush.Text, data)
	return err
}

func mustJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings and numbers
	}
	return data
}

func servePage(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "+
		"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	_, _ = w.Write(page)
}
