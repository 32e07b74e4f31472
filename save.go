package wspush

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/socket"
)

// leaving is how a worker leaves its sessions to its successor, in WorkerOptions.SessionFile.
//
// When Shutdown begins, nobody can come back any more, and the windows of sessions stand still. Every session is suspended, and is pushed to as
// ever. Once all of them rest, they are taken from their outboxes: from then on pushes get ErrShutdown. When every publisher has its answer, they are
// written, and end.
type leaving struct {
	since   atomic.Int64 // by the worker's clock: when Shutdown has begun; 0: it has not
	isTaken atomic.Bool  // the sessions are taken, or are about to be

	urgent context.Context // ends when a Shutdown has no more time
	hurry  context.CancelFunc

	lock *sessionfile.Lock // held until the sessions are written

	taking  sync.Once // takes the sessions
	writing sync.Once // writes them

	// Written by taking, read by writing.
	sessions   []takenSession
	tombstones []sessionfile.Tombstone

	err error // why the sessions could not be written; set by writing
}

// A takenSession is a session that is to be written.
type takenSession struct {
	conn      *Conn
	saved     socket.Saved
	remaining time.Duration
}

// isLeft reports whether what a connection is pushed is refused because of Shutdown, given why it has ended.
func (s *shared) isLeft(reason *CloseError) bool {
	switch {
	case reason == nil:
		return s.leaving != nil && s.leaving.isTaken.Load()
	case reason.Cause == CauseShutdown, reason.Cause == CauseMoved:
		return true
	}
	return false
}

// keepsSessions reports whether sessions outlive the worker.
func (s *shared) keepsSessions() bool { return s.leaving != nil || s.isHanding.Load() }

func newLeaving(lock *sessionfile.Lock) *leaving {
	l := &leaving{lock: lock}
	l.urgent, l.hurry = context.WithCancel(context.Background())
	return l
}

// begin stops the windows of sessions.
func (l *leaving) begin(now time.Duration) { l.since.CompareAndSwap(0, max(int64(now), 1)) }

// stop ends the connection for Shutdown. A session that is to be left to the worker's successor is only suspended.
func (c *Conn) stop(reason *CloseError) {
	if !c.shared.keepsSessions() || !c.suspendForShutdown(reason) {
		c.end(reason)
	}
}

// suspendForShutdown reports false if there is no session that could be saved.
func (c *Conn) suspendForShutdown(reason *CloseError) bool {
	k := c.session
	c.mu.Lock()
	switch {
	case !k.isSession() || c.reason != nil || !c.isOpen:
		c.mu.Unlock()
		return false
	case k.life != nil:
		k.life.suspendAndUnlock(reason)
		return true
	}
	isResting := k.restsLocked()
	c.mu.Unlock()
	if isResting {
		k.handler.worker.roster.rest(c)
	}
	return true
}

// restsLocked reports whether the session is suspended and has no goroutine.
func (k *resumable) restsLocked() bool {
	return k.isSuspendedLocked() && !k.isLed && len(k.lives) == 0 && !k.isFrozenLocked()
}

// takeSessions takes the sessions from their outboxes, and from then on nothing changes them. What cannot be taken ends.
func (w *Worker) takeSessions() {
	l := w.shared.leaving
	if l == nil {
		return
	}
	l.taking.Do(func() {
		l.isTaken.Store(true)
		for _, c := range w.roster.all() {
			if c.session.isSession() {
				if t, ok := c.session.take(); ok {
					l.sessions = append(l.sessions, t)
				}
			}
		}
		l.tombstones = w.tombstones.save(time.Duration(l.since.Load())) // now that none can be added
	})
}

// take takes the session, and reports false if there is none any more.
func (k *resumable) take() (takenSession, bool) {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != nil || k.isFrozenLocked() { // whoever takes it has it, or may have
		return takenSession{}, false
	}
	remaining := k.remainingLocked()
	saved, ok := c.outbox.Save()
	k.isTaken = ok
	k.settleTicketsLocked()
	return takenSession{c, saved, remaining}, ok
}

// writeSessions writes the sessions that have been taken, and ends them. Those that cannot be written end as if there was no session file: the
// application gets what is unconfirmed. The error says why they could not be written.
func (w *Worker) writeSessions() error {
	l := w.shared.leaving
	if l == nil {
		return nil
	}
	l.writing.Do(func() {
		defer l.lock.Release()
		file, messages := w.sessionFile(l)
		var err error
		if len(file.Sessions)+len(file.Tombstones) > 0 {
			err = sessionfile.Write(w.opts.SessionFile, file)
		}
		reason := *w.shutdownError()
		if err != nil {
			w.shared.log.Error("wspush: the sessions could not be written; what their clients have not confirmed is left to OnDisconnect",
				"file", w.opts.SessionFile, "sessions", len(l.sessions), "messages", messages, "error", err)
			l.err = fmt.Errorf("wspush: SessionFile: the sessions could not be written: %w", err)
			reason.Err = l.err
		} else {
			w.shared.log.Info("wspush: sessions saved", "file", w.opts.SessionFile, "sessions", len(l.sessions), "messages", messages)
			reason.Cause = CauseMoved
		}
		for _, t := range l.sessions {
			if err == nil {
				t.conn.outbox.Forget()
			}
			t.conn.end(&reason)
		}
		l.sessions, l.tombstones = nil, nil
		for _, c := range w.roster.all() {
			c.end(w.shutdownError()) // which had no session to take
		}
	})
	return l.err
}

