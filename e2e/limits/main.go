//go:build linux

// Command limits attacks a worker that has 1 GiB of memory, as strangers and publishers with a credential can, and pushes to it
// honestly meanwhile. It prints "ok - WHAT" or "not ok - WHAT" for each attack. See ../README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(0)
	var err error
	if len(os.Args) == 2 && os.Args[1] == roleWorker {
		err = serveWorker()
	} else {
		err = attackAll()
	}
	if err != nil {
		log.Fatal("limits: ", err)
	}
}

// attack is something that must not take a worker down. Each has a worker of its own.
type attack struct {
	name        string
	settings    settings
	descriptors int                // that it needs
	run         func(*scene) error // does it, and says what did not hold; honest pushes are not its concern
	beside      bool               // it mostly waits, and so runs beside the others
}

// attacks run one after the other, except those that mostly wait.
var attacks = []attack{
	{name: "clients in the middle of a message", settings: settings{Compression: true}, descriptors: 4100, run: (*scene).halfMessages, beside: true},
	{name: "bulk lines of objects", run: (*scene).objectLines},
	{name: "silence after a bulk line", run: (*scene).silenceAfterLines},
	{name: "answers that nobody reads", run: (*scene).unreadAnswers},
	{name: "long handshakes", descriptors: 1300, run: (*scene).longHandshakes},
	{name: "pushes to a long path", run: (*scene).pushesToLongPath},
	{name: "no descriptors are left", settings: settings{Descriptors: 700}, descriptors: 1100, run: (*scene).noDescriptors},
	{name: "errors of accept", settings: settings{AcceptFails: true}, run: (*scene).acceptFails},
	{name: "bodies that do not end", descriptors: 1100, run: (*scene).endlessBodies},
	{name: "bulk lines that do not end", run: (*scene).endlessLines},
	{name: "streams of HTTP/2", settings: settings{TLS: true}, run: (*scene).streams},
	{name: "publishers that say nothing", descriptors: 4400, run: (*scene).silentPublishers},
	{name: "publishers that are idle", descriptors: 4400, run: (*scene).idlePublishers},
	{name: "publishers that begin a header", descriptors: 4400, run: (*scene).slowPublishers},
	{name: "publishers with headers of many fields", descriptors: 4400, run: (*scene).manyFields},
	{name: "clients that do not read", run: (*scene).deafClients},
	{name: "a compressed message without end", settings: settings{Compression: true}, run: (*scene).endlessMessage},
}

// attackAll carries out the attacks whose names contain what -only says, or all.
func attackAll() error {
	only := flag.String("only", "", "carry out only attacks with these `words` in their name")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	bounds := newBounds()
	fmt.Println("each worker has", bounds)
	var results results
	var beside sync.WaitGroup
	known := false
	for _, a := range attacks {
		if !strings.Contains(a.name, *only) {
			continue
		}
		known = true
		switch {
		case ctx.Err() != nil:
		case uint64(a.descriptors) > files.Cur:
			results.print("skip - %s: this needs %d descriptors, and there are %d", a.name, a.descriptors, files.Cur)
		case a.beside:
			beside.Go(func() { results.carryOut(ctx, &a, bounds) })
		default:
			results.carryOut(ctx, &a, bounds)
		}
	}
	beside.Wait()
	switch {
	case !known:
		return fmt.Errorf("no attack has %q in its name", *only)
	case ctx.Err() != nil:
		return ctx.Err()
	case results.failed:
		return errors.New("a limit does not hold")
	}
	return nil
}

// attackLimit bounds one attack.
const attackLimit = 110 * time.Second

// results are what has been printed.
type results struct {
	mu     sync.Mutex // guards what follows, and printing
	failed bool
}

func (r *results) print(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Printf(format+"\n", args...)
}

// carryOut does one attack, and prints what came of it.
func (r *results) carryOut(ctx context.Context, a *attack, b *bounds) {
	ctx, cancel := context.WithTimeout(ctx, attackLimit)
	defer cancel()
	s, err := newScene(ctx, a, b)
	if err == nil {
		err = s.carryOut()
	}
	figures, said := s.close()
	if err == nil {
		r.print("ok - %s: %s", a.name, figures)
		return
	}
	r.print("not ok - %s: %s\n    %s\n%s", a.name, figures, strings.ReplaceAll(err.Error(), "\n", "\n    "), said)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}
