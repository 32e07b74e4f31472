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

	mu      sync.Mutex // guards what follows, and alarm in every timers; not held while one is woken, which may write
	queue   alarmQueue
	timer   *time.Timer // set for the first of the queue; nil before the first alarm
	running bool        // run is, and will look at the queue before it ends
}

// alarm is when the timers that it is in are to be woken.
type alarm struct {
	at    time.Duration // since alarms.start
	index int           // in the queue, from 1; 0: not in it
}

func newAlarms() *alarms { return &alarms{start: time.Now()} }

// set has t.fire called after wait, in place of what was set before. A wait of math.MaxInt64 is for ever.
func (a *alarms) set(t *timers, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Since(a.start)
	if wait > math.MaxInt64-at {
		a.remove(t)
		return
	}
	t.alarm.at = at + wait
	if t.alarm.index == 0 {
		heap.Push(&a.queue, t)
	} else {
		heap.Fix(&a.queue, t.alarm.index-1)
	}
	if a.queue[0] == t {
		a.setTimer(wait)
	}
}

// drop forgets t. If t.fire is being called, it goes on.
func (a *alarms) drop(t *timers) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(t)
}

// remove is drop; mu is held.
func (a *alarms) remove(t *timers) {
	if t.alarm.index == 0 {
		return
	}
	heap.Remove(&a.queue, t.alarm.index-1)
	if len(a.queue) == 0 && a.timer != nil {
		a.timer.Stop()
	}
}

// setTimer has run called after wait; mu is held.
func (a *alarms) setTimer(wait time.Duration) {
	switch {
	case a.running:
	case a.timer == nil:
		a.timer = time.AfterFunc(wait, a.run)
	default:
		a.timer.Reset(wait)
	}
}

// run wakes everyone whose time has come.
func (a *alarms) run() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running { // the timer was set anew while the one before was being served
		return
	}
	a.running = true
	for n := 1; len(a.queue) > 0; n++ {
		t := a.queue[0]
		if wait := t.alarm.at - time.Since(a.start); wait > 0 {
			a.running = false
			a.setTimer(wait)
			return
		}
		heap.Pop(&a.queue)
		a.mu.Unlock()
		t.fire()
		if n%alarmBatch == 0 {
			runtime.Gosched()
		}
		a.mu.Lock()
	}
	a.running = false
}

// alarmBatch is after how many alarms others get their turn: a ping is a system call, and ten thousand can be due at once.
const alarmBatch = 16

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
