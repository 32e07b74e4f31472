//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wspush/wspush"
)

// roleWorker is the argument that makes this program a worker.
const roleWorker = "worker"

// settings are what a worker is told on its standard input. All options that are not here have their defaults: these are the limits
// that are attacked.
type settings struct {
	Credential  string // which publishers need
	Compression bool
	TLS         bool // at the push listener
	Descriptors int  // that the process may have; 0: as many as the system allows
	AcceptFails bool // the push listener's system fails now and then to accept a connection
}

// ready is what a worker says on its standard output when it has started.
type ready struct {
	App, Push   string // where it listens, for clients and for pushes
	Certificate []byte // PEM
}

// serveWorker is the main of a worker's process. It ends with its standard input, or on SIGTERM.
func serveWorker() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	in := bufio.NewReader(os.Stdin)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var set settings
	if err := json.Unmarshal(line, &set); err != nil {
		return err
	}
	if n := uint64(set.Descriptors); n > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return err
		}
	}
	var said ready
	worker, server, err := newWorker(&set, &said)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", loopback)
	if err != nil {
		return err
	}
	said.App = listener.Addr().String()
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err := json.NewEncoder(os.Stdout).Encode(said); err != nil {
		return err
	}
	go func() { // ends with the standard input or the process
		defer stop()
		_, _ = io.Copy(io.Discard, in)
	}()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(worker.Shutdown(bounded), server.Shutdown(bounded))
}

const loopback = "127.0.0.1:0"

func newWorker(set *settings, said *ready) (*wspush.Worker, *http.Server, error) {
	listener, err := net.Listen("tcp", loopback)
	if err != nil {
		return nil, nil, err
	}
	said.Push = listener.Addr().String()
	if set.AcceptFails {
		listener = &failing{Listener: listener}
	}
	o := &wspush.WorkerOptions{
		Listener:      listener,
		Advertise:     []string{said.Push},
		AuthorizePush: wspush.BearerTokens(set.Credential),
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if set.TLS {
		pair, certificate, err := selfSigned()
		if err != nil {
			return nil, nil, err
		}
		o.TLS, said.Certificate = &tls.Config{Certificates: []tls.Certificate{pair}}, certificate
	}
	worker, err := wspush.NewWorker(o)
	if err != nil {
		return nil, nil, err
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		Greeting:    func(c *wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(c.ID()) },
		OnMessage:   func(*wspush.Conn, wspush.MessageType, []byte) {}, // or messages would be dropped as they come in
		Compression: set.Compression,
	})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	mux.Handle("/ws/", handler)
	// MaxHeaderBytes is net/http's own, 1 MiB: what a worker keeps of a handshake must not depend on it.
	return worker, &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, nil
}

// failing is a listener whose system fails in between to accept connections, with errors that say nothing of the listener. The
// connection is accepted when Accept is called again.
type failing struct {
	net.Listener
	count atomic.Int64
}

// accepting are the errors of accept(2) that have to do with one connection, or with what the system lacks for a moment.
var accepting = []error{syscall.ENOMEM, syscall.ENOBUFS, syscall.EPERM, syscall.EPROTO, syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE,
	syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.ETIMEDOUT}

func (f *failing) Accept() (net.Conn, error) {
	if n := int(f.count.Add(1)); n > 20 && n%3 == 0 {
		err := accepting[n/3%len(accepting)]
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: f.Addr(), Err: os.NewSyscallError("accept4", err)}
	}
	return f.Listener.Accept()
}
