package wspush

import (
	"sync"
	"time"

	"github.com/wspush/wspush/internal/session"
)

// timed is a connection as the timers see it.
type timed interface {
	// stamps returns what the timers judge by, all on one scale: the time now, when the last byte came in, and when the last
	// message went out. It is called with a lock held, and must not wait.
	stamps() (now, received, sent time.Duration)
	// left returns how long the connection may go on, whatever happens on it, at a time now on that scale. It is called as stamps is.
	left(now time.Duration) time.Duration
	// ping and expire are called with no lock held.
	ping()
	expire(*CloseError)
}

// timers pings a silent connection, and ends a dead one, or one that may not go on. Activity only updates a stamp. When the alarm goes off,
// fire reads the stamps, does what is due, and sets the alarm for the earliest time at which anything else can be due.
type timers struct {
	// Set once by start, then read without a lock.
	pingInterval time.Duration // negative: off
	idleTimeout  time.Duration // negative: off
	alarms       *alarms[*timers]
	timed        timed

	alarm alarm // guarded by alarms

	mu       sync.Mutex    // guards what follows; alarms.mu may be locked within
	since    time.Duration // the last activity, from which pings are counted
	pings    int64         // how many pings have come due since then
	lastPing time.Duration // when the last ping came due; negative before the first
	paused   time.Duration // since when a callback has kept the connection from being read; negative: none does
	excused  time.Duration // how long callbacks have kept it from being read since the last byte came in
	excuses  time.Duration // when that byte came in: a later byte resets excused
	running  bool
}

// start starts the timers of c; stop ends them.
func (t *timers) start(a *alarms[*timers], pingInterval, idleTimeout time.Duration, c timed) {
	t.mu.Lock()
	t.alarms, t.pingInterval, t.idleTimeout, t.timed = a, pingInterval, idleTimeout, c
	t.lastPing, t.paused = -1, -1
	t.running = true
	t.mu.Unlock()
	t.fire()
}

// stop ends the timers. It does not wait for a ping that is just being sent: the connection may be what holds that up.
func (t *timers) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopLocked()
}

func (t *timers) stopLocked() {
	t.running = false
	t.alarms.drop(t)
}

// pause says that a callback of the application keeps the connection from being read, until resume: the client is not to blame
// for this silence.
func (t *timers) pause() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused, _, _ = t.timed.stamps()
}

func (t *timers) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, received, _ := t.timed.stamps()
	t.forgetExcusesLocked(received)
	t.excused += now - t.paused
	t.paused = -1
}

// forgetExcusesLocked forgets the excuses for a silence that is over.
func (t *timers) forgetExcusesLocked(received time.Duration) {
	if t.excuses != received {
		t.excuses, t.excused = received, 0
	}
}

func (t *timers) bell() *alarm { return &t.alarm }

// fire does what is due, and sets the alarm for what comes next. It may be called early: when a ping has been answered, so that
// the next alarm is one that has something to do.
func (t *timers) fire() {
	switch do := t.decide(); {
	case do.end != nil:
		t.timed.expire(do.end)
	case do.ping:
		t.timed.ping()
	}
}

// due is what the timers have to do about a connection now.
type due struct {
	ping bool
	end  *CloseError   // nil if the connection is to go on
	wait time.Duration // until something else can be due, if the connection is to go on
}

// decide returns what is due, and sets the alarm for what comes next, or stops the timers if the connection is to end.
func (t *timers) decide() due {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running {
		return due{}
	}
	do := t.judgeLocked()
	if do.end != nil {
		t.stopLocked()
	} else {
		t.alarms.set(t, do.wait)
	}
	return do
}

// judgeLocked looks at the stamps, and returns what is due.
func (t *timers) judgeLocked() due {
	now, received, sent := t.timed.stamps()
	left := t.timed.left(now)
	if left <= 0 {
		return dueEnd(CauseExpired, session.CodeUnauthorized, "expired")
	}
	wait := left
	if left != forever {
		wait = min(left, clockInterval)
	}
	activity := max(received, sent)
	if activity != t.since {
		t.since, t.pings = activity, 0
	}
	idle := now - activity
	if t.idleTimeout >= 0 {
		if idle >= t.idleTimeout {
			return dueEnd(CauseIdle, codeGoingAway, "idle timeout")
		}
		wait = min(wait, t.idleTimeout-idle)
	}
	if t.pingInterval < 0 {
		return due{wait: wait}
	}

	ping := false
	if n := int64(idle / t.pingInterval); n > t.pings {
		t.pings = n
		ping = true
	}
	wait = min(wait, time.Duration(t.pings+1)*t.pingInterval-idle)

	// Sending counts as activity, and can go on long after the client has died. Only what the client sends proves it alive.
	if t.idleTimeout >= 0 {
		over := t.silenceLocked(now, received) - t.idleTimeout
		switch {
		case over >= t.idleTimeout:
			return dueEnd(CauseNoAnswer, codeGoingAway, "no answer")
		case over >= 0:
			ping = ping || t.lastPing <= received
			wait = min(wait, t.idleTimeout-over)
		default:
			wait = min(wait, -over)
		}
	}
	if ping {
		t.lastPing = now
	}
	return due{ping: ping, wait: wait}
}

// dueEnd is due when the connection is to end.
func dueEnd(cause Cause, code int, reason string) due {
	return due{end: &CloseError{Cause: cause, Code: code, Reason: reason}}
}

// silenceLocked returns for how long nothing has come in while the connection was being read.
func (t *timers) silenceLocked(now, received time.Duration) time.Duration {
	t.forgetExcusesLocked(received)
	silence := now - received - t.excused
	if t.paused >= 0 {
		silence -= now - t.paused
	}
	return silence
}
