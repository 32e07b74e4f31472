package wspush

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/socket"
)

// arrival is the handshake of a client that speaks wspush.v1, until it is known what becomes of it: a new connection, one that it has had
// before, or none.
type arrival struct {
	handler     *Handler
	life        *life         // of a new connection, until another one is resumed
	at          time.Duration // by the worker's clock: when the handshake came in
	offer       session.Offer
	protocol    string     // the application's subprotocol, or ""
	resumes     *Conn      // for which it has a ticket; nil: none
	why         string     // why it gets a new connection, although it wants its own
	isElsewhere bool       // what it has a ticket for may be another worker's
	dismissal   *dismissal // why it gets none; nil: it gets one
}

// reasonReplaced is why a WebSocket is closed whose client has come back by a newer one.
const reasonReplaced = "replaced by another WebSocket"

// errOtherUser refuses a client that has somebody else's ticket.
var errOtherUser = refusedError{ErrForbidden, "User"}

// arrive begins the handshake of a client that speaks wspush.v1. For others it returns nil.
func (h *Handler) arrive(l *life, r *http.Request) *arrival {
	if !offersV1(r.Header) {
		return nil
	}
	w := h.worker
	a := &arrival{handler: h, life: l, offer: w.shared.tickets.ParseOffers(r.Header)}
	if !a.offer.V1 {
		return nil
	}
	a.protocol = socket.Negotiate(h.opts.Subprotocols, r.Header)
	k := &resumable{conn: l.Conn, handler: h, window: h.opts.ResumeWindow, protocol: a.protocol}
	if !w.sockets.HasRoom() {
		k.window = 0 // what this client would be away for could not be kept
	}
	l.session = k
	a.at = k.now()
	k.arrived = a.at
	return a
}

// offersV1 is a cheap way to know that a client does not.
func offersV1(header http.Header) bool {
	for _, line := range header["Sec-Websocket-Protocol"] {
		if strings.Contains(line, session.Subprotocol) {
			return true
		}
	}
	return false
}

// prepare changes how the handshake is done.
func (a *arrival) prepare(o *socket.Options, r *http.Request) {
	c := a.life.Conn
	c.outbox.Speak()
	if c.session.isSession() {
		c.outbox.Keep(a.handler.opts.MaxUnconfirmed, c.session)
	}
	o.Subprotocols = []string{session.Subprotocol}
	o.Admit = func() error { return a.admit(r) }
	o.Choose = func() (*socket.Outbox, bool) {
		if a.resumes != nil && a.dismissal == nil {
			return &a.resumes.outbox, true
		}
		return &c.outbox, false
	}
}

// admit decides what becomes of the handshake. Nothing is taken from the session that the client wants: that is for resume, when the client
// is there.
func (a *arrival) admit(r *http.Request) error {
	h, c := a.handler, a.life.Conn
	if ended := a.look(); ended != nil {
		a.count().ended.Add(1)
		return a.dismiss(&dismissal{code: ended.code, reason: ended.reason}, nil)
	}
	err := a.decide(r)
	if err == nil && a.isElsewhere {
		err = a.fetch(r) // the roster has had room
		var told dismissed
		if errors.As(err, &told) {
			return a.dismiss(told.dismissal, nil)
		}
	}
	if err == nil && a.resumes == nil {
		err = h.worker.roster.enter(c)
	}
	if err == nil {
		return nil
	}
	if a.resumes != nil {
		a.count().refused.Add(1)
	}
	return a.refuse(r, err)
}

// decide asks the application whether the client may connect.
func (a *arrival) decide(r *http.Request) error {
	h, c := a.handler, a.life.Conn
	switch roster := h.worker.roster; {
	case a.resumes == nil:
		if err := roster.admits(); err != nil {
			return err
		}
	case roster.isClosed(): // its place in the roster it has already
		return ErrShutdown
	}
	if err := h.ask(a.life, r); err != nil {
		return err
	}
	if a.resumes != nil && a.resumes.User() != c.User() {
		return errOtherUser
	}
	return nil
}

