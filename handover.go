package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/takeover"
)

// handover is how a worker of a Cluster that is shut down leaves its sessions to the others.
//
// Its clients are closed, and come back to other workers, which take their sessions. What has not been taken when most of the time is over is
// handed to other workers, if there is a register of owners by which its client finds it there.
type handover struct {
	isOn atomic.Bool // Shutdown has begun, and there are other workers

	mu     sync.Mutex        // guards what follows
	offers map[uint64][]byte // what is offered to others at the moment, by number
	last   uint64
}

// add keeps what is offered, and returns its number.
func (o *handover) add(b []byte) (number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last++
	if o.offers == nil {
		o.offers = make(map[uint64][]byte)
	}
	o.offers[o.last] = b
	return o.last
}

func (o *handover) remove(number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.offers, number)
}

// offer returns what is offered by a number; nil: nothing.
func (o *handover) offer(number uint64) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.offers[number]
}

const (
	// handoverWait is how long clients have to come back before their sessions are handed over, if Shutdown has no deadline.
	handoverWait = 10 * time.Second
	// A batch has at most so many sessions, and about so many bytes.
	batchSessions = 128
	batchBytes    = 1 << 20
	// maxVain is how many rounds in which nobody takes anything end the attempt to hand sessions over.
	maxVain = 3
)

// handoverAt returns when what has not been taken is handed over; zero: never.
func (w *Worker) handoverAt(ctx context.Context, begin time.Time) time.Time {
	deadline, ok := ctx.Deadline()
	switch {
	case ok:
		return begin.Add(deadline.Sub(begin) * 2 / 3)
	case w.hasOwners():
		return time.Now().Add(handoverWait)
	}
	return time.Time{}
}

// beginHandover decides whether sessions outlive the worker, when its Shutdown begins.
func (w *Worker) beginHandover(ctx context.Context) {
	if w.cluster == nil || w.shared.leaving != nil || w.handover.isOn.Load() {
		return
	}
	if w.membership != nil {
		others, err := w.membership.Others(ctx)
		if err == nil && len(others) == 0 {
			return
		}
	}
	w.handover.isOn.Store(true)
	w.shared.isHanding.Store(true)
}

// leaveSessions waits until the sessions have been taken, and hands over what has not. What is left then ends.
func (w *Worker) leaveSessions(ctx context.Context, begin time.Time) {
	if !w.handover.isOn.Load() {
		return
	}
	w.awaitTakers(ctx, w.handoverAt(ctx, begin))
	if w.hasOwners() && ctx.Err() == nil && !w.roster.isEmpty() {
		w.handOver(ctx)
	}
	left, messages := 0, 0
	for _, c := range w.roster.all() {
		if n, _ := c.outbox.Buffered(); c.session.isSession() && c.end(w.shutdownError()) {
			left++
			messages += n
		}
	}
	if left > 0 {
		w.shared.log.Warn("wspush: sessions end with the worker, which nobody has taken; what their clients have not confirmed is left to OnDisconnect",
			"sessions", left, "messages", messages)
	}
}

// awaitTakers waits until a time, or until there is no session left.
func (w *Worker) awaitTakers(ctx context.Context, until time.Time) {
	var over <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-w.roster.empty:
	case <-over:
	case <-ctx.Done():
	}
}

// handOver hands sessions to other workers, until none is left or nobody takes any.
func (w *Worker) handOver(ctx context.Context) {
	values := savingValues{urgent: ctx, log: w.shared.log}
	defer values.end()
	handed, vain := 0, 0
	for next := 0; ctx.Err() == nil; {
		sessions := w.restingSessions()
		others, err := w.membership.Others(ctx)
		if err != nil || len(others) == 0 || len(sessions) == 0 {
			break
		}
		given, refused := 0, 0
		for len(sessions) > 0 && refused < len(others) && ctx.Err() == nil {
			var n int
			n, sessions = w.offerSome(ctx, others[next%len(others)], sessions, &values)
			next++
			given += n
			if n == 0 {
				refused++
			}
		}
		if handed += given; given > 0 {
			vain = 0
		} else if vain++; vain == maxVain {
			break
		}
		w.awaitThawed(ctx) // those of which it was not certain who has them
	}
	w.awaitThawed(ctx)
	if handed > 0 {
		w.shared.log.Info("wspush: sessions handed over", "sessions", handed)
	}
}

