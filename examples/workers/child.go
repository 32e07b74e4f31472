package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// roleVariable in the environment makes a child of a copy of this program; the value is its role.
const roleVariable = "WSPUSH_EXAMPLE_ROLE"

const (
	roleWorker    = "worker"
	rolePublisher = "publisher"
)

// settings are what a child is told, on its standard input: the command line can be read by everyone on the machine, and the
// environment by whatever the child starts.
type settings struct {
	Number    int       // of the worker, from 1
	Workers   int       // how many there are
	PublicURL string    // the public name
	PushToken string    // of whoever may push through it
	Keys      [][]byte  // the workers', and nobody else's
	At        addresses // the ones that it had before, if it has been started again
}

// addresses are where a child listens. It says so on its standard output.
type addresses struct {
	App  string // nginx passes requests to it
	Push string // the worker's push listener: the other workers pass pushes to it
}

// runChild is a child's main. It ends with its standard input, which is also how it learns that its parent has been killed; or by
// a signal to itself.
func runChild(role string) error {
	// Ctrl-C goes to every process of the terminal, and in which order they stop is the parent's to say.
	signal.Ignore(os.Interrupt, syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Unsetenv(roleVariable)

	var s settings
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return fmt.Errorf("%s: it is started by its parent alone, which says how: %w", role, err)
	}
	go func() { // ends with its standard input, or the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	ready := func(at addresses) error { return json.NewEncoder(os.Stdout).Encode(at) }
	switch role {
	case roleWorker:
		return serveWorker(ctx, s, ready)
	case rolePublisher:
		return servePublisher(ctx, s, ready)
	}
	return fmt.Errorf("%s=%q is no role", roleVariable, role)
}
