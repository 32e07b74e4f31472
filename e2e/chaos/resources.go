package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// storms makes all clients connect to each worker in turn, confirm a message, and leave, and then measures the worker: its
// heap has then been as full as it may become again.
func (s *site) storms(ctx context.Context) ([]Resources, error) {
	resources := make([]Resources, len(s.slots))
	var most Report
	for i, sl := range s.slots {
		clients := s.gather(s.clients, time.Second, func(int) route { return onlyFirst + route(i) })
		all := s.sweep(ctx, 20*time.Second)
		clients.disperse()
		s.http.CloseIdleConnections()
		if !all {
			return nil, fmt.Errorf("in the storm on worker %d, not every client confirmed a message", i)
		}
		before, err := sl.rest(5 * time.Second)
		if err != nil {
			return nil, err
		}
		resources[i] = Resources{Worker: fmt.Sprintf("worker %d", i), Before: before}
		most.Heap, most.RSS = max(most.Heap, before.Heap), max(most.RSS, before.RSS)
	}
	for i := range resources { // the processes run the same program, and any of them may be replaced by another
		resources[i].Before.Heap, resources[i].Before.RSS = most.Heap, most.RSS
	}
	return resources, nil
}

// settleTimeout is for everything to be back where it began: links between workers last for a minute after the last push.
const settleTimeout = 90 * time.Second

// settle measures the workers again.
func (s *site) settle(resources []Resources) {
	for i, sl := range s.slots {
		r := &resources[i]
		if sl.restarts > 0 {
			r.Worker += fmt.Sprintf(", process %d", sl.restarts+1)
		}
		var err error
		if r.After, err = sl.settle(&r.Before, settleTimeout); err != nil {
			s.fault("%v", err)
		}
	}
}

// stop ends the workers in order, and reads their logs: an error there is a fault of ours.
func (s *site) stop() {
	var all sync.WaitGroup
	for _, sl := range s.slots {
		if sl.process != nil {
			all.Go(func() { sl.drain(sl.process) })
		}
	}
	all.Wait()
	for _, sl := range s.slots {
		logged, err := os.ReadFile(sl.log.Name())
		if err != nil {
			s.fault("%v", err)
		}
		for line := range strings.Lines(string(logged)) {
			if s.sessions && strings.Contains(line, "the sessions could not be written") {
				continue // obstruct has seen to that
			}
			if strings.Contains(line, "level=ERROR") || strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic:") {
				s.fault("worker %d has logged: %s", sl.number, strings.TrimSpace(line))
			}
		}
	}
}
