package wspush

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/takeover"
)

// errTakerGone is why a session ends that a worker has taken which was killed before it could say so.
var errTakerGone = errors.New("the worker that has taken the session, or may have, is not there any more")

// errTakerSilent is why it is not certain who owns a session: the directory has lost data, and the taker cannot be asked.
var errTakerSilent = errors.New("the directory has lost data, and the worker that may have taken the session cannot be reached")

// reclaim finds out who owns a session whose taker is not heard of, and goes on with it if it is this worker. The taker itself knows best; only if it
// cannot be asked, the register alone decides.
func (w *Worker) reclaim(k *resumable) {
	defer w.takeovers.running.add(-1)
	c := k.conn
	c.mu.Lock()
	asked, known := k.moving.owner.Taker(), k.moving.losses
	c.mu.Unlock()
	has, owner, err := takerBusy, membership.Owner{}, errTakerSilent
	for range maxHops {
		c.mu.Lock()
		moves := k.moving.owner.Claim()
		c.mu.Unlock()
		if has = w.askWhether(c.id, asked, moves); has == takerHas || has == takerBusy {
			break
		}
		owner, err = w.claim(w.cut, c.id, moves)
		if err != nil || owner.Mine || owner.Address == "" {
			break
		}
		switch err = errTakerSilent; {
		case owner.Address != asked.Address: // which may have the session, or may have given it up
			asked = takeover.Worker{Address: owner.Address}
			continue
		case has == takerHasNot: // it has claimed the session, and given it up
			c.mu.Lock()
			k.moving.owner.Moves = max(k.moving.owner.Moves, owner.Moves)
			c.mu.Unlock()
			continue
		}
		break
	}
	if err == nil && owner.Mine && has == takerSilent {
		// The taker's claim may have won as well, if the register has lost it since.
		if losses, failed := w.membership.FreshLosses(w.cut); failed != nil || losses != known {
			err = errTakerSilent
		}
	}
	c.mu.Lock()
	then := func() {}
	m := k.moving
	m.thawing = false
	switch {
	case c.reason != nil || !m.owner.IsFrozen():
	case has == takerHas:
		if owner.Address == asked.Address { // the register says so, too
			m.owner.Claimed(false, owner.Moves, asked)
		} else {
			m.owner.Taken(asked, m.owner.Latest(), false, 0)
		}
		if _, hasMoved := m.owner.To(); hasMoved {
			then = k.departLocked(asked, "", "")
		}
	case err != nil && k.remainingLocked() == 0:
		then = k.giveUpLocked()
	case err != nil:
		m.until = k.now() + thawAfter
		c.shared.clock.set(k, thawAfter)
	default:
		m.owner.Claimed(owner.Mine, owner.Moves, takeover.Worker{Address: owner.Address})
		switch _, hasMoved := m.owner.To(); {
		case hasMoved: // it was killed before it could say that it has the session
			then = k.giveUpLocked()
		case m.owner.IsHere():
			then = k.thawLocked()
		}
	}
	c.mu.Unlock()
	then()
}

// giveUpLocked ends a session that a worker may have taken which is not heard of any more.
func (k *resumable) giveUpLocked() (then func()) {
	m := k.moving
	m.settleLocked()
	m.owner.Thaw()
	k.conn.outbox.Thaw()
	return k.conn.endLocked(&CloseError{Cause: CauseLost, Code: codeAbnormal, Err: errTakerGone}).carryOut
}

// takerSays is what a taker answers that is asked whether it has a session.
type takerSays uint8

const (
	takerSilent takerSays = iota // it cannot be reached
	takerBusy                    // it does not know yet
	takerHas
	takerHasNot // and it will not, by a take until now
)

// askWhether asks a taker whether it has a session, after at least so many moves.
func (w *Worker) askWhether(id string, taker takeover.Worker, moves uint64) takerSays {
	ctx, cancel := context.WithTimeout(w.cut, time.Second)
	defer cancel()
	query := workerQuery(w.self())
	query.Set("moves", strconv.FormatUint(moves, 10))
	reply, err := w.ask(ctx, &link.Request{
		Peer: link.Peer{Address: taker.Address, Instance: taker.Instance}, ID: uuid.MustParse(id), Method: askHas, AnyPath: true, Query: query.Encode(),
	})
	switch {
	case err != nil:
		return takerSilent
	case reply.Status == repliesHere:
		return takerHas
	case reply.Status == repliesUnknown:
		return takerHasNot
	}
	return takerBusy
}

// tellWhether answers the owner of a session that this worker has taken, or has wanted to.
func (w *Worker) tellWhether(ctx context.Context, r *link.Request) response {
	v, err := url.ParseQuery(r.Query)
	by, wrong := readWorker(v)
	moves, wrong2 := strconv.ParseUint(v.Get("moves"), 10, 64)
	if errors.Join(err, wrong, wrong2) != nil {
		return replyWith(http.StatusBadRequest)
	}
	id := uuid.UUID(r.ID).String()
	w.takeovers.wait(ctx, id)
	if w.takeovers.isUnder(id) {
		return replyWith(repliesLater)
	}
	if c, ok := w.Conn(id); ok {
		if c.moves() >= moves {
			return replyWith(repliesHere)
		}
		return replyWith(repliesUnknown) // it is what was here before
	}
	if d, ok := w.departures.find(id); ok && d.to != by {
		return replyWith(repliesHere) // it had it, and another worker has it now
	}
	return replyWith(repliesUnknown)
}

// moves returns how often the connection, if it is a session, has moved until it came here.
func (c *Conn) moves() uint64 {
	if !c.session.isSession() {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session.moving == nil {
		return 0
	}
	return c.session.moving.owner.Moves
}
