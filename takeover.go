package wspush

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/takeover"
)

// takeovers are the sessions that the worker is taking from others.
type takeovers struct {
	running tally // goroutines that have to do with sessions that move

	mu      sync.Mutex // guards what follows
	under   map[string]*arriving
	offers  int                  // that are being fetched
	failing map[string]time.Time // since when the owner of a session cannot be reached; by ID
}

// arriving is a session that is being taken from another worker.
type arriving struct {
	worker *Worker
	id     string
	done   chan struct{} // closed when the rest is final

	conn    *Conn
	outcome arrivalOutcome
	ended   *dismissal // of takeEnded
	failure error      // why it was not to be had, if there was a reason

	waiting []func(*Conn) // guarded by takeovers: what others ask about the session meanwhile; nil: there is none
	isOver  bool          // the same
}

// arrivalOutcome is what became of a take-over.
type arrivalOutcome uint8

const (
	takeDone        arrivalOutcome = iota // the session is here
	takeUnknown                           // nobody has it
	takeExpired                           // its client was away for too long
	takeEnded                             // it has ended, by a code
	takeForbidden                         // its client is somebody else
	takeAhead                             // its client says that it has received more than was sent
	takeLater                             // not now
	takeUnreachable                       // its owner has not been reached for takeGiveUp
)

// isAboutClient reports whether the outcome may be another one for another handshake of the same session.
func (o arrivalOutcome) isAboutClient() bool {
	switch o {
	case takeUnknown, takeExpired, takeEnded, takeForbidden, takeAhead:
		return true
	}
	return false
}

const (
	takePatience = 5 * time.Second        // for the owner to be reached, in one handshake
	takeGiveUp   = 10 * time.Second       // since it could not be reached first, until its client gets a new session
	takePause    = 100 * time.Millisecond // between two attempts
	maxHops      = 16                     // owners that are asked one after the other
	maxFailing   = 4096
)

// errTakerGone is why a session ends that a worker has taken which was killed before it could say so.
var errTakerGone = errors.New("the worker that has taken the session, or may have, is not there any more")

// errTakerSilent is why it is not certain who owns a session: the directory has lost data, and the taker cannot be asked.
var errTakerSilent = errors.New("the directory has lost data, and the worker that may have taken the session cannot be reached")

// errOwnerGone is why a session ends of which it cannot be found out whether it is this worker's.
var errOwnerGone = errors.New("the worker that the session was taken from cannot be asked any more whether it has agreed")

// hasOwners reports whether there is a register of owners.
func (w *Worker) hasOwners() bool {
	return w.membership != nil && w.membership.HasOwners() && !w.ignoresOwners
}

// mayBeElsewhere reports whether another worker may have the session of a ticket that is not here.
func (w *Worker) mayBeElsewhere(ticket session.Ticket) bool {
	if w.cluster == nil {
		return false
	}
	_, isGone := w.departures.find(ticket.Session)
	return isGone || w.hasOwners() || ticket.Owner != w.cluster.address
}

// registerKey is what the register of owners calls a session. Whoever can read that must not learn IDs, which are the right to push.
func registerKey(id string) (key [16]byte) {
	sum := sha256.Sum256([]byte("wspush owner " + strings.ToLower(id)))
	copy(key[:], sum[:])
	return key
}

// claim says in the register that a session is this worker's after so many moves, and returns whose it is.
func (w *Worker) claim(ctx context.Context, id string, moves uint64) (membership.Owner, error) {
	owners, err := w.membership.Claim(ctx, []membership.Claim{{Session: registerKey(id), Moves: moves}})
	if err != nil {
		return membership.Owner{}, err
	}
	return owners[0], nil
}

// self is this worker, as others are told it.
func (w *Worker) self() takeover.Worker {
	return takeover.Worker{Address: w.cluster.address, Instance: w.cluster.instance}
}

