package wspush

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/takeover"
	"github.com/wspush/wspush/internal/wire"
)

// readSessions reads what the worker's predecessor has left, if there is a session file. It returns an empty file if not.
func (o *WorkerOptions) readSessions() (*sessionfile.File, error) {
	if o.SessionFile == "" {
		return new(sessionfile.File), nil
	}
	if err := sessionfile.Check(o.SessionFile); err != nil {
		return nil, o.cannotWrite(err)
	}
	f, err := sessionfile.Read(o.SessionFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return new(sessionfile.File), nil
	case errors.Is(err, sessionfile.ErrDamaged), errors.Is(err, sessionfile.ErrVersion):
		return nil, fmt.Errorf("wspush: SessionFile: %w; remove it to start without the sessions in it", err)
	case err != nil:
		return nil, fmt.Errorf("wspush: SessionFile: %w", err)
	}
	if err := checkSessions(f); err != nil {
		return nil, fmt.Errorf("wspush: SessionFile: %s: %w; remove it to start without the sessions in it", o.SessionFile, err)
	}
	return f, nil
}

// lockSessions sees to it that no other worker uses the session file. It returns nil if there is none.
func (o *WorkerOptions) lockSessions() (*sessionfile.Lock, error) {
	if o.SessionFile == "" {
		return nil, nil
	}
	lock, err := sessionfile.TakeLock(o.SessionFile)
	switch {
	case errors.Is(err, sessionfile.ErrLocked):
		return nil, fmt.Errorf("wspush: SessionFile: %s: %w", o.SessionFile, err)
	case err != nil:
		return nil, o.cannotWrite(err)
	}
	return lock, nil
}

// cannotWrite is the error of a start that finds that Shutdown could not write the session file.
func (o *WorkerOptions) cannotWrite(err error) error {
	return fmt.Errorf("wspush: SessionFile: %s could not be written; its directory must exist, and be writable: %w", o.SessionFile, err)
}

// removeSessions removes the session file, before anything that is in it is served: a worker that crashes must not find it again.
func (o *WorkerOptions) removeSessions() error {
	if o.SessionFile == "" {
		return nil
	}
	if err := sessionfile.Remove(o.SessionFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("wspush: SessionFile: it cannot be removed, and what is in it would be sent again: %w", err)
	}
	return nil
}

// listenAt returns where to listen: on the port that the addresses of sessions name, where Listen leaves that to the system.
func (o *WorkerOptions) listenAt(before sessionfile.Start) string {
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil || before.Port == 0 || port != "0" && port != "" {
		return o.Listen
	}
	return net.JoinHostPort(host, strconv.Itoa(before.Port))
}

