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

// roleVariable is the environment variable that makes a copy of this program a child; its value is the child's role.
const roleVariable = "WSPUSH_EXAMPLE_ROLE"

const (
	roleWorker    = "worker"
	rolePublisher = "publisher"
)

// settings are what a child is told on its standard input: anyone on the machine can read a command line, and everything that
// the child starts can read its environment.
type settings struct {
	Number    int       // of the worker, from 1
	Workers   int       // the number of workers
	PublicURL string    // the public name
	PushToken string    // required of anyone who pushes through it
	Keys      [][]byte  // shared by the workers alone
	At        addresses // its previous ones, if it was restarted
}

// addresses are where a child listens. It prints them on its standard output.
type addresses struct {
	App  string // where nginx sends requests
	Push string // the worker's push listener, where the other workers forward pushes
}

// runChild is a child's main. The child ends when its standard input does, which also tells it that its parent was killed, or
// on a signal.
func runChild(role string) error {
	// Ctrl-C goes to every process of the terminal, but the parent decides in which order they stop.
	signal.Ignore(os.Interrupt, syscall.SIGHUP, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Unsetenv(roleVariable)

	var s settings
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		return fmt.Errorf("%s: only the parent process starts this role: %w", role, err)
	}
	go func() { // ends with the standard input or the process
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
	return fmt.Errorf("%s=%q is not a role", roleVariable, role)
}
