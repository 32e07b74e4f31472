package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/stats"
)

// The workers' settings: timeouts short enough to expire within a minute, limits low enough to be reached.
const (
	maxPushBytes = 256 << 10
	maxPending   = 512 << 10
	writeTimeout = 3 * time.Second
	pushTimeout  = 5 * time.Second
	pingInterval = 2 * time.Second
	idleTimeout  = 6 * time.Second
	drainOver    = 2 * time.Second
	drainTimeout = 10 * time.Second // for Shutdown
	sendBuffer   = 64 << 10         // the kernel's, for one client
)

// Report is a worker's own numbers, after a garbage collection.
type Report struct {
	Goroutines  int
	Descriptors int
	Heap        uint64 // live bytes
	RSS         uint64 // bytes
	Stats       stats.Snapshot
	Pauses      int           // how often it was kept from running
	Longest     time.Duration // the longest of those
}

// worker is a process under test. It says on standard output when it is ready, answers questions on standard input, and
// ends in order on SIGTERM. The questions come through a pipe and not over HTTP, so that they cost no goroutine and no
// descriptor, which would be counted.
func worker(args []string) error {
	flags := flag.NewFlagSet("worker", flag.ContinueOnError)
	push := flags.String("push", "", "`address` of the push listener")
	public := flags.String("public", "", "`address` for clients")
	key := flags.String("key", "", "hexadecimal `key` of the cluster")
	directory := flags.String("directory", "", "`URL` of the directory's engine, or peers: and a file with the workers' addresses")
	verbose := flags.Bool("v", false, "log at debug level")
	if err := flags.Parse(args); err != nil {
		return err
	}
	secret, err := hex.DecodeString(*key)
	if err != nil {
		return err
	}
	stretch()
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))

	workerOptions := &wspush.WorkerOptions{
		Listen: *push, MaxPushBytes: maxPushBytes, MaxPending: maxPending, WriteTimeout: writeTimeout, PushTimeout: pushTimeout,
		DrainOver: drainOver, Logger: log, Cluster: &wspush.Cluster{Keys: [][]byte{secret}},
	}
	handlerOptions := &wspush.HandlerOptions{
		PingInterval: pingInterval, IdleTimeout: idleTimeout,
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			return wspush.Text, []byte(c.Addresses()[0] + "," + c.SealedID())
		},
	}
	if *directory != "" {
		end, err := joinDirectory(*directory, workerOptions, handlerOptions)
		if err != nil {
			return err
		}
		defer end()
	}
	w, err := wspush.NewWorker(workerOptions)
	if err != nil {
		return err
	}
	handler, err := wspush.NewHandler(w, handlerOptions)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	listener, err := listenWithSendBuffer(*public)
	if err != nil {
		return err
	}
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelError)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: errorLog}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("ready")

	begin := time.Now()
	pulse := newPulse(func() time.Duration { return time.Since(begin) })
	defer pulse.close()
	asked := make(chan string)
	go func() { // ends with the process, since nothing else ends a read from standard input
		defer close(asked)
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			asked <- in.Text()
		}
	}()
	for {
		select {
		case err := <-served:
			return err
		case question, ok := <-asked:
			if !ok {
				return errors.New("the parent process has ended")
			}
			if question == "stacks" {
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
				continue
			}
			r, err := report(w, pulse.all())
			if err != nil {
				return err
			}
			if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
				return err
			}
		case <-terminated:
			ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
			defer cancel()
			return errors.Join(w.Shutdown(ctx), server.Shutdown(ctx))
		}
	}
}

// mostGoroutines is more than a worker ever has here, counting a momentary second one for each client.
const mostGoroutines = 8192

// stretch runs as many goroutines as there may ever be. The runtime keeps the description of each, about half a kilobyte,
// for reuse; so from now on the heap does not grow just because there are more goroutines than ever before.
func stretch() {
	var all sync.WaitGroup
	hold := make(chan struct{})
	for range mostGoroutines {
		all.Go(func() { <-hold })
	}
	close(hold)
	all.Wait()
}

// listenWithSendBuffer listens with a small send buffer for each client. Connections inherit it from the listener.
func listenWithSendBuffer(address string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return setOption(c, unix.SO_SNDBUF, sendBuffer)
	}}
	return config.Listen(context.Background(), "tcp", address)
}

// setOption sets an option of a socket.
func setOption(c syscall.RawConn, option, value int) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, value) }), err)
}

func report(w *wspush.Worker, pauses []Window) (*Report, error) {
	runtime.GC()
	debug.FreeOSMemory() // the second collection, which empties pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil, err
	}
	rss, err := resident()
	if err != nil {
		return nil, err
	}
	return &Report{
		Goroutines:  runtime.NumGoroutine(),
		Descriptors: len(descriptors) - 1, // without the folder's own
		Heap:        m.HeapAlloc,
		RSS:         rss,
		Stats:       w.Stats(),
		Pauses:      len(pauses),
		Longest:     longest(pauses),
	}, nil
}

// resident returns the resident bytes of this process. smaps_rollup counts pages; the number in status may be off by some
// hundred kilobytes.
func resident() (uint64, error) {
	data, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "Rss:" {
			kb, err := strconv.ParseUint(fields[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("smaps_rollup has no Rss")
}