// portOf returns the port of the push listener, or 0.
func (w *Worker) portOf() int {
	if tcp, ok := w.Addr().(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// loadSessions makes the sessions in f those of the worker. Nothing is served yet.
func (w *Worker) loadSessions(f *sessionfile.File) {
	held := holdings(f)
	messages := 0
	var moved []*Conn
	for i := range f.Sessions {
		c := w.loadSession(&f.Sessions[i], held)
		messages += len(f.Sessions[i].Messages)
		if f.Sessions[i].Moves > 0 {
			moved = append(moved, c)
		}
	}
	if len(moved) > 0 && w.hasOwners() {
		w.takeovers.running.add(1)
		go w.claimLoaded(moved)
	}
	for i := range f.Tombstones {
		s := &f.Tombstones[i]
		w.tombstones.add(&tombstone{
			id: s.ID, handler: w.mounts.await(w, s.Handler), path: s.Path, tickets: ticketsOf(s.Tickets), isExpired: s.Expired, code: s.Code, reason: s.Reason,
		}, s.Remaining)
	}
	if len(f.Sessions) > 0 {
		w.shared.log.Info("wspush: sessions loaded", "file", w.opts.SessionFile, "sessions", len(f.Sessions), "messages", messages)
	}
	if before, now := f.Start.Port, w.portOf(); before != 0 && before != now && len(f.Sessions) > 0 {
		w.shared.log.Warn("wspush: the addresses of the sessions name another port", "before", before, "now", now)
	}
}

// checkSessions reports whether a file can be what a worker has written.
func checkSessions(f *sessionfile.File) error {
	for i := range f.Sessions {
		if err := checkSession(&f.Sessions[i]); err != nil {
			return err
		}
	}
	for i := range f.Tombstones {
		if s := &f.Tombstones[i]; !s.Expired && wire.CheckClose(s.Code, s.Reason) != nil {
			return errors.New("a session has ended with a code that cannot be sent")
		}
	}
	return nil
}

func checkSession(s *sessionfile.Session) error {
	if !wire.IsID(s.ID) {
		return errors.New("a session has no ID")
	}
	if err := address.CheckPath(s.Path); err != nil {
		return fmt.Errorf("a session has a wrong path: %w", err)
	}
	if s.Window <= 0 {
		return errors.New("a session waits for its client for no time")
	}
	for _, name := range append([]string{s.User}, s.Groups...) {
		if name != "" && wire.CheckName(name) != nil {
			return errors.New("a session has a wrong user or group")
		}
	}
	return nil
}

// loadSession makes a connection of what has been written. It is suspended, and can be pushed to before its Handler is there.
func (w *Worker) loadSession(s *sessionfile.Session, held []*socket.Holding) *Conn {
	c := w.makeSession(s, w.mounts.await(w, s.Handler))
	k := c.session
	c.load(s, held)
	c.outbox.ForgetMarks()
	if s.Moves > 0 {
		k.moving = &moving{owner: takeover.Owner{Moves: s.Moves}, earlier: s.Earlier}
	}
	w.roster.admit(c)
	n := &w.shared.count
	n.loaded.Add(1)
	n.sessions.Add(1)
	n.suspended.Add(1)
	c.register()
	c.setOpen()
	w.shared.clock.set(k, k.remainingLocked())
	return c
}

// claimLoaded has the register of owners know sessions that had moved to this worker before it was started anew: their owner was another lease.
func (w *Worker) claimLoaded(sessions []*Conn) {
	defer w.takeovers.running.add(-1)
	for _, c := range sessions {
		for isOver := false; !isOver; isOver = isOver || !pause(w.cut, takePause) {
			c.mu.Lock()
			m := c.session.moving
			moves := m.owner.Claim()
			isOver = c.reason != nil || !m.owner.IsHere() // whoever takes it claims it, or it is claimed to be thawed
			c.mu.Unlock()
			if isOver {
				continue
			}
			owner, err := w.claim(w.cut, c.id, moves)
			c.mu.Lock()
			isLost := err == nil && !owner.Mine && m.owner.IsHere()
			if err == nil && owner.Mine && m.owner.IsHere() {
				m.owner.Moves = max(m.owner.Moves, owner.Moves)
			}
			isOver = err == nil
			c.mu.Unlock()
			if isLost { // what was saved is not what there is
				c.end(&CloseError{Cause: CauseLost, Code: codeAbnormal, Err: errTakerGone})
			}
		}
	}
}

// makeSession makes a connection of what has been written, or has come from another worker, but for its messages. It is suspended.
func (w *Worker) makeSession(s *sessionfile.Session, h *Handler) *Conn {
	c := &Conn{
		id: s.ID, shared: w.shared, value: savedValue{s.Value, s.HasValue}, remoteAddr: s.RemoteAddr, userAgent: s.UserAgent, path: address.NewPath(s.Path),
		connectedAt: s.ConnectedAt, isAttached: true,
	}
	k := &resumable{conn: c, handler: h, window: s.Window, protocol: s.Protocol, tickets: ticketsOf(s.Tickets)}
	lostTo := &CloseError{Cause: Cause(s.Lost.Cause), Code: s.Lost.Code, Reason: s.Lost.Reason}
	if s.Lost.Err != "" {
		lostTo.Err = errors.New(s.Lost.Err)
	}
	k.away = &absence{lostTo: lostTo, active: s.LastActive.Sub(s.ConnectedAt), roundTrip: s.RoundTrip}
	k.told, k.hasCome = true, true // by the worker that has suspended it
	c.session = k
	k.since = k.now() + s.Remaining - s.Window
	c.outbox.Init(&w.sockets, w.opts.MaxPending)
	c.outbox.Speak()
	c.outbox.Keep(s.MaxUnconfirmed, k)
	if s.User != "" {
		c.setUser(s.User)
	}
	for _, group := range s.Groups {
		if c.memberships == nil {
			c.memberships = new(memberships)
		}
		c.memberships.add(&member{conn: c, name: group, at: absent})
	}
	return c
}

// load gives the session its messages. It returns those, by their places, whose senders wait elsewhere.
func (c *Conn) load(s *sessionfile.Session, held []*socket.Holding) (waiting []*socket.Message) {
	saved := socket.Saved{
		Released: s.Released, Confirmed: s.Confirmed, Begun: s.Begun, Marks: s.Marks, Messages: make([]socket.SavedMessage, len(s.Messages)),
	}
	for i, m := range s.Messages {
		saved.Messages[i] = socket.SavedMessage{
			Unconfirmed: socket.Unconfirmed{Binary: m.Binary, Written: m.Written, Data: m.Data}, Mark: m.Mark,
			Waits: m.Waits, Confirm: m.Confirm, Hasty: m.Hasty, Patient: m.Patient,
		}
		if m.Shared > 0 {
			saved.Messages[i].Held = held[m.Shared-1]
		}
	}
	return c.outbox.Load(saved, max(time.Since(s.ConnectedAt), 0))
}

// holdings makes a count for each of the data in f that several messages have.
func holdings(f *sessionfile.File) []*socket.Holding {
	held := make([]*socket.Holding, len(f.Shared))
	for i := range held {
		held[i] = new(socket.Holding)
	}
	return held
}

func ticketsOf(secrets [][16]byte) (t tickets) {
	t.n = uint8(copy(t.secrets[:], secrets))
	return t
}

// A savedValue is the Value of a session until its Handler is there, which makes the application's of it.
type savedValue struct {
	data []byte
	has  bool // false: nothing has been saved, which is not the same as no bytes
}

// mounts are the Handlers that keep sessions, by HandlerOptions.Name.
type mounts struct {
	mu     sync.Mutex // guards what follows
	listed map[string][]*Handler

	// Only for workers with a session file.
	made    map[string]struct{} // by NewHandler
	awaited map[string]*Handler // of sessions that have been loaded, until NewHandler gives them their options; nil once none is awaited any more
}

// list notes a Handler that may get sessions from other workers.
func (m *mounts) list(h *Handler) {
	if h.opts.ResumeWindow == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.listed == nil {
		m.listed = make(map[string][]*Handler)
	}
	m.listed[h.name] = append(m.listed[h.name], h)
}

// find returns the Handler with a name, or nil if there is none, or no telling which.
func (m *mounts) find(name string) *Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	if all := m.listed[name]; len(all) == 1 {
		return all[0]
	}
	return nil
}

// await returns the Handler of sessions that have been loaded, which is still to be made.
func (m *mounts) await(w *Worker, name string) *Handler {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := m.awaited[name]
	if h == nil {
		h = &Handler{worker: w, opts: HandlerOptions{Name: name}, name: name, made: make(chan struct{})}
		if m.awaited == nil {
			m.awaited = make(map[string]*Handler)
		}
		m.awaited[name] = h
	}
	return h
}

// claim returns the Handler that sessions wait for which have been loaded, or h if there are none. Either has the options of h.
func (m *mounts) claim(h *Handler) (*Handler, error) {
	awaited, err := m.take(h)
	if awaited == nil {
		return h, err
	}
	defer close(awaited.made) // even if the application ends this goroutine
	awaited.loadValues()
	return awaited, nil
}

// take gives the Handler for which sessions wait the options of h, and returns it; nil: there is none. The application is not called: it may take
// its time, and Shutdown must not wait for it.
func (m *mounts) take(h *Handler) (awaited *Handler, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := h.opts.Name
	if h.opts.ResumeWindow == 0 && (name == "" || m.awaited[name] == nil) {
		return nil, nil // it has no sessions
	}
	_, isTaken := m.made[name]
	_, isUnnamed := m.made[""]
	switch {
	case isTaken && name != "":
		return nil, fmt.Errorf("wspush: Name: another Handler of the Worker has the name %q", name)
	case isTaken || isUnnamed || name == "" && len(m.made) > 0:
		return nil, errors.New("wspush: Name: with SessionFile, each of several Handlers with a ResumeWindow needs one, by which its sessions find it again")
	}
	if m.made == nil {
		m.made = make(map[string]struct{})
	}
	m.made[name] = struct{}{}
	if awaited = m.awaited[name]; awaited != nil {
		delete(m.awaited, name)
		awaited.opts, awaited.origins = h.opts, h.origins
	}
	return awaited, nil
}

// giveUp is for the end of the worker: what waits for a Handler does so no more.
func (m *mounts) giveUp(w *Worker) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, h := range m.awaited {
		w.shared.log.Warn("wspush: no Handler has the Name of sessions that were loaded: their clients could not come back", "name", name)
		close(h.made)
	}
	m.awaited = nil
}

