// Command load is the benchmark's load generator: all of the clients and publishers, in one process apart from the
// server, in one thread, over raw sockets, so that it takes as little as it can of the processors that it shares with
// what it measures. The benchmark starts it, and tells it what to do on its standard input; see package order.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/wspush/wspush/bench/internal/order"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	l, err := newLoop(json.NewEncoder(os.Stdout))
	if err != nil {
		return err
	}
	orders := make(chan order.Order)
	failed := make(chan error, 1)
	go func() {
		failed <- readOrders(orders, l.wake)
		os.Exit(0) // the benchmark is gone, or done with us
	}()
	runtime.LockOSThread()
	return l.run(orders)
}

// readOrders hands over the orders and wakes the loop for each.
func readOrders(orders chan<- order.Order, wake int) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order.Order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if _, err := unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			return err
		}
		orders <- o
	}
	return lines.Err()
}
