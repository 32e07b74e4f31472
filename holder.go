package wspush

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// holder serves what other workers ask about this worker's connections: it is the link.Handler of a worker.
type holder struct {
	worker    *Worker
	gathers   sync.Pool  // of *heldGather
	pushes    sync.Pool  // of *heldPush
	telling   tally      // the goroutines of tell and of latePush
	mu        sync.Mutex // guards what follows; it may be locked while a socket's lock is held
	failed    []*heldPush
	isTelling bool // tell runs
}

// Push starts the pushes of one batch, in their order. Those to one connection share a write.
func (h *holder) Push(batch []*link.Incoming) {
	g, _ := h.gathers.Get().(*heldGather)
	if g == nil {
		g = &heldGather{index: make(map[*Conn]int)}
	}
	for _, in := range batch {
		h.gather(g, in)
	}
	for i := range g.bundles {
		b := &g.bundles[i]
		b.conn.outbox.StartAll(b.messages)
	}
	h.release(g)
}

// heldGather is what one batch has for each connection.
type heldGather struct {
	pushes  []*heldPush // as they came
	bundles []heldBundle
	index   map[*Conn]int // in bundles
}

type heldBundle struct {
	conn     *Conn
	messages []*socket.Message
}

func (g *heldGather) add(p *heldPush) {
	g.pushes = append(g.pushes, p)
	i, ok := g.index[p.conn]
	if !ok {
		i = len(g.bundles)
		g.index[p.conn] = i
		if i < cap(g.bundles) {
			g.bundles = g.bundles[:i+1] // whose messages are room for these
		} else {
			g.bundles = append(g.bundles, heldBundle{})
		}
		g.bundles[i].conn = p.conn
	}
	g.bundles[i].messages = append(g.bundles[i].messages, &p.message)
}

// gather prepares the push to each target, or refuses it.
func (h *holder) gather(g *heldGather, in *link.Incoming) {
	w := h.worker
	if in.To != "" {
		h.gatherMembers(g, in)
		return
	}
	typ := Text
	if in.Binary {
		typ = Binary
	}
	invalid := wire.CheckMessage(typ, in.Data, w.shared.maxPushBytes)
	at := address.At(in.Path)
	var payload *socket.Payload // nil if it is for one connection
	if len(in.More) > 0 && invalid == nil {
		payload = w.sockets.NewPayload(in.Binary, in.Data)
		payload.Keep()
	}
	for target := range 1 + len(in.More) {
		c, err := h.find(in.Instance, in.Target(target))
		for err == errArriving && !h.awaitArrival(in, target) { // it has just arrived, or will not
			c, err = h.find(in.Instance, in.Target(target))
		}
		switch {
		case err == errArriving, err != nil && h.elsewhere(in, target):
			continue
		case err == errEarlierInstance:
			late := h.newLatePush(in, target)
			onCancel(in, late.abandon)
			late.search()
			continue
		case err == nil && !in.AnyPath && !at.Lives(c.path):
			in.Answer(target, link.Answer{Code: outcomeOtherPath})
			continue
		case err == nil && in.Refusal != 0:
			if in.Refusal == outcomeTooLarge {
				w.shared.count.push(ErrTooLarge)
			}
			in.Answer(target, link.Answer{Code: in.Refusal})
			continue
		case err == nil && invalid != nil && !errors.Is(invalid, ErrTooLarge) && !c.outbox.Admits(len(in.Data)):
			err = ErrBusy // which comes before what only the message itself tells
		case err == nil:
			err = invalid
		}
		if err != nil {
			w.shared.count.push(err)
			in.Answer(target, answerOf(err))
			continue
		}
		if w.departures.hasLately.Load() {
			if d, ok := c.departure(); ok {
				d.tell(in.From())
			}
		}
		g.add(h.newPush(in, target, c, payload, in.Data))
	}
	in.Data = nil // the messages have it, until they do not need it
}

