//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/wspush/wspush"
)

// roleWorker is the argument that makes this program a worker.
const roleWorker = "worker"

// settings are what a worker is told on its standard input.
type settings struct {
	Push, App string // where it listens, for pushes and for clients
	Address   string // of its Cluster; "": Push
	Key       []byte // of its Cluster
	Authority []byte // PEM: whose certificates it trusts

	// PEM: with a certificate, its push listener serves TLS and demands certificates, and it presents this one to other workers.
	Certificate, CertificateKey []byte
}

// inside asks a worker to push in-process: Count messages to each connection, one after the other.
type inside struct {
	To    []string // sealed IDs
	First int      // the publisher that pushes to the first of them; the next one pushes to the next, and so on
	Count int
}

// outcomes answers an inside: what became of each message, by connection.
type outcomes [][]string

// serveWorker is the main of a worker's process. It ends with its standard input, or on SIGTERM.
func serveWorker() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	in := bufio.NewReader(os.Stdin)
	var set settings
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, &set); err != nil {
		return err
	}
	worker, server, err := newWorker(&set)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", set.App)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Println("{}") // it is ready
	go func() {       // ends with the standard input or the process
		defer stop()
		for {
			line, err := in.ReadBytes('\n')
			var what inside
			if err != nil || json.Unmarshal(line, &what) != nil {
				return
			}
			_ = json.NewEncoder(os.Stdout).Encode(what.push(ctx, worker))
		}
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

func newWorker(set *settings) (*wspush.Worker, *http.Server, error) {
	trust, err := tlsOf(set.Authority, set.Certificate, set.CertificateKey)
	if err != nil {
		return nil, nil, err
	}
	o := &wspush.WorkerOptions{
		Listen: set.Push,
		// A client may have a message of 1 MiB waiting, and others behind it. With the default, 1 MiB, they would be refused with 429.
		MaxPending: 4 << 20,
		Cluster:    &wspush.Cluster{Keys: [][]byte{set.Key}, Address: set.Address, TLS: trust},
		Logger:     slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if len(set.Certificate) > 0 {
		o.TLS = &tls.Config{Certificates: trust.Certificates, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: trust.RootCAs}
	}
	worker, err := wspush.NewWorker(o)
	if err != nil {
		return nil, nil, err
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(c.SealedID()) },
	})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	return worker, &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, nil
}

// push pushes, and returns what became of it.
func (what *inside) push(ctx context.Context, worker *wspush.Worker) outcomes {
	all := make(outcomes, len(what.To))
	var each sync.WaitGroup
	for i, to := range what.To {
		each.Go(func() {
			for seq := range what.Count {
				bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
				text := stamp{what.First + i, seq}.text(100)
				_, err := worker.Push(bounded, to, wspush.Text, []byte(text))
				cancel()
				if all[i] = append(all[i], ""); err != nil {
					all[i][seq] = err.Error()
				}
			}
		})
	}
	each.Wait()
	return all
}
