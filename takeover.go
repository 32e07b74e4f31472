package wspush

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/takeover"
)

const (
	takePatience = 5 * time.Second        // for the owner to be reached, in one handshake
	takeGiveUp   = 10 * time.Second       // since it could not be reached first, until its client gets a new session
	takePause    = 100 * time.Millisecond // between two attempts
	maxHops      = 16                     // owners that are asked one after the other
	maxFailing   = 4096
)

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
	a.commits()
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
	a.fails()
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
	b, err := a.worker.readPieces(ctx, from, uuid.MustParse(a.id), number, reply.Body, size)
	if err != nil {
		return nil, err
	}
	return sessionfile.Decode(b)
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