// find finds the connection that another worker names. The error is errEarlierInstance, ErrShutdown or ErrGone.
func (h *holder) find(instance uint64, id [16]byte) (*Conn, error) {
	w := h.worker
	name := uuid.UUID(id).String()
	if c, ok := w.Conn(name); ok { // of any instance: a session may have come from another worker
		return c, nil
	}
	if w.takeovers.isComing(name) {
		return nil, errArriving
	}
	if c := w.departures.conn(name); c != nil { // what waits here for its new worker comes first
		return c, nil
	}
	if instance != w.cluster.instance && instance != 0 {
		if w.roster.isEmpty() {
			return nil, ErrShutdown
		}
		return nil, errEarlierInstance
	}
	if c, ok := w.Conn(name); ok { // it has come back meanwhile
		return c, nil
	}
	return nil, w.gone()
}

// release makes what has no outcome yet pending, and keeps the rest for the next batch.
func (h *holder) release(g *heldGather) {
	for i := 0; i < len(g.pushes); {
		in, from := g.pushes[i].in, i
		var pending []*heldPush
		for ; i < len(g.pushes) && g.pushes[i].in == in; i++ {
			if p := g.pushes[i]; p.makePending() {
				pending = append(pending, p)
			}
		}
		if len(pending) > 0 {
			chain := in.Cancel
			in.Cancel = func() {
				if chain != nil {
					chain()
				}
				for _, p := range pending {
					p.abandon(context.Canceled)
				}
			}
		}
		for _, p := range g.pushes[from:i] {
			h.recycle(p)
		}
	}
	for i := range g.bundles {
		b := &g.bundles[i]
		clear(b.messages)
		*b = heldBundle{messages: b.messages[:0]}
	}
	clear(g.pushes)
	clear(g.index)
	g.pushes, g.bundles = g.pushes[:0], g.bundles[:0]
	h.gathers.Put(g)
}

// heldPush is the push of another worker to one connection of this one.
//
// It is started with the rest of its batch, and settled with its outcome, perhaps at once. One that is not settled then is
// pending: it may be abandoned, for a timeout or because nobody wants it any more, which settles it, too.
type heldPush struct {
	holder  *holder
	in      *link.Incoming
	target  int
	members *heldMembers // which it is a part of; nil: none
	conn    *Conn
	message socket.Message
	arrived *socket.Message // in place of message: it has come with its session
	settle  func(error)     // settled

	mu        sync.Mutex // guards what follows; it may be locked while a socket's lock is held
	isSettled bool
	err       error
	isPending bool        // it was not settled when its batch had been started, so it never goes back to the pool
	timer     *time.Timer // nil if there is none
}

// newPush makes the push to one connection. payload is nil if the message is for that one alone.
func (h *holder) newPush(in *link.Incoming, target int, c *Conn, payload *socket.Payload, data []byte) *heldPush {
	p, _ := h.pushes.Get().(*heldPush)
	if p == nil {
		p = &heldPush{holder: h}
		p.settle = p.settled
	}
	p.in, p.target, p.conn = in, target, c
	if payload != nil {
		p.message.PrepareShared(payload, p.settle)
	} else {
		p.message.Prepare(in.Binary, data, p.settle)
		p.message.Keep()
	}
	p.prepare()
	return p
}

// prepare tells the message what is asked of it.
func (p *heldPush) prepare() {
	if p.in.Confirm {
		p.message.Confirm()
	}
	if p.in.Hasty || p.in.Patient {
		p.message.IfAway(p.in.Patient)
	}
	p.message.SetMark(p.in.Mark)
}

// sent is the message.
func (p *heldPush) sent() *socket.Message {
	if p.arrived != nil {
		return p.arrived
	}
	return &p.message
}

// answer says what the push has come to: roundTrip is that of a confirmed one, and of a buffered one how long its session waits. A socket's lock may be held.
func (p *heldPush) answer(code uint8, roundTrip time.Duration) {
	if p.members != nil {
		p.members.answer(p.conn, code, roundTrip)
		return
	}
	p.in.Answer(p.target, link.Answer{Code: code, RoundTrip: roundTrip})
}

