package lane

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// accepting takes the connections of a listener, which may be the application's: whatever its Accept does, it is asked again, unless it is
// closed. The system refuses connections for many reasons that pass (ENFILE, ENOMEM, ENOBUFS), or that are those of one connection (EPERM from
// a firewall, EPROTO, ECONNABORTED); which error is which kind, nobody can know.
type accepting struct {
	inner    net.Listener
	log      *slog.Logger
	draining <-chan struct{} // closed before the owner calls closeInner
	closing  sync.Once

	mu     sync.Mutex // guards what follows
	state  acceptState
	err    error     // the latest of the streak; the reason, once it is over
	began  time.Time // the first error of the streak
	latest time.Time // the latest one
	warned time.Time // when a streak was logged last
}

// acceptState is how the latest calls of Accept have gone.
type acceptState int

const (
	acceptFine    acceptState = iota
	acceptFailing             // a streak: each has returned an error within acceptPause, and there has been none that did not
	acceptFailed              // the same, for failedAfter
	acceptOver                // it will not be asked again
)

const (
	firstPause  = 5 * time.Millisecond // after an error. It doubles with each of a streak
	acceptPause = time.Second          // the longest one, as in http.Server
	failedAfter = 10 * time.Second     // of errors alone
	warnPause   = time.Minute          // between the records of two streaks
)

var (
	errNoConn = errors.New("Accept has returned neither a connection nor an error")
	errGoexit = errors.New("Accept has ended its goroutine")
)

// next returns the next connection, or nil once there will be no more.
func (a *accepting) next() net.Conn {
	pause := time.Duration(0)
	for {
		asked := time.Now()
		c, err := a.accept()
		switch {
		case err == nil:
			a.succeeded()
			return c
		case a.isDraining():
			return nil
		case errors.Is(err, net.ErrClosed):
			a.giveUp(err)
			return nil
		case time.Since(asked) > acceptPause: // it has waited for a connection, so the streak was over
			a.succeeded()
			pause = 0
		}
		a.failed(err)
		pause = min(max(2*pause, firstPause), acceptPause)
		select {
		case <-time.After(pause):
		case <-a.draining:
			return nil
		}
	}
}

// accept calls Accept, in which an application's listener may panic.
func (a *accepting) accept() (c net.Conn, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, fmt.Errorf("panic in Accept: %v", r)
		}
	}()
	if c, err = a.inner.Accept(); err == nil && c == nil {
		err = errNoConn
	}
	return c, err
}

// succeeded ends a streak.
func (a *accepting) succeeded() {
	a.mu.Lock()
	was := a.state
	if was != acceptOver {
		a.state, a.err = acceptFine, nil
	}
	a.mu.Unlock()
	if was == acceptFailed {
		a.log.Info("wspush: the push listener accepts connections again")
	}
}

// failed takes note of an error, and logs the first of a streak, and the one with which the worker has failed.
func (a *accepting) failed(err error) {
	now := time.Now()
	a.mu.Lock()
	begins := a.state == acceptFine
	if begins {
		a.state, a.began = acceptFailing, now
	}
	a.err, a.latest = err, now
	warns := begins && (a.warned.IsZero() || now.Sub(a.warned) >= warnPause)
	if warns {
		a.warned = now
	}
	fails := a.state == acceptFailing && now.Sub(a.began) >= failedAfter
	if fails {
		a.state = acceptFailed
	}
	a.mu.Unlock()
	if warns {
		a.log.Warn("wspush: the push listener cannot accept a connection; trying again", "error", err)
	}
	if fails {
		a.log.Error("wspush: the push listener has accepted no connection for a while: connections of this worker cannot be pushed to from outside; trying again",
			"for", now.Sub(a.began).Round(time.Second), "error", err)
	}
}

// giveUp closes the listener, since nobody will accept what connects to it, and says so. Connections that are there stay. It does
// nothing if the listener is closed already.
func (a *accepting) giveUp(err error) {
	if a.isDraining() {
		return
	}
	a.mu.Lock()
	isFirst := a.state != acceptOver
	if isFirst {
		a.state, a.err = acceptOver, err
	}
	a.mu.Unlock()
	if !isFirst {
		return
	}
	a.closeInner()
	a.log.Error("wspush: the push listener has failed: connections of this worker cannot be pushed to from outside", "error", err)
}

// failure returns why no connections are accepted, or nil if they are.
func (a *accepting) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.state == acceptOver:
		return a.err
	case a.state == acceptFailed && time.Since(a.latest) <= 2*acceptPause: // or else Accept is waiting for a connection
		return a.err
	}
	return nil
}

// closeInner closes the listener, once: not all bear to be closed twice.
func (a *accepting) closeInner() { a.closing.Do(func() { _ = a.inner.Close() }) }

func (a *accepting) isDraining() bool {
	select {
	case <-a.draining:
		return true
	default:
		return false
	}
}