// fetch gets the session here for which the client has a ticket, if another worker has it. Accept and User have been asked.
func (a *arrival) fetch(r *http.Request) error {
	w, ticket := a.handler.worker, a.offer.Ticket
	q := &take{
		by: w.self(), name: a.handler.name, path: a.life.path.String(), secret: ticket.Secret, user: a.life.User(), offset: a.offer.Offset,
	}
	timer := time.NewTimer(takePatience + time.Second)
	defer timer.Stop()
	outcome := takeLater
	var t *arriving
	for {
		var isOwn bool
		if t, isOwn = w.takeovers.begin(w, ticket.Session); t == nil {
			return ErrShutdown
		}
		if isOwn {
			go t.run(q, ticket.Owner, a.handler)
		}
		select {
		case <-t.done:
			if t.outcome.isAboutClient() && !isOwn {
				continue // about that of another handshake, which may have had a worse ticket
			}
			outcome = t.outcome
		case <-timer.C:
		case <-r.Context().Done():
		case <-w.cut.Done():
		}
		break
	}
	if outcome == takeDone && !t.conn.takesTicket(a.handler, q.path, ticket) { // it came for another handshake with a later ticket
		outcome = takeUnknown
	}
	a.why = ""
	switch outcome {
	case takeDone:
		a.resumes = t.conn
		if t.conn.User() != q.user {
			a.resumes = nil
			return errOtherUser
		}
	case takeUnknown:
		a.why = session.WhyUnknown
	case takeExpired:
		a.why = session.WhyExpired
	case takeUnreachable:
		a.why = session.WhyUnreachable
	case takeForbidden:
		return errOtherUser
	case takeLater:
		return errTakeLater
	case takeEnded:
		a.count().ended.Add(1)
		return dismissed{t.ended}
	case takeAhead:
		a.count().ahead.Add(1)
		return dismissed{aheadDismissal()}
	}
	return nil
}

// errTakeLater refuses a client whose session cannot be had at present.
var errTakeLater = refusedError{ErrUnavailable, "resume"}

// dismissed is the error that has a client told something.
type dismissed struct{ *dismissal }

func (dismissed) Error() string { return "dismissed" }

// begin begins to take a session, or joins whoever does. It returns nil if a Shutdown is over.
func (t *takeovers) begin(w *Worker, id string) (a *arriving, isNew bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.under[id]; a != nil {
		return a, false
	}
	if !w.roster.expect() {
		return nil, false
	}
	if t.under == nil {
		t.under = make(map[string]*arriving)
	}
	a = &arriving{worker: w, id: id, done: make(chan struct{}), outcome: takeLater}
	t.under[id] = a
	t.running.add(1)
	return a, true
}

// await has f called once it is certain whether a session is here that is being taken; it reports false if none is.
func (t *takeovers) await(id string, f func(*Conn)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.under[strings.ToLower(id)]
	if a == nil || a.isOver {
		return false
	}
	a.waiting = append(a.waiting, f)
	return true
}

// wait waits for a session that is being taken, and returns it if it has come.
func (t *takeovers) wait(ctx context.Context, id string) *Conn {
	t.mu.Lock()
	a := t.under[id]
	t.mu.Unlock()
	if a == nil {
		return nil
	}
	select {
	case <-a.done:
		return a.conn
	case <-ctx.Done():
		return nil
	}
}

// isUnder reports whether a session is being taken, or may be among those that are offered.
func (t *takeovers) isUnder(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.under[id] != nil || t.offers > 0
}

// isComing reports whether a session is being taken by its client's handshake, or was in an offer that has been fetched.
func (t *takeovers) isComing(id string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.under) > 0 && t.under[strings.ToLower(id)] != nil
}

// fetches counts the offers that are being fetched: it is not known yet which sessions they are of.
func (t *takeovers) fetches(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.offers += n
}

// end ends the taking. What has been asked meanwhile comes before what is asked from now on: nobody finds the connection before that.
func (a *arriving) end(outcome arrivalOutcome, c *Conn) {
	t := &a.worker.takeovers
	a.outcome, a.conn = outcome, c
	for {
		t.mu.Lock()
		waiting := a.waiting
		a.waiting = nil
		if len(waiting) == 0 {
			if c != nil {
				a.worker.adopt(c)
			}
			a.isOver = true
			delete(t.under, a.id)
			t.mu.Unlock()
			a.worker.roster.expected()
			break
		}
		t.mu.Unlock()
		for _, f := range waiting {
			f(c)
		}
	}
	close(a.done)
}

