package wspush

import (
	"math"
	"sync"
	"time"
)

// stamps tells what the timers judge by, all on one scale: the time now, when the last byte came in, and when the last
// message went out.
type stamps func() (now, received, sent time.Duration)

// timers pings a silent connection and ends a dead one. Activity only moves a stamp; the one time.Timer looks at the
// stamps when the earliest thing that could be due would be, and sets itself anew.
type timers struct {
	pingInterval time.Duration // negative: off
	idleTimeout  time.Duration // negative: off
	stamps       stamps
	ping         func()
	end          func(*CloseError)

	mu       sync.Mutex    // guards what follows
	since    time.Duration // the last activity, from which pings are counted
	pings    int64         // how many have come due since then
	lastPing time.Duration // when the last one was; negative before the first
	held     time.Duration // since when a callback has held up reading; negative: none does
	excused  time.Duration // how long callbacks have held up reading since the last byte came in
	excuses  time.Duration // which last byte that was
	timer    *time.Timer
	stopped  bool
}

// startTimers starts the timers; stop ends them. Neither ping nor end may wait, or call stop.
func startTimers(pingInterval, idleTimeout time.Duration, st stamps, ping func(), end func(*CloseError)) *timers {
	t := &timers{
		pingInterval: pingInterval, idleTimeout: idleTimeout, stamps: st, ping: ping, end: end,
		lastPing: -1, held: -1,
	}
	if pingInterval < 0 && idleTimeout < 0 {
		return t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(t.next(), t.fire)
	return t
}

// stop ends the timers, and waits for what they are just doing.
func (t *timers) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// hold says that a callback of the application keeps the connection from being read, until release: the silence is ours.
func (t *timers) hold() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held, _, _ = t.stamps()
}

func (t *timers) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, received, _ := t.stamps()
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

// fire does what is due, and sets the timer for what will be.
func (t *timers) fire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	if d := t.next(); d > 0 {
		t.timer.Reset(d)
	}
}

// next does what is due now, and returns how long nothing else can be; 0 when the connection has been ended. mu is held.
func (t *timers) next() time.Duration {
	now, received, sent := t.stamps()
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
		t.ping()
	}
	return wait
}

// finish ends the connection; mu is held.
func (t *timers) finish(cause Cause, reason string) time.Duration {
	t.stopped = true
	t.end(&CloseError{Cause: cause, Code: codeGoingAway, Reason: reason})
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