// restingSessions returns the sessions that are here, suspended, and that nobody takes.
func (w *Worker) restingSessions() (sessions []*resumable) {
	for _, c := range w.roster.all() {
		c.mu.Lock()
		if k := c.session; k.isSession() && k.isSuspendedLocked() && !k.isFrozenLocked() {
			sessions = append(sessions, k)
		}
		c.mu.Unlock()
	}
	return sessions
}

// awaitThawed waits until no session is frozen any more, whoever has it.
func (w *Worker) awaitThawed(ctx context.Context) {
	for w.hasFrozen() && pause(ctx, takePause) {
	}
}

func (w *Worker) hasFrozen() bool {
	for _, c := range w.roster.all() {
		c.mu.Lock()
		isFrozen := c.session.isSession() && c.session.isFrozenLocked()
		c.mu.Unlock()
		if isFrozen {
			return true
		}
	}
	return false
}

// offered is a session that is offered to another worker.
type offered struct {
	session *resumable
	number  uint64
	moves   uint64
}

// An acceptedSession is one that a worker has taken of those that it was offered.
type acceptedSession struct {
	ID        string
	Addresses string
	Sealed    string `json:",omitempty"`
}

// offerSome offers some of the sessions to another worker, and returns how many it has taken, and the rest.
func (w *Worker) offerSome(ctx context.Context, address string, sessions []*resumable, values *savingValues) (n int, rest []*resumable) {
	to := takeover.Worker{Address: address}
	var copies copying
	file := new(sessionfile.File)
	offers := make(map[string]offered)
	// First the Values: the application takes its time, and what is frozen thaws.
	var batch []*resumable
	var kept []savedValue
	for size := 0; len(sessions) > 0 && len(batch) < batchSessions && size < batchBytes; sessions = sessions[1:] {
		k := sessions[0]
		data, has := values.of(k)
		_, bytes := k.conn.outbox.Buffered()
		size += bytes
		batch, kept = append(batch, k), append(kept, savedValue{data, has})
	}
	for i, k := range batch {
		f, err := k.freeze(to, &take{isOffered: true})
		if err != nil {
			continue // it has ended, or has been taken
		}
		s := copies.session(f.taken)
		s.Value, s.HasValue = kept[i].data, kept[i].has
		s.Moves = f.moves
		file.Sessions = append(file.Sessions, s)
		offers[s.ID] = offered{k, f.number, s.Moves + 1}
	}
	if len(offers) == 0 {
		return 0, sessions
	}
	file.Shared = copies.shared
	by, accepted, err := w.offer(ctx, to, file)
	if err != nil {
		w.shared.log.Warn("wspush: sessions could not be handed over", "to", address, "sessions", len(offers), "error", err)
	}
	for _, s := range accepted {
		o, ok := offers[s.ID]
		if !ok {
			continue
		}
		q := &taken{by: by, number: o.number, claimed: true, moves: o.moves, addresses: s.Addresses, sealed: s.Sealed}
		if o.session.departed(by, q) == takeover.Accepted {
			n++
		}
		delete(offers, s.ID)
	}
	for _, o := range offers { // who has them the register knows
		o.session.thawNow()
	}
	return n, sessions
}

// thawNow has it found out at once who owns a session that is frozen.
func (k *resumable) thawNow() {
	c := k.conn
	c.mu.Lock()
	then := func() {}
	if k.isFrozenLocked() {
		k.moving.until = k.now()
		then = k.thawIfDueLocked()
	}
	c.mu.Unlock()
	then()
}

// offer offers the sessions in a file to another worker, and returns which of them it has.
func (w *Worker) offer(ctx context.Context, to takeover.Worker, file *sessionfile.File) (by takeover.Worker, accepted []acceptedSession, err error) {
	b, err := sessionfile.Encode(file)
	if err != nil {
		return by, nil, err
	}
	number := w.handover.add(b)
	defer w.handover.remove(number)
	q := workerQuery(w.self())
	q.Set("number", strconv.FormatUint(number, 10))
	q.Set("size", strconv.Itoa(len(b)))
	reply, err := w.ask(ctx, &link.Request{Peer: link.Peer{Address: to.Address}, Method: askOffer, AnyPath: true, Query: q.Encode()})
	if err != nil {
		return by, nil, err
	}
	switch reply.Status {
	case http.StatusOK:
	case repliesLater:
		return by, nil, errNotTaken
	default:
		return by, nil, errInternal
	}
	if by, err = readReplyWorker(reply); err != nil {
		return by, nil, err
	}
	return by, accepted, json.Unmarshal(reply.Body, &accepted)
}

// errNotTaken is why a worker is not handed sessions.
var errNotTaken = errors.New("the worker takes none now")