// failed notes that the owner of a session cannot be reached, and returns since when that is so.
func (t *takeovers) failed(id string) (since time.Time) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	since, ok := t.failing[id]
	if !ok || now.Sub(since) > time.Minute { // long ago, it was something else
		since = now
		if t.failing == nil {
			t.failing = make(map[string]time.Time)
		}
		if len(t.failing) >= maxFailing {
			for other, at := range t.failing {
				if now.Sub(at) > time.Minute || len(t.failing) >= maxFailing {
					delete(t.failing, other)
				}
			}
		}
		t.failing[id] = now
	}
	return since
}

func (t *takeovers) reached(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.failing, id)
}

// run takes the session, and ends.
func (a *arriving) run(q *take, owner string, h *Handler) {
	w := a.worker
	defer w.takeovers.running.add(-1)
	if old, ok := w.Conn(a.id); ok && w.hasOwners() {
		// What is left of it from before has to find out where it is first: its taker could not say so.
		old.session.thawNow()
		a.end(takeLater, nil)
		return
	}
	outcome, c := a.take(q, owner, h)
	switch outcome {
	case takeUnreachable, takeLater:
	default:
		w.takeovers.reached(a.id)
	}
	if outcome == takeUnreachable && time.Since(w.takeovers.failed(a.id)) < takeGiveUp {
		outcome = takeLater
	}
	if outcome == takeLater || outcome == takeUnreachable {
		w.shared.log.Debug("wspush: a session could not be taken", "conn", a.id[:8], "from", owner, "error", a.failure)
	}
	w.shared.count.takeover(outcome)
	a.end(outcome, c)
}

// take follows the session from owner to owner until one gives it, or is known not to.
func (a *arriving) take(q *take, address string, h *Handler) (arrivalOutcome, *Conn) {
	w := a.worker
	ctx, cancel := context.WithTimeout(w.cut, takePatience)
	defer cancel()
	from := takeover.Worker{Address: address}
	if d, ok := w.departures.find(a.id); ok {
		from = d.to
	}
	asked := takeover.Worker{} // who does not have it
	for hops := 0; hops < maxHops; {
		if w.hasOwners() {
			owner, err := w.membership.Owners(ctx, registerKey(a.id))
			switch {
			case err != nil && a.failure != nil && ctx.Err() != nil: // the time was over while the owner could not be reached
				return takeUnreachable, nil
			case err != nil:
				a.failure = err
				return takeLater, nil // no take-over begins while the directory is down
			case owner.Mine: // it was here, and has ended; or the register has lost where it has gone
			case owner.Address == asked.Address && from == asked: // the register has lost the same
				from = takeover.Worker{Address: address}
			case owner.Address != "" && owner.Address != asked.Address && owner.Address != from.Address:
				from = takeover.Worker{Address: owner.Address}
			}
		}
		if from.Address == "" || from.Address == w.cluster.address || from == asked {
			return takeUnknown, nil
		}
		reply, err := a.ask(ctx, from, askTake, q.path, q.query())
		if err != nil {
			a.failure = err
			if time.Since(w.takeovers.failed(a.id)) >= takeGiveUp || !pause(ctx, takePause) {
				return takeUnreachable, nil
			}
			continue
		}
		a.failure = nil
		switch reply.Status {
		case repliesHere:
			outcome, c, next := a.commit(ctx, from, reply, h)
			if next == nil {
				return outcome, c
			}
			from = *next
			hops++
		case repliesMoved:
			hops++
			next, err := readReplyWorker(reply)
			if err != nil || next.Address == from.Address {
				return takeUnknown, nil
			}
			asked, from = from, next
		case repliesUser:
			return takeForbidden, nil
		case repliesAhead:
			return takeAhead, nil
		case repliesEnded:
			return a.hasEnded(reply), nil
		case repliesUnknown:
			if !w.hasOwners() {
				return takeUnknown, nil
			}
			asked = from
			hops++
		default:
			if !pause(ctx, takePause) {
				return takeLater, nil
			}
		}
	}
	return takeLater, nil
}

// hasEnded is for a session of which there is only a memory left.
func (a *arriving) hasEnded(reply *link.Reply) arrivalOutcome {
	code, err := strconv.Atoi(reply.Header.Get(headerCode))
	if err != nil {
		return takeExpired
	}
	a.ended = &dismissal{code: code, reason: reply.Header.Get(headerReason)}
	return takeEnded
}

