package wspush

import (
	"runtime"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/socket"
)

const (
	// breatheFrom is from how many targets on the caller lets others run meanwhile.
	breatheFrom = 65
	// defaultHelpFrom is from how many targets on several goroutines start deliveries. A second processor makes each delivery a
	// sixth dearer, and is not missed where one is done in some milliseconds: until then it is for others.
	defaultHelpFrom = 1025
	// aheadFor is how many deliveries may be handed out for each processor and not be reported.
	aheadFor = 64
	// spreadBatch is how many deliveries a goroutine takes at a time.
	spreadBatch = 16
	// breatheEvery is for how long a goroutine starts deliveries before others have their turn.
	breatheEvery = 300 * time.Microsecond
)

// spread has the deliveries of an each started by several goroutines: its caller's and helpers, one for each other processor.
//
// At first there are no helpers. The caller puts deliveries into the line, in which they are reported, and at the same time into todo, from which whoever is free
// takes the next ones. While nothing can be reported, the caller starts deliveries itself.
type spread[T any] struct {
	line    []*delivery[T] // handed out and not reported, in the order of the targets; the caller's
	helpers sync.WaitGroup
	procs   int // how many goroutines start deliveries; 0 until there is a line, 1 until there are helpers

	breather *socket.Breather
	breathed time.Time // when the caller last let others run

	mu      sync.Mutex // guards what follows
	more    *sync.Cond // signals that there is something in todo, or stopped
	todo    []*delivery[T]
	idle    int // helpers that wait for more
	stopped bool
}

// startLine begins the line, which stop ends.
func (s *spread[T]) startLine() {
	s.procs = 1
	s.more = sync.NewCond(&s.mu)
	s.breather = socket.NewBreather()
	s.breathed = time.Now()
}

// startHelpers starts the helpers, which stop ends.
func (e *each[T]) startHelpers() {
	s := &e.spread
	s.procs = runtime.GOMAXPROCS(0)
	for range s.procs - 1 {
		s.helpers.Go(e.help)
	}
}

// hand hands d out, the delivery for the nth target, and reports what can be reported.
func (e *each[T]) hand(d *delivery[T], n int) {
	s := &e.spread
	if s.procs == 0 {
		s.startLine()
	}
	if n == e.worker.helpFrom {
		e.startHelpers()
	}
	s.line = append(s.line, d)
	s.mu.Lock()
	s.todo = append(s.todo, d)
	if s.idle > 0 {
		s.more.Signal()
	}
	s.mu.Unlock()
	e.await(s.procs * aheadFor)
}

// await reports from the line until it is shorter than limit, and starts deliveries meanwhile.
func (e *each[T]) await(limit int) {
	for {
		e.reportLine()
		e.collect()
		if e.left || len(e.spread.line) < limit {
			return
		}
		var batch [spreadBatch]*delivery[T]
		if n := e.spread.take(batch[:]); n > 0 {
			e.runAll(batch[:n], &e.spread.breathed)
		} else {
			<-e.signal // a helper has the first of the line
		}
	}
}

// reportLine reports the first deliveries of the line, as far as they have been started.
func (e *each[T]) reportLine() {
	s := &e.spread
	n := 0
	for ; n < len(s.line) && s.line[n].started.Load() && !e.left; n++ {
		e.report(s.line[n])
	}
	clear(s.line[:n])
	s.line = s.line[n:]
}

// runAll starts the deliveries of a batch, and then lets others run if breathed, when the goroutine last did so, is long ago.
func (e *each[T]) runAll(batch []*delivery[T], breathed *time.Time) {
	for _, d := range batch {
		e.run(d)
	}
	if time.Since(*breathed) >= breatheEvery {
		e.spread.breather.Breathe()
		*breathed = time.Now()
	}
}

// help is a helper.
func (e *each[T]) help() {
	var batch [spreadBatch]*delivery[T]
	breathed := time.Now()
	for {
		n := e.spread.takeOrWait(batch[:])
		if n == 0 {
			return
		}
		e.runAll(batch[:n], &breathed)
		clear(batch[:n])
		e.wake()
	}
}

// take takes the next of todo, into batch, and returns how many.
func (s *spread[T]) take(batch []*delivery[T]) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeLocked(batch)
}

func (s *spread[T]) takeLocked(batch []*delivery[T]) int {
	n := copy(batch, s.todo)
	clear(s.todo[:n])
	s.todo = s.todo[n:]
	return n
}

// takeOrWait is take that returns 0 only once stopped is set.
func (s *spread[T]) takeOrWait(batch []*delivery[T]) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.todo) == 0 && !s.stopped {
		s.idle++
		s.more.Wait()
		s.idle--
	}
	if s.stopped {
		return 0
	}
	return s.takeLocked(batch)
}

// stop ends the helpers. What is still in todo is not started.
func (e *each[T]) stop() {
	s := &e.spread
	if s.more == nil {
		return
	}
	s.mu.Lock()
	s.stopped = true
	s.todo = nil
	s.more.Broadcast()
	s.mu.Unlock()
	s.helpers.Wait()
	s.breather.Close()
	for _, d := range s.line {
		if d.started.Load() {
			e.report(d)
		}
	}
	s.line = nil
}
