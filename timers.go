package wspush

import (
	"math"
	"sync"
	"time"
)

// timed is a connection as the timers see it. Neither ping nor expire may wait, or call the timers.
type timed interface {
	// stamps tells what the timers judge by, all on one scale: the time now, when the last byte came in, and when the last
	// message went out.
	stamps() (now, received, sent time.Duration)
	ping()
	expire(*CloseError)
}

// timers pings a silent connection and ends a dead one. Activity only moves a stamp; the alarm looks at the stamps when the
// earliest thing that could be due would be, and is set anew.
type timers struct {
	pingInterval time.Duration // negative: off
	idleTimeout  time.Duration // negative: off
	alarms       *alarms
	timed        timed

	alarm alarm // guarded by alarms

	mu       sync.Mutex    // guards what follows; alarms.mu may be locked within
	since    time.Duration // the last activity, from which pings are counted
	pings    int64         // how many have come due since then
	lastPing time.Duration // when the last one was; negative before the first
	held     time.Duration // since when a callback has held up reading; negative: none does
	excused  time.Duration // how long callbacks have held up reading since the last byte came in
	excuses  time.Duration // which last byte that was
	running  bool
}

// begin starts the timers of c; stop ends them.
func (t *timers) begin(a *alarms, pingInterval, idleTimeout time.Duration, c timed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.alarms, t.pingInterval, t.idleTimeout, t.timed = a, pingInterval, idleTimeout, c
	t.lastPing, t.held = -1, -1
	t.running = true
	t.set()
}

// stop ends the timers, and waits for what they are just doing.
func (t *timers) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.halt()
}

// halt is stop; mu is held.
func (t *timers) halt() {
	t.running = false
	t.alarms.drop(t)
}

// hold says that a callback of the application keeps the connection from being read, until release: the silence is ours.
func (t *timers) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held, _, _ = t.timed.stamps()
}

func (t *timers) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, received, _ := t.timed.stamps()
	t.excuse(received)
	t.excused += now - t.held
	t.held = -1
}

// excuse forgets the excuses for a silence that is over; mu is held.
func (t *timers) excuse(received time.Duration) {
	if t.excuses != received {
		t.excuses, t.excused = received, 0
	}
}

// fire does what is due, and sets the alarm for what will be. It may be called early: when a ping has been answered, so that
// the next alarm is one of which something can come.
func (t *timers) fire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running {
		t.set()
	}
}

// set is fire; mu is held.
func (t *timers) set() {
	if wait := t.next(); wait > 0 {
		t.alarms.set(t, wait)
	}
}

// next does what is due now, and returns how long nothing else can be; 0 when the connection has been ended. mu is held.
func (t *timers) next() time.Duration {
	now, received, sent := t.timed.stamps()
	activity := max(received, sent)
	if activity != t.since {
		t.since, t.pings = activity, 0
	}
	idle := now - activity
	wait := time.Duration(math.MaxInt64)
	if t.idleTimeout >= 0 {
		if idle >= t.idleTimeout {
			return t.finish(CauseIdle, "idle timeout")
		}
		wait = t.idleTimeout - idle
	}
	if t.pingInterval < 0 {
		return wait
	}

	ping := false
	if n := int64(idle / t.pingInterval); n > t.pings {
		t.pings = n
		ping = true
	}
	wait = min(wait, time.Duration(t.pings+1)*t.pingInterval-idle)

	// Sending counts as activity, and can go on for long after the peer has died: only what it sends proves it alive.
	if t.idleTimeout >= 0 {
		over := t.silence(now, received) - t.idleTimeout
		switch {
		case over >= t.idleTimeout:
			return t.finish(CauseNoAnswer, "no answer")
		case over >= 0:
			ping = ping || t.lastPing <= received
			wait = min(wait, t.idleTimeout-over)
		default:
			wait = min(wait, -over)
		}
	}
	if ping {
		t.lastPing = now
		t.timed.ping()
	}
	return wait
}

// finish ends the connection; mu is held.
func (t *timers) finish(cause Cause, reason string) time.Duration {
	t.halt()
	t.timed.expire(&CloseError{Cause: cause, Code: codeGoingAway, Reason: reason})
	return 0
}

// silence is how long nothing has come in although the connection was being read; mu is held.
func (t *timers) silence(now, received time.Duration) time.Duration {
	t.excuse(received)
	silence := now - received - t.excused
	if t.held >= 0 {
		silence -= now - t.held
	}
	return silence
}