// ask asks another worker about the session.
func (a *arriving) ask(ctx context.Context, of takeover.Worker, method, path, query string) (*link.Reply, error) {
	return a.worker.ask(ctx, &link.Request{
		Peer: link.Peer{Address: of.Address, Instance: of.Instance}, ID: uuid.MustParse(a.id), Method: method, Path: path, AnyPath: true, Query: query,
	})
}

func readReplyWorker(reply *link.Reply) (takeover.Worker, error) {
	return readWorker(url.Values{"address": reply.Header[headerAddress], "instance": reply.Header[headerInstance]})
}

// pause waits, and reports false if ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// commit makes the copy in a reply this worker's session. Next is who has the session if somebody else has got it.
func (a *arriving) commit(ctx context.Context, from takeover.Worker, reply *link.Reply, h *Handler) (outcome arrivalOutcome, c *Conn, next *takeover.Worker) {
	w := a.worker
	number, err := strconv.ParseUint(reply.Header.Get(headerNumber), 10, 64)
	if err != nil {
		return takeLater, nil, nil
	}
	file, err := a.whole(ctx, from, number, reply)
	if err != nil || len(file.Sessions) != 1 || file.Sessions[0].ID != a.id || checkSessions(file) != nil {
		w.shared.log.Warn("wspush: a session cannot be taken: its copy is not whole", "conn", a.id[:8], "from", from.Address, "error", err)
		return takeLater, nil, nil
	}
	s := &file.Sessions[0]
	if w.cut.Err() != nil { // nothing has been claimed
		return takeLater, nil, nil
	}
	c = w.makeSession(s, h)
	outcome, next = a.decide(from, number, s, c)
	switch outcome {
	case takeDone:
		c.session.arrive(from, s, holdings(file))
		w.tellEarlier(c, s)
		return takeDone, c, nil
	case takeUnreachable: // it may be ours, and if so nobody else has what is in it
		c.session.arrive(from, s, holdings(file))
		w.adopt(c)
		c.end(&CloseError{Cause: CauseLost, Code: codeAbnormal, Err: errOwnerGone})
		return takeUnreachable, nil, nil
	}
	return outcome, nil, next
}

// decide finds out whether the session is this worker's now. It takes as long as that takes, or until it is hopeless: the only copy may be here.
func (a *arriving) decide(from takeover.Worker, number uint64, s *sessionfile.Session, c *Conn) (arrivalOutcome, *takeover.Worker) {
	w := a.worker
	t := takeover.Taker{Number: number, Moves: s.Moves, HasRegister: w.hasOwners()}
	for t.Step() == takeover.Claim {
		owner, err := w.claim(w.cut, a.id, t.Claim())
		switch {
		case err == nil:
			t.Claimed(owner.Mine, owner.Moves, takeover.Worker{Address: owner.Address})
		case !pause(w.cut, takePause):
			t.Unanswered()
		}
	}
	limit := takeGiveUp
	if t.HasWon() {
		limit = time.Second // it is decided, and the owner will learn it in any case
	}
	q := w.takenBy(c, t.Claim())
	q.number, q.claimed = number, t.HasWon()
	ctx, cancel := context.WithTimeout(w.cut, limit)
	defer cancel()
	for t.Step() == takeover.Tell {
		reply, err := a.ask(ctx, from, askTaken, s.Path, q.query())
		switch {
		case err == nil && isVerdict(reply):
			t.Told(verdictOf(reply))
		case !pause(ctx, takePause):
			t.Unanswered()
		}
	}
	if t.HasWon() && t.Step() != takeover.Serve {
		w.membership.Disclaim(registerKey(a.id))
	}
	switch t.Step() {
	case takeover.Serve:
		return takeDone, nil
	case takeover.Lose:
		return takeUnreachable, nil
	case takeover.Follow:
		to := t.To()
		return takeLater, &to
	}
	return takeLater, nil
}

// isVerdict reports whether the owner knows what to say. Anything else says nothing about whether it has agreed.
func isVerdict(reply *link.Reply) bool {
	switch reply.Status {
	case repliesHere, repliesMoved, repliesRefused, repliesUnknown:
		return true
	}
	return false
}