// settled answers a push. It may be called while the socket's lock is held.
func (p *heldPush) settled(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isSettled { // it was abandoned for two reasons
		return
	}
	p.isSettled, p.err = true, err
	if p.timer != nil {
		p.timer.Stop()
	}
	if err != nil {
		p.holder.tellSoon(p)
		return
	}
	p.conn.shared.count.pushAs(p.in.Confirm, nil)
	p.answer(outcomeDone, p.sent().RoundTrip())
}

// makePending reports whether the push has no outcome yet, and if so bounds its wait.
func (p *heldPush) makePending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isSettled {
		return false
	}
	p.isPending = true
	q := pushQuery{confirm: p.in.Confirm, timeout: p.in.Timeout}
	if timeout := p.holder.worker.pushTimeout(q); timeout > 0 {
		p.timer = time.AfterFunc(timeout, func() { p.abandon(context.DeadlineExceeded) })
	}
	return true
}

// recycle keeps a push that was written at once.
func (h *holder) recycle(p *heldPush) {
	p.mu.Lock()
	isOver := p.isSettled && p.err == nil && !p.isPending
	p.mu.Unlock()
	if isOver {
		p.in, p.members, p.conn, p.message, p.isSettled = nil, nil, nil, socket.Message{}, false
		h.pushes.Put(p)
	}
}

// abandon gives up a pending push.
func (p *heldPush) abandon(cause error) {
	if err, decided := p.conn.outbox.Abandon(p.sent(), cause); decided {
		p.settled(err)
	}
}

// tellSoon has a failed push answered on a goroutine of its own: what became of it cannot be found out under the socket's lock.
func (h *holder) tellSoon(p *heldPush) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failed = append(h.failed, p)
	if !h.isTelling {
		h.isTelling = true
		h.telling.add(1)
		go h.tell()
	}
}

// tell answers the pushes that have failed, until there are no more.
func (h *holder) tell() {
	defer h.telling.add(-1)
	for {
		h.mu.Lock()
		failed := h.failed
		h.failed = nil
		h.isTelling = len(failed) > 0
		h.mu.Unlock()
		if len(failed) == 0 {
			return
		}
		for _, p := range failed {
			err := p.conn.outcome(p.err)
			p.conn.shared.count.pushAs(p.in.Confirm, err)
			d, _ := bufferedIn(err)
			p.answer(outcomeOf(err), d)
		}
	}
}

// Ask answers a request about a connection, or about the members of a user or a group.
func (h *holder) Ask(ctx context.Context, r *link.Request) *link.Reply {
	res := h.ask(ctx, r)
	return &link.Reply{Status: res.status, Header: res.header, Body: res.body}
}

func (h *holder) ask(ctx context.Context, r *link.Request) response {
	w := h.worker
	if r.Method == askMembers || r.Method == askClose {
		return h.aboutMembers(r)
	}
	switch r.Method {
	case askTake, askPiece, askTaken, askMoved, askHas, askOffer:
		return h.aboutSession(ctx, r)
	}
	id := uuid.UUID(r.ID).String()
	c, err := h.find(r.Peer.Instance, r.ID)
	if err == nil && c.elsewhere() != nil {
		err = ErrGone
	}
	if err != nil {
		if found := w.arrived(ctx, id); found != nil {
			c, err = found, nil
		} else if d, ok := w.departures.find(id); ok {
			return d.ask(ctx, r)
		}
	}
	if err == errArriving { // it has stayed where it was, or is elsewhere
		err = errEarlierInstance
	}
	if err == errEarlierInstance {
		var d *departure
		if d, err = w.whereIs(ctx, id); err == nil {
			return d.ask(ctx, r)
		}
		if err == ErrGone {
			if err = w.checkAlone(ctx); err == nil {
				err = ErrGone
			}
		}
	}
	switch {
	case err != nil:
		return problemOf(err).response()
	case !r.AnyPath && !address.At(r.Path).Lives(c.path):
		return problemOf(errOtherPath).response()
	case r.Method == http.MethodDelete:
		return w.delete(r.Query, c)
	case r.Method == askJoin, r.Method == askLeave:
		return c.changeFor(ctx, r.Method, r.Query)
	}
	return w.get(r.Query, c)
}
