// Command small is a worker for e2e/run with settings that examples/quickstart has no flags for: limits so small that a
// test reaches each of them quickly, an AuthorizePush, sessions, and logins that expire.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/wspush/wspush"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "`address` of the WebSocket, at /ws")
	origins := flag.String("origins", "", "the `origins` of pages that may push, with commas in between")
	peers := flag.String("peers", "", "the `addresses` of other workers, with commas in between; \"none\" if they cannot be found out")
	login := flag.Duration("login", 0, "how long the logins of clients last; 0: they do not expire")
	verbose := flag.Bool("v", false, "log at debug level")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	isComma := func(r rune) bool { return r == ',' }
	if err := run(ctx, *listen, strings.FieldsFunc(*origins, isComma), strings.FieldsFunc(*peers, isComma), *login, *verbose); err != nil {
		log.Fatal("small: ", err)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, listen string, origins, peers []string, login time.Duration, verbose bool) error {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	var cluster *wspush.Cluster
	if len(peers) > 0 {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		cluster = &wspush.Cluster{Keys: [][]byte{key}, Peers: func(context.Context) ([]string, error) {
			if peers[0] == "none" {
				return nil, errors.New("as the flag says")
			}
			return peers, nil
		}}
	}
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		Cluster:       cluster,
		AuthorizePush: authorize,
		PushOrigins:   origins,
		MaxPushBytes:  256 << 10,
		MaxPending:    64 << 10,
		MaxPushConns:  16,
		PushTimeout:   1500 * time.Millisecond,
		Logger:        slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return err
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{ResumeWindow: time.Minute, Expires: func(*http.Request, any) time.Time {
		if login == 0 {
			return time.Time{}
		}
		return time.Now().Add(login)
	}})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", handler)
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Printf("http://%s/\n", listener.Addr())

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(worker.Shutdown(bounded), server.Shutdown(bounded))
}

// authorize refuses two AWS access keys, which the signature contains in the clear.
func authorize(r *http.Request) error {
	credentials := r.Header.Get("Authorization")
	switch {
	case strings.Contains(credentials, "Credential=FORBIDDEN/"):
		return wspush.ErrForbidden
	case strings.Contains(credentials, "Credential=UNKNOWN/"):
		return wspush.ErrUnauthorized
	}
	return nil
}
