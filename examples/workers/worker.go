package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/client"
)

//go:embed page.html
var page []byte

// resumeWindow is how long a page may be away and miss nothing.
const resumeWindow = 2 * time.Minute

// serveWorker is one worker's process, until ctx ends.
func serveWorker(ctx context.Context, s settings, ready func(addresses) error) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("worker", s.Number)
	listener, err := listen(s.At.App)
	if err != nil {
		return err
	}
	defer listener.Close() // in case a later step fails; otherwise the server closes it
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		Listen: s.At.Push, // its own port, which the other workers know from the sealed addresses
		// Sealed addresses under the public name lead to any worker, and with the keys it finds the right one.
		PublicURL: s.PublicURL,
		Cluster:   &wspush.Cluster{Keys: s.Keys, Address: "127.0.0.1"}, // all of them are on this machine
		// The push endpoint is as public as the page, and each visitor knows an address. The token is the publisher's alone.
		AuthorizePush: wspush.BearerTokens(s.PushToken),
		Logger:        log,
	})
	if err != nil {
		return err
	}
	a := &app{settings: s, worker: worker, port: listener.Addr().(*net.TCPAddr).Port}
	clients, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second, // proxies drop silent connections, many after 60 s
		ResumeWindow: resumeWindow,
		Greeting:     a.greet,
		OnResume:     a.tellMoved,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", servePage)
	mux.Handle("GET /wspush.js", client.Script()) // with which the page connects, and comes back
	mux.HandleFunc("GET /stats", a.serveStats)
	mux.Handle("/ws", clients)
	mux.Handle("/ws/@connections", a.pushes())  // many in one request
	mux.Handle("/ws/@connections/", a.pushes()) // one
	// No ReadTimeout: a bulk request may last as long as it likes, and the worker bounds its silence.
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	err = ready(addresses{App: listener.Addr().String(), Push: worker.Addr().String()})
	if err == nil {
		select {
		case err = <-served:
		case <-ctx.Done():
		}
	}
	// The worker first: http.Server.Shutdown ignores WebSockets.
	return errors.Join(err, within(5*time.Second, worker.Shutdown), within(2*time.Second, server.Shutdown))
}

// listen listens at the child's previous address, or at a port chosen by the system.
func listen(before string) (net.Listener, error) {
	if before == "" {
		before = "127.0.0.1:0"
	}
	return net.Listen("tcp", before)
}

func within(timeout time.Duration, stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return stop(ctx)
}

// app is the application in a worker's process.
type app struct {
	settings
	worker  *wspush.Worker
	port    int
	takenIn atomic.Uint64 // requests to the push endpoint that nginx sent here
}

// stats are the worker's numbers on the page.
type stats struct {
	Worker    int    `json:"worker"`
	PID       int    `json:"pid"`
	Port      int    `json:"port"`
	Held      int    `json:"held"`      // connections
	TakenIn   uint64 `json:"takenIn"`   // requests, each with any number of pushes
	Forwarded uint64 `json:"forwarded"` // sent on to other workers
	Written   uint64 `json:"written"`   // pushes to connections of its own
}

func (a *app) stats() stats {
	s := a.worker.Stats()
	return stats{
		Worker: a.Number, PID: os.Getpid(), Port: a.port,
		Held: s.Connections, TakenIn: a.takenIn.Load(), Forwarded: s.Forwarded, Written: s.Written,
	}
}

// greet tells the page which worker it has reached, and its sealed address. It is the first message of a session, and is not sent again
// to a page that comes back to it.
func (a *app) greet(c *wspush.Conn) (wspush.MessageType, []byte) {
	data, err := json.Marshal(map[string]any{
		"worker": a.Number, "workers": a.Workers, "pid": os.Getpid(), "port": a.port, "address": c.SealedAddress(),
	})
	if err != nil {
		panic(err) // strings and numbers can always be encoded
	}
	return wspush.Text, data
}

// moved begins the message that tells a page which worker has its session now, and the new sealed address: its old one is good only as long as
// the former worker runs, since there is no directory.
const moved = "moved "

func (a *app) tellMoved(c *wspush.Conn) {
	if !c.Resumed() {
		return
	}
	_, greeting := a.greet(c)
	// Nobody waits for the outcome, and if the page goes away before it comes, the worker to which it comes back tells it.
	_ = c.Send(context.Background(), wspush.Text, append([]byte(moved), greeting...), nil, wspush.Keep(0))
}

// pushes is the push endpoint for requests through nginx. Its answers also say which worker took the request: the page says
// which one holds the connection, so a user of curl can see that they differ. A real application has no use for that.
func (a *app) pushes() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.takenIn.Add(1)
		w.Header().Set("X-Worker", strconv.Itoa(a.Number))
		a.worker.ServeHTTP(w, r)
	})
}

func (a *app) serveStats(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err := json.NewEncoder(w).Encode(a.stats()); err != nil {
		return // the page has left
	}
}

func servePage(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'self' 'unsafe-inline'; "+
		"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	_, _ = w.Write(page)
}