// verdictOf returns what the owner of a session says in reply to askTaken.
func verdictOf(reply *link.Reply) (v takeover.Verdict, to takeover.Worker) {
	switch reply.Status {
	case repliesHere:
		return takeover.Accepted, to
	case repliesUnknown:
		return takeover.Gone, to
	case repliesMoved:
		if to, err := readReplyWorker(reply); err == nil {
			return takeover.Moved, to
		}
	}
	return takeover.Refused, to
}

// takenBy says that this worker has a session, and by which addresses publishers find it.
func (w *Worker) takenBy(c *Conn, moves uint64) *taken {
	return &taken{by: w.self(), moves: moves, addresses: strings.Join(c.Addresses(), ","), sealed: c.SealedAddress()}
}

// whole gets what is missing of a copy.
func (a *arriving) whole(ctx context.Context, from takeover.Worker, number uint64, reply *link.Reply) (*sessionfile.File, error) {
	size, err := strconv.Atoi(reply.Header.Get(headerSize))
	if err != nil || size < len(reply.Body) {
		return nil, errInternal
	}
	b := reply.Body
	for len(b) < size {
		query := url.Values{"number": {strconv.FormatUint(number, 10)}, "from": {strconv.Itoa(len(b))}}
		piece, err := a.ask(ctx, from, askPiece, "", query.Encode())
		if err != nil {
			return nil, err
		}
		if piece.Status != repliesHere || len(piece.Body) == 0 || len(piece.Body) > size-len(b) {
			return nil, errInternal
		}
		b = append(b, piece.Body...)
	}
	return sessionfile.Decode(b)
}

// arrive makes the session what its copy says, which has come from another worker.
func (k *resumable) arrive(from takeover.Worker, s *sessionfile.Session, held []*socket.Holding) {
	c := k.conn
	waiting := c.load(s, held)
	earlier := append(s.Earlier, sessionfile.Owner{Address: from.Address, Instance: from.Instance})
	if n := len(earlier); n > maxEarlier {
		earlier = earlier[n-maxEarlier:]
	}
	k.moving = &moving{owner: takeover.Owner{Moves: s.Moves + 1}, earlier: earlier, waiting: waiting, released: s.Released}
	c.shared.clock.set(&settling{session: k}, settleFor)
}

// settling is the time in which a session that has come may get what the worker where it comes from has got as well.
type settling struct {
	session *resumable
	alarm   alarm // guarded by the clock
}

// settleFor is longer than anything is under way between workers that was meant for the former one.
const settleFor = 30 * time.Second

func (s *settling) bell() *alarm { return &s.alarm }

func (s *settling) fire() {
	c := s.session.conn
	c.outbox.ForgetMarks()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.session.moving.waiting = nil
}

// adopt makes a session that has arrived one of the worker's connections.
func (w *Worker) adopt(c *Conn) {
	n := &w.shared.count
	n.sessions.Add(1)
	n.suspended.Add(1)
	if !w.roster.arrive(c) { // nobody else has what is in it
		c.end(w.shutdownError())
		return
	}
	c.register()
	c.setOpen()
	w.departures.forget(c.id)
	c.mu.Lock()
	defer c.mu.Unlock()
	w.shared.clock.set(c.session, c.session.remainingLocked())
}

// tellEarlier tells the workers that had the session before the last one where it is now.
func (w *Worker) tellEarlier(c *Conn, s *sessionfile.Session) {
	if len(s.Earlier) < 1 {
		return
	}
	q := w.takenBy(c, s.Moves+1)
	w.takeovers.running.add(1)
	go func() {
		defer w.takeovers.running.add(-1)
		ctx, cancel := context.WithTimeout(w.cut, takePatience)
		defer cancel()
		for _, to := range s.Earlier {
			if w.hasOwners() && !w.membership.Lives(to.Address) {
				continue // who looks for the session there finds it by the register
			}
			if to.Address == w.cluster.address && to.Instance == w.cluster.instance {
				continue
			}
			_, _ = w.ask(ctx, &link.Request{ // it may be gone
				Peer: link.Peer{Address: to.Address, Instance: to.Instance}, ID: uuid.MustParse(c.id), Method: askMoved, AnyPath: true, Query: q.query(),
			})
		}
	}()
}
