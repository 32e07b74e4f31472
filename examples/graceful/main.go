// Command graceful is an application that can be replaced while clients are connected, and pages with wspush.js miss nothing. On SIGTERM it sends
// clients elsewhere, a few at a time, and exits with status 0 within its grace period, as Kubernetes and systemd want. See kubernetes.yaml and
// graceful.service.
//
// It stops in this order:
//
//  1. GET /healthz, the readiness probe, answers 503. Everything else goes on for -delay, because load balancers take some
//     seconds to notice, and send clients here until then.
//  2. Worker.Shutdown closes the clients with 1012 (service restart), one after another over -drain. New clients are refused
//     with 503. Clients that are still connected receive pushes as before. So do sessions whose clients have been closed, until another
//     worker has them.
//  3. http.Server.Shutdown waits for requests in progress.
//
// All of this ends within -grace, whatever clients do; whatever runs the program must wait longer than that before it kills it.
// A second signal ends it at once.
//
// Clients that are closed need somewhere to go: run at least two of these behind a load balancer, and replace one at a time. With -peers and the
// same CLUSTER_KEY (64 hex digits, from openssl rand -hex 32) in the environment of all, a page comes back to its session at another
// worker. If there is only one, -session-file FILE -delay 0 -drain 0 leaves the sessions to the one that is started next, and brings it back soonest.
package main

import (
	"context"
	"encoding/hex"
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
	"syscall"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/client"
)

// reserve is the part of -grace that is left for pending requests and for the exit: half each.
const reserve = 2 * time.Second

// resumeWindow is how long a page may be away and miss nothing: a deploy, a tunnel.
const resumeWindow = 2 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that the next signal kills
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "graceful:", err)
		os.Exit(1)
	}
}

// settings are the command line's.
type settings struct {
	listen, push, advertise string
	delay, drain, grace     time.Duration
	peers, sessions         string
	key                     []byte // of all workers; nil: there are no others
}

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("graceful", flag.ContinueOnError)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8082", "`address`, or port of 127.0.0.1, of the WebSocket and the readiness probe")
	flags.StringVar(&s.push, "push", "127.0.0.1:0", "`address` of the worker's push listener")
	flags.StringVar(&s.advertise, "advertise", os.Getenv("POD_IP"), "`host` under which publishers reach the push listener, "+
		"if that is not the address it listens on; the default is the environment's POD_IP")
	flags.DurationVar(&s.delay, "delay", 5*time.Second, "time from a signal to the drain, for load balancers to notice")
	flags.DurationVar(&s.drain, "drain", 15*time.Second, "time over which clients are closed")
	flags.DurationVar(&s.grace, "grace", 45*time.Second, "time from a signal to the exit, at most")
	flags.StringVar(&s.peers, "peers", "", "`names` of all workers, separated by commas, or one name that has the addresses of all; "+
		"they have the same -push port, and CLUSTER_KEY in the environment")
	flags.StringVar(&s.sessions, "session-file", "", "`file` in which a worker that is alone leaves its sessions for the next start")
	err = flags.Parse(args)
	if !strings.Contains(s.listen, ":") { // a port alone
		s.listen = "127.0.0.1:" + s.listen
	}
	switch {
	case err != nil:
		return s, err
	case flags.NArg() > 0:
		return s, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case s.delay < 0 || s.drain < 0:
		return s, errors.New("-delay and -drain must not be negative")
	case s.grace < s.delay+reserve:
		// Worker.Shutdown copes with too little time for -drain; with none at all it would cut everyone.
		return s, fmt.Errorf("-grace %v leaves no time after -delay %v and %v for the exit", s.grace, s.delay, reserve)
	case s.peers == "":
		return s, nil
	case s.sessions != "":
		return s, errors.New("-session-file is for a worker without -peers: the others take its sessions")
	}
	if s.key, err = hex.DecodeString(os.Getenv("CLUSTER_KEY")); err != nil || len(s.key) != 32 {
		return s, errors.New("-peers needs CLUSTER_KEY: 64 hex digits, as from openssl rand -hex 32")
	}
	return s, nil
}

// cluster is what the workers share. It has no directory, so sessions move only from a worker that still runs: that is why Shutdown has time.
func (s *settings) cluster() *wspush.Cluster {
	if s.key == nil {
		return nil
	}
	names := strings.Split(s.peers, ",")
	return &wspush.Cluster{
		Keys: [][]byte{s.key},
		Peers: func(ctx context.Context) (addresses []string, err error) {
			for _, name := range names {
				found, err := net.DefaultResolver.LookupHost(ctx, name)
				if err != nil {
					return nil, err
				}
				addresses = append(addresses, found...)
			}
			return addresses, nil
		},
	}
}

// run serves until ctx ends, and then until everything has stopped.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	s, err := parse(args)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	listener, err := net.Listen("tcp", s.listen)
	if err != nil {
		return err
	}
	defer listener.Close() // in case a later step fails; otherwise the server closes it
	opts := &wspush.WorkerOptions{Listen: s.push, DrainOver: s.drain, Cluster: s.cluster(), SessionFile: s.sessions, Logger: log}
	if s.advertise != "" {
		opts.Advertise = []string{s.advertise}
	}
	worker, err := wspush.NewWorker(opts)
	if err != nil {
		return err
	}
	// Proxies and load balancers drop silent connections, many after 60 s: hence the pings.
	clients, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second, ResumeWindow: resumeWindow})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /wspush.js", client.Script())
	mux.Handle("/ws", clients)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case ctx.Err() != nil || worker.Draining(): // without -delay, Draining would do
			http.Error(w, "stopping", http.StatusServiceUnavailable)
		case worker.Failed() != nil: // its clients could not be pushed to
			http.Error(w, "failed", http.StatusServiceUnavailable)
		default:
			fmt.Fprintln(w, "ready")
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "Serving http://%s/ws\n", listener.Addr())

	select {
	case err = <-served:
		err = fmt.Errorf("serving: %w", err)
		s.delay = 0 // nobody can connect any longer
	case <-ctx.Done():
	}
	begin := time.Now()
	log.Info("stopping", "clients", worker.Len(), "delay", s.delay, "drain", s.drain)
	time.Sleep(s.delay)
	// The worker first: http.Server.Shutdown ignores WebSockets, and /healthz must be answered until they are closed. A client
	// that does not even read its close frame is not our failure: it is cut off.
	if err := before(begin.Add(s.grace-reserve), worker.Shutdown); err != nil {
		log.Warn("clients or publishers had to be cut", "error", err)
	}
	if err := before(begin.Add(s.grace-reserve/2), server.Shutdown); err != nil {
		log.Warn("requests had to be cut", "error", err)
		server.Close()
	}
	log.Info("stopped", "after", time.Since(begin).Round(time.Millisecond))
	return err
}

// before calls stop, with the deadline.
func before(deadline time.Time, stop func(context.Context) error) error {
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	return stop(ctx)
}
