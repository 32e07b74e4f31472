package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// carryOut has each event happen when it is due, until ctx ends, and then waits until everything is repaired. text says what an event is, and
// happen carries it out and reports whether it had any effect; several may be under way at a time. It returns how many of each kind had one.
func carryOut(ctx context.Context, out io.Writer, events []event, text func(event) string, happen func(context.Context, event) bool) map[eventKind]int {
	var running sync.WaitGroup
	var mu sync.Mutex // guards done
	done := make(map[eventKind]int)
	begin := time.Now()
	for _, e := range events {
		sleep(ctx, e.At-time.Since(begin))
		if ctx.Err() != nil {
			break
		}
		fmt.Fprintln(out, text(e))
		running.Go(func() {
			if happen(ctx, e) {
				mu.Lock()
				defer mu.Unlock()
				done[e.Kind]++
			}
		})
	}
	<-ctx.Done()
	running.Wait()
	return done
}
