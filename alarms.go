package wspush

import (
	"container/heap"
	"math"
	"runtime"
	"sync"
	"time"
)

// alarms wakes what belongs to a worker's connections, each when something could be due for it, with one time.Timer and one
// goroutine for all of them. A time.Timer for each would start a goroutine for each, and in a round of pings these would
// all stand in line before the next push.
//
// It is generic since the timers, of which each connection has some, take half the room in a queue of their own type.
type alarms[T alarmed] struct {
	start time.Time

	mu    sync.Mutex // guards what follows, and the alarm of all that is woken; not held while anything is woken, which may write
	queue alarmQueue[T]
	timer *time.Timer // calls run; nil before the first alarm
	runs  int         // how often run has been called: only the latest call goes on
}

// alarmed is what can be woken.
type alarmed interface {
	fire() // is called when the alarm goes off, with no lock held
	bell() *alarm
}

// alarm is when what it belongs to is to be woken.
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

func newAlarms[T alarmed]() *alarms[T] { return &alarms[T]{start: time.Now()} }

// set has t.fire called after wait, in place of what was set before. A wait of math.MaxInt64 is for ever.
func (a *alarms[T]) set(t T, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := time.Since(a.start)
	if wait > math.MaxInt64-at {
		a.removeLocked(t)
		return
	}
	t.bell().at = at + wait
	if t.bell().index == 0 {
		heap.Push(&a.queue, t)
	} else {
		heap.Fix(&a.queue, t.bell().index-1)
	}
	if t.bell().index == 1 {
		a.setTimerLocked(a.wakeLocked())
	}
}

// drop forgets t. If t.fire is being called, it goes on.
func (a *alarms[T]) drop(t T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removeLocked(t)
}

// due returns for when t has been set last, since start.
func (a *alarms[T]) due(t T) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return t.bell().at
}

func (a *alarms[T]) removeLocked(t T) {
	if t.bell().index == 0 {
		return
	}
	heap.Remove(&a.queue, t.bell().index-1)
	if len(a.queue) == 0 {
		a.timer.Stop()
	}
}

// setTimerLocked has run called after wait.
func (a *alarms[T]) setTimerLocked(wait time.Duration) {
	if a.timer == nil {
		a.timer = time.AfterFunc(wait, a.run)
	} else {
		a.timer.Reset(wait)
	}
}

// run wakes all whose time has come. While it does, the time.Timer stays set: if one of them holds it up, another call
// takes over, and this one ends when it can.
func (a *alarms[T]) run() {
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
func (a *alarms[T]) waitLocked() time.Duration { return a.queue[0].bell().at - time.Since(a.start) }

// wakeLocked returns how long run is to wait: until the first alarm, or for alarmTick longer if others follow it by then.
func (a *alarms[T]) wakeLocked() time.Duration {
	first := a.queue[0].bell().at
	for _, t := range a.queue[1:min(3, len(a.queue))] { // one of these is the second
		if after := t.bell().at - first; after > 0 && after <= alarmTick {
			return a.waitLocked() + alarmTick
		}
	}
	return a.waitLocked()
}

// alarmQueue is a heap by the time of the alarm.
type alarmQueue[T alarmed] []T

func (q alarmQueue[T]) Len() int           { return len(q) }
func (q alarmQueue[T]) Less(i, j int) bool { return q[i].bell().at < q[j].bell().at }

func (q alarmQueue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].bell().index, q[j].bell().index = i+1, j+1
}

func (q *alarmQueue[T]) Push(x any) {
	t := x.(T)
	*q = append(*q, t)
	t.bell().index = len(*q)
}

func (q *alarmQueue[T]) Pop() any {
	var none T
	last := len(*q) - 1
	t := (*q)[last]
	(*q)[last] = none
	*q = (*q)[:last]
	t.bell().index = 0
	return t
}
