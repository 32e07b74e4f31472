// Command publisher is a service beside the workers that knows the addresses of each user and pushes to users. The rest of a
// backend then deals only with users:
//
//	PUT  /users/{user}/address   the body is a greeting: the user can be reached there, too
//	POST /users/{user}/messages  the body is a text: it is pushed to each of the user's devices
//
// Try it with examples/quickstart, whose page shows an address:
//
//	go run ./examples/quickstart
//	go run ./examples/publisher
//
//	curl -i -X PUT -d ADDRESS http://127.0.0.1:8084/users/alice/address
//	curl -i -d hello http://127.0.0.1:8084/users/alice/messages
//
// Most applications need no such table: the workers themselves know users and groups (docs/users-and-groups.md). This is for those
// that push to addresses, which need nothing shared between workers.
//
// It trusts its callers to know who is who: it is for the application's backend, which has logged its users in, and not for the
// web. It does not trust addresses, which come from browsers: an address that does not lead to -workers is refused when it is
// put, and nothing is ever sent there.
package main

import (
	"context"
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

	"github.com/wspush/wspush/publisher"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "publisher:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("publisher", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8084", "`address`, or port of 127.0.0.1, of the service")
	workers := flags.String("workers", "127.0.0.1", "the workers' `hosts`, with commas in between; one without a port allows all of its ports, "+
		"whatever else listens there; http:// in front allows http, which shows PUSH_TOKEN to the network")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !strings.Contains(*listen, ":") { // a port alone
		*listen = "127.0.0.1:" + *listen
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	client, err := publisher.New(&publisher.Options{
		Hosts:      strings.Split(*workers, ","),
		Credential: os.Getenv("PUSH_TOKEN"), // if the workers require one; not a flag, since anyone can read the command line
	})
	if err != nil {
		return err
	}
	defer client.Close()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	s := &service{addresses: newInMemory(), client: client, log: slog.New(slog.NewTextHandler(stdout, nil))}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	served := make(chan error, 1)
	fmt.Fprintf(stdout, "Serving http://%s/\n", listener.Addr())
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	// Let pushes in progress finish, so that their callers get the outcome.
	stopping, cancel := context.WithTimeout(context.Background(), pushTimeout+time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(stopping))
}