// loadValues has the application make Values of what it has saved.
func (h *Handler) loadValues() {
	for _, c := range h.worker.roster.all() {
		if c.session.isSession() && c.session.handler == h {
			h.loadValue(c)
		}
	}
}

// loadValue makes the Value of one session. What goes wrong with that costs the Value and nothing else.
func (h *Handler) loadValue(c *Conn) {
	c.mu.Lock()
	saved, _ := c.value.(savedValue)
	c.mu.Unlock()
	var value any
	if h.opts.LoadValue != nil && saved.has {
		func() {
			defer func() {
				if e := recover(); e != nil {
					logPanic(c.shared.log, "LoadValue", e, "conn", c.String())
					value = nil
				}
			}()
			var err error
			if value, err = h.opts.LoadValue(saved.data); err != nil {
				c.shared.log.Warn("wspush: the Value of a session is not loaded", "conn", c.String(), "error", err)
				value = nil
			}
		}()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = value
}

// awaitMade waits until the Handler of a session that has been loaded, and has ended since, has its options, and LoadValue has been called. Shutdown
// can do nothing about that, as about a callback.
func (k *resumable) awaitMade() {
	made := k.handler.made
	if made == nil {
		return
	}
	select {
	case <-made:
		return
	default:
	}
	c, w := k.conn, k.handler.worker
	if !k.handler.isMissed.Swap(true) {
		c.shared.log.Warn("wspush: a session has ended whose Name no Handler has: nobody learns what is unconfirmed until there is one", "name", k.handler.name)
	}
	c.calling.Store(true)
	w.roster.change()
	<-made
	c.calling.Store(false)
	w.roster.change()
}