// sessionFile makes the content of the session file.
func (w *Worker) sessionFile(l *leaving) (f *sessionfile.File, messages int) {
	f = &sessionfile.File{Tombstones: l.tombstones, Start: sessionfile.Start{TicketKey: w.shared.ticketKey}}
	f.Start.Port = w.portOf()
	if w.cluster != nil {
		f.Start.Instance = w.cluster.instance
	}
	var copies copying
	values := savingValues{urgent: l.urgent, log: w.shared.log}
	defer values.end()
	for _, t := range l.sessions {
		s := copies.session(t)
		s.Value, s.HasValue = values.of(t.conn.session)
		f.Sessions = append(f.Sessions, s)
		messages += len(s.Messages)
	}
	f.Shared = copies.shared
	return f, messages
}

// file returns the session as it is written, but for its messages and its Value.
func (k *resumable) file(t takenSession) sessionfile.Session {
	c := k.conn
	info := c.Info()
	s := sessionfile.Session{
		ID: c.id, Handler: k.handler.opts.Name, Path: info.Path, User: info.User, Groups: info.Groups,
		RemoteAddr: info.RemoteAddr, UserAgent: info.UserAgent, Protocol: info.Subprotocol,
		ConnectedAt: info.ConnectedAt, LastActive: info.LastActive, RoundTrip: info.RoundTrip,
		Window: k.window, Remaining: t.remaining, MaxUnconfirmed: t.saved.MaxUnconfirmed,
		Released: t.saved.Released, Confirmed: t.saved.Confirmed, Begun: t.saved.Begun, Marks: t.saved.Marks,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := k.moving; m != nil {
		s.Moves, s.Earlier = m.owner.Moves, m.earlier
	}
	s.Tickets = k.tickets.list()
	if k.away != nil {
		e := k.away.lostTo
		s.Lost = sessionfile.Lost{Cause: string(e.Cause), Code: e.Code, Reason: e.Reason}
		if e.Err != nil {
			s.Lost.Err = e.Err.Error()
		}
	}
	return s
}

// savingValues asks the application for what is to be kept of Values, for one session after the other. What goes wrong with that costs the Value and
// nothing else.
type savingValues struct {
	urgent context.Context // ends when Shutdown has no more time
	until  time.Time       // how long SaveValue may take then; zero before
	late   int             // how many Values are lost by that
	log    *slog.Logger
}

// valuesTimeout is how long SaveValue may take, for all sessions together, when Shutdown has no more time. Their messages must not be lost for it.
const valuesTimeout = time.Second

// of returns what is to be kept of the Value of a session, and whether there is anything.
func (v *savingValues) of(k *resumable) (data []byte, has bool) {
	c, opts := k.conn, &k.handler.opts
	c.mu.Lock()
	value := c.value
	c.mu.Unlock()
	if loaded, ok := value.(savedValue); ok {
		return loaded.data, loaded.has // no Handler has asked for it
	}
	if opts.SaveValue == nil {
		return nil, false
	}
	if v.isOver() {
		v.late++
		return nil, false
	}
	saved := make(chan savedValue, 1)
	go func() { // which a SaveValue that does not return may keep, or end
		defer close(saved)
		saved <- k.saveValue(value)
	}()
	select {
	case s := <-saved:
		return s.data, s.has
	case <-v.urgent.Done():
	}
	if v.until.IsZero() {
		v.until = time.Now().Add(valuesTimeout)
	}
	timer := time.NewTimer(time.Until(v.until))
	defer timer.Stop()
	select {
	case s := <-saved:
		return s.data, s.has
	case <-timer.C:
		v.late++
		return nil, false
	}
}

// isOver reports whether there is no time for another one.
func (v *savingValues) isOver() bool { return !v.until.IsZero() && !time.Now().Before(v.until) }

func (v *savingValues) end() {
	if v.late > 0 {
		v.log.Warn("wspush: the Values of sessions are not saved: SaveValue took too long", "sessions", v.late)
	}
}

// saveValue calls SaveValue.
func (k *resumable) saveValue(value any) (s savedValue) {
	c := k.conn
	log := c.shared.log
	defer func() {
		if e := recover(); e != nil {
			logPanic(log, "SaveValue", e, "conn", c.String())
			s = savedValue{}
		}
	}()
	data, err := k.handler.opts.SaveValue(value)
	if err != nil {
		log.Warn("wspush: the Value of a session is not saved", "conn", c.String(), "error", err)
		return savedValue{}
	}
	return savedValue{data, true}
}

// list returns the secrets.
func (t *tickets) list() [][16]byte { return append([][16]byte(nil), t.secrets[:t.n]...) }

// save returns all tombstones as they are written: with the time that they had left at a time by the worker's clock.
func (t *tombstones) save(at time.Duration) (all []sessionfile.Tombstone) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range []*tombstoneList{&t.ended, &t.expired} {
		for s := l.first; s != nil; s = s.next {
			all = append(all, sessionfile.Tombstone{
				ID: s.id, Handler: s.handler.opts.Name, Path: s.path, Tickets: s.tickets.list(), Expired: s.isExpired, Code: s.code, Reason: s.reason,
				Remaining: s.handler.worker.shared.clock.due(s) - at,
			})
		}
	}
	return all
}
