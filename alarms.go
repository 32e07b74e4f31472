package wspush

import (
	"container/heap"
	"math"
	"runtime"
	"sync"
	"time"
)

// alarms wakes the timers of a worker's connections, each when something could be due for it, with one time.Timer and one
// goroutine for all of them. A time.Timer for each would start a goroutine for each, and in a round of pings these would
// all stand in line before the next push.
type alarms struct {
	start time.Time

	mu    sync.Mutex // guards what follows, and alarm in every timers; not held while timers are woken, which may write
	queue alarmQueue
	timer *time.Timer // calls run; nil before the first alarm
	runs  int         // how often run has been called: only the latest call goes on
}

// alarm is when the timers that it is in are to be woken.
type alarm struct {
	at    time.Duration // since alarms.start
	index int           // in the queue, from 1; 0: not in it
}

const (
	// alarmTick is how late an alarm may be. Alarms that are due one shortly after the other share a wake-up, and so do the pongs
	// that follow: being woken is a good part of what a ping costs.
	alarmTick = 10 * time.Millisecond
	// alarmBatch is the number of alarms after which other goroutines get their turn: a ping is a system call, and ten
	// thousand can be due at once.
	alarmBatch = 16
	// alarmPatience is how long one connection may hold up the alarms that are due at the same time. Pings do not block, but
	// no connection should depend on that for another.
	alarmPatience = 10 * time.Millisecond
)

func newAlarms() *alarms { return &alarms{start: time.Now()} }

// set has t.fire called after wait, in place of what was set before. A wait of math.MaxInt64 is for ever.
func (a *alarms) set(t *timers, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Since(a.start)
	if wait > math.MaxInt64-at {
		a.removeLocked(t)
		return
	}
	t.alarm.at = at + wait
	if t.alarm.index == 0 {
		heap.Push(&a.queue, t)
	} else {
		heap.Fix(&a.queue, t.alarm.index-1)
	}
	if a.queue[0] == t {
		a.setTimerLocked(a.wakeLocked())
	}
}

// drop forgets t. If t.fire is being called, it goes on.
func (a *alarms) drop(t *timers) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removeLocked(t)
}

func (a *alarms) removeLocked(t *timers) {
	if t.alarm.index == 0 {
		return
	}
	heap.Remove(&a.queue, t.alarm.index-1)
	if len(a.queue) == 0 {
		a.timer.Stop()
	}
}

// setTimerLocked has run called after wait.
func (a *alarms) setTimerLocked(wait time.Duration) {
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, a.run)
	} else {
		a.timer.Reset(wait)
	}
}

// run wakes all timers whose time has come. While it does, the time.Timer stays set: if one of them holds it up, another call
// takes over, and this one ends when it can.
func (a *alarms) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs++
	for run, n := a.runs, 1; run == a.runs && len(a.queue) > 0; n++ {
		t := a.queue[0]
		if a.waitLocked() > 0 {
			a.setTimerLocked(a.wakeLocked())
			return
		}
		heap.Pop(&a.queue)
		if len(a.queue) > 0 {
			a.setTimerLocked(max(a.waitLocked(), alarmPatience))
		} else {
			a.timer.Stop()
		}
		a.mu.Unlock()
		t.fire()
		if n%alarmBatch == 0 {
			runtime.Gosched()
		}
		a.mu.Lock()
	}
}

// waitLocked returns how long it is until the first alarm.
func (a *alarms) waitLocked() time.Duration { return a.queue[0].alarm.at - time.Since(a.start) }

// wakeLocked returns how long run is to wait: until the first alarm, or for alarmTick longer if others follow it by then.
func (a *alarms) wakeLocked() time.Duration {
	first := a.queue[0].alarm.at
	for _, t := range a.queue[1:min(3, len(a.queue))] { // one of these is the second
		if after := t.alarm.at - first; after > 0 && after <= alarmTick {
			return a.waitLocked() + alarmTick
		}
	}
	return a.waitLocked()
}

// alarmQueue is a heap of timers by the time of their alarm.
type alarmQueue []*timers

func (q alarmQueue) Len() int           { return len(q) }
func (q alarmQueue) Less(i, j int) bool { return q[i].alarm.at < q[j].alarm.at }

func (q alarmQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].alarm.index, q[j].alarm.index = i+1, j+1
}

func (q *alarmQueue) Push(x any) {
	t := x.(*timers)
	*q = append(*q, t)
	t.alarm.index = len(*q)
}

func (q *alarmQueue) Pop() any {
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	t.alarm.index = 0
	return t
}
