// Command workers runs three workers behind nginx, and a publisher that knows only their public name.
//
//	browser   ══ WebSocket ═▶ nginx ═▶ worker 1, 2 or 3
//	publisher ──── POST ────▶ nginx ─▶ any worker ─▶ the one that holds the connection
//
// Each connection has a sealed address under the public name. A push to it arrives at any worker that nginx chooses, which
// forwards it, once, if another worker holds the connection. The page shows which worker holds its WebSocket, its address, and
// the command that pushes to it.
//
// One command starts everything, and Ctrl-C stops it; nginx must be installed:
//
//	go run ./examples/workers
//
// Kill a worker to see its pages connect to another. Pushes to its old connections are answered 502 until it is restarted on
// the same ports, after -restart, and 410 from then on. SIGTERM instead of SIGKILL makes it drain first. SIGKILL to this
// program itself also ends the workers, but not nginx.
//
// A page whose WebSocket is lost comes back by itself, and misses nothing. If nginx brings it to another worker than the one that it was at, that
// takes its session. Only what a killed worker had is lost, and the page says so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	switch role := os.Getenv(roleVariable); role {
	case "":
		// Closing the terminal, or the reader of the output, ends everything in good order as well.
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
		defer stop()
		err = run(ctx, os.Args[1:], os.Stdout)
	default:
		err = runChild(role)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "workers:", err)
		os.Exit(1)
	}
}

// run runs everything until ctx ends.
func run(ctx context.Context, args []string, stdout io.Writer) error {
	flags := flag.NewFlagSet("workers", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8083", "`address`, or port of 127.0.0.1, of nginx, and with it the public name")
	count := flags.Int("workers", 3, "how many there are")
	restart := flags.Duration("restart", 5*time.Second, "time after which one that has ended is started again; 0 is never")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !strings.Contains(*listen, ":") { // a port alone
		*listen = "127.0.0.1:" + *listen
	}
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case *count < 1 || *count > 64:
		return errors.New("-workers must be from 1 to 64")
	case *restart < 0:
		return errors.New("-restart must not be negative")
	}
	address, err := freeAddress(*listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	s, err := newSite(address, *count, *restart, stdout)
	if err != nil {
		return err
	}
	return errors.Join(s.run(ctx), s.stop())
}

// freeAddress finds out whether nginx can listen at an address, and chooses the port if the system is to do so, since nginx
// cannot. The port may be taken again before nginx has it; then nginx says so.
func freeAddress(listen string) (string, error) {
	if a, err := netip.ParseAddrPort(listen); err != nil {
		return "", err
	} else if a.Addr().IsUnspecified() {
		return "", errors.New("it must be a single address of this machine, since it becomes part of the public name")
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