// look finds the session for which the client has a ticket, or what is left of it.
func (a *arrival) look() (ended *tombstone) {
	if !a.offer.Resume {
		return nil
	}
	a.why = session.WhyUnknown
	if a.offer.Bad {
		return nil
	}
	h, ticket, path := a.handler, a.offer.Ticket, a.life.path.String()
	if c, ok := h.worker.shared.registry.get(ticket.Session); ok && c.takesTicket(h, path, ticket) {
		a.resumes, a.why = c, ""
		return nil
	}
	// Only now: it was made before the session could no longer be found.
	s := h.worker.tombstones.find(h, path, ticket)
	if s == nil {
		a.isElsewhere = h.worker.mayBeElsewhere(ticket)
	}
	if s == nil || !s.isExpired {
		return s
	}
	a.why = session.WhyExpired
	return nil
}

// takesTicket reports whether a ticket is one of the connection's, at this mount and path.
func (c *Conn) takesTicket(h *Handler, path string, ticket session.Ticket) bool {
	k := c.session
	if !k.isSession() || k.handler != h || c.path.String() != path {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reason == nil && k.findLocked(ticket) >= 0
}

// refuse has the client told why it is refused, in a way that a browser can see; if that is too much, err is returned.
//
// During a Shutdown it is refused with a status, which a proxy in between understands: it may pass the handshake on to another worker.
func (a *arrival) refuse(r *http.Request, err error) error {
	if errors.Is(err, ErrShutdown) {
		return err
	}
	d := &dismissal{code: codeTryAgain, reason: "try again later"}
	kind, cause := session.Retry, err
	var refused refusedError
	if errors.As(err, &refused) {
		cause = refused.error
	}
	switch {
	case errors.Is(cause, ErrUnauthorized):
		kind, d.code, d.reason = session.Unauthorized, session.CodeUnauthorized, "unauthorized"
	case errors.Is(cause, ErrForbidden):
		kind, d.code, d.reason = session.Forbidden, session.CodeForbidden, "forbidden"
	}
	after := 0
	if kind == session.Retry {
		after = retryAfter
	}
	d.hello = session.Refused(kind, after)
	if failed := a.dismiss(d, err); failed != nil {
		return failed
	}
	a.handler.handshakeProblem(r, err) // which counts and logs it
	return nil
}

// dismiss has the handshake end in a dismissal. If there are too many of them it returns err, or, if that is nil, another one.
func (a *arrival) dismiss(d *dismissal, err error) error {
	if !a.handler.worker.dismissals.reserve() {
		if err == nil {
			err = refusedError{ErrUnavailable, "resume"}
		}
		return err
	}
	a.dismissal = d
	return nil
}

// cancel is for a handshake that has failed after all.
func (a *arrival) cancel() {
	if a.dismissal != nil {
		a.handler.worker.dismissals.release()
	}
}

// begin goes on with the WebSocket that the handshake has led to.
func (a *arrival) begin(s *socket.Socket) {
	l := a.life
	l.socket = s
	switch {
	case a.dismissal != nil:
		a.handler.worker.dismissals.begin(l, a.dismissal)
	case a.resumes != nil:
		a.resume()
	default:
		if a.why != "" {
			a.countWhy()
		}
		l.attach(s)
		go l.welcome(a.why)
	}
}

// resume gives the session its new WebSocket, if it is still there.
func (a *arrival) resume() {
	l, c := a.life, a.resumes
	k, s := c.session, l.socket
	fresh := l.Conn
	c.mu.Lock()
	at := k.findLocked(a.offer.Ticket)
	if c.reason != nil || at < 0 || a.handler.worker.roster.isClosed() {
		c.mu.Unlock()
		a.tooLate()
		return
	}
	if k.life != nil && a.at < k.arrived {
		c.mu.Unlock()
		a.overtaken()
		return
	}
	from, err := c.outbox.Resume(s, a.offer.Offset)
	if err != nil {
		c.mu.Unlock()
		a.cannotResume(err)
		return
	}
	if k.greeted.Swap(0) > 0 { // what comes from now on is about the hello that follows
		k.tickets.see()
	}
	old := k.life
	waited := old != nil && k.dropLocked(old)
	l.Conn = c
	k.tickets.prove(at)
	ticket := k.ticketLocked()
	k.life, k.since, k.arrived, k.protocol = l, k.now(), a.at, a.protocol
	k.began.Store(int64(s.Now()))
	k.lives = append(k.lives, l)
	c.value, c.remoteAddr, c.userAgent = fresh.value, fresh.remoteAddr, fresh.userAgent
	c.current.Store(s)
	if old == nil {
		k.away = nil
		c.shared.count.suspended.Add(-1)
	}
	leads := k.leadLocked(l)
	var crowd []*life
	if n := len(k.lives); n > maxLives {
		crowd = slices.Clone(k.lives[:n-maxLives])
	}
	c.mu.Unlock()
	if old != nil {
		old.socket.Close(session.CodeReplaced, reasonReplaced)
		if waited {
			go old.drain()
		}
	}
	for _, l := range crowd {
		l.socket.Reset()
	}
	missed := from - a.offer.Offset
	a.countResumed(old != nil, missed)
	c.shared.log.Debug("wspush: resumed", "conn", c.String(), "remote", fresh.remoteAddr, "replaces", old != nil, "missed", missed)
	s.Hello(k.hello(session.Hello{Ticket: ticket, Protocol: a.protocol, Resumed: true, Offset: from, Missed: missed}))
	s.Release()
	k.fire() // in place of the end of the window
	if leads {
		go l.lead()
	}
}

// maxLives is how many WebSockets of one session may be there at a time, those included that have been replaced and wait for their client's
// close frame. The oldest are cut off for more: a client that comes back in a loop costs no more than that.
const maxLives = 4

// overtaken tells a client that it has come back by a newer WebSocket while the handshake of this one was done, which may take long: Accept may
// wait for others. Its client has given this one up, and takes a newer one that is replaced for the work of another program.
func (a *arrival) overtaken() {
	w := a.handler.worker
	w.shared.count.replaced.Add(1)
	w.dismissals.beginNow(a.life, &dismissal{code: session.CodeReplaced, reason: reasonReplaced})
}

// tooLate tells a client that its session has ended, or its ticket been replaced, while the handshake was done.
func (a *arrival) tooLate() {
	a.count().ended.Add(1)
	d := &dismissal{code: codeTryAgain, reason: "try again"}
	if s := a.look(); s != nil {
		d.code, d.reason = s.code, s.reason
	}
	a.resumes = nil
	a.handler.worker.dismissals.beginNow(a.life, d)
}

// cannotResume tells a client that the session has sent fewer messages than the client says that it has; or that it is too late.
func (a *arrival) cannotResume(err error) {
	if err != socket.ErrOffset {
		a.tooLate()
		return
	}
	a.count().ahead.Add(1)
	a.handler.worker.dismissals.beginNow(a.life, aheadDismissal())
}

func aheadDismissal() *dismissal {
	return &dismissal{code: codeProtocolError, reason: "the offset is more than was sent"}
}

func (a *arrival) count() *resumeCounters { return &a.handler.worker.shared.count.resumes }

func (a *arrival) countResumed(replaces bool, missed uint64) {
	n := a.count()
	switch {
	case missed > 0:
		n.incomplete.Add(1)
	default:
		n.resumed.Add(1)
	}
	if replaces {
		a.handler.worker.shared.count.replaced.Add(1)
	}
}

func (a *arrival) countWhy() {
	switch n := a.count(); a.why {
	case session.WhyExpired:
		n.expired.Add(1)
	case session.WhyUnreachable:
		n.unreachable.Add(1)
	default:
		n.unknown.Add(1)
	}
}

// resumeCounters count handshakes of clients that wanted their session back, by what they got.
type resumeCounters struct {
	resumed, incomplete, expired, unknown, unreachable, ended, refused, ahead atomic.Uint64
}
