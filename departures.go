package wspush

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/takeover"
)

// departures remember where sessions are that were here, or that publishers look for here: an address stays good as long as this worker lives.
type departures struct {
	mu   sync.Mutex // guards what follows
	byID map[string]*departure
	// In the order in which they were made.
	first, last *departure

	lately    map[string][]*Conn // those who left lately, by what they were members of, as memberKey has it
	hasLately atomic.Bool        // there are any: a push to members asks nothing else while there are none
}

// maxDepartures bounds them. With a directory that knows owners, the oldest are found again by that.
const maxDepartures = 64 << 10

// departure is where a session is.
type departure struct {
	worker *Worker
	id     string
	to     takeover.Worker // its Instance may be 0: any
	moves  uint64          // of the session, by which later news is told from earlier
	// How its new worker tells publishers where it is: its addresses as in a greeting, and its sealed address. They may be "".
	addresses, sealed string

	next, prev *departure      // guarded by departures
	conn       *Conn           // that was here, as long as what it is pushed may have to wait behind other messages; the same
	under      int             // pushes of other workers that are forwarded there and not answered; the same
	told       map[string]bool // addresses of workers to which tell has said it; the same
	later      *departure      // where the session has moved on to meanwhile; nil: not known to. The same

	queue    queue         // of what is carried there
	sequence link.Sequence // the same
}

// add takes note of a departure, and returns what is known now: that, or something later.
func (t *departures) add(d *departure) *departure {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byID == nil {
		t.byID = make(map[string]*departure)
	}
	if known := t.byID[d.id]; known != nil {
		switch {
		case known.moves >= d.moves:
			return known
		case known.conn != nil || known.under > 0: // what comes now must not overtake what goes by that
			if known.later == nil || known.later.moves < d.moves {
				known.later = d
			}
			return known.later
		}
		t.removeLocked(known)
	}
	t.putLocked(d)
	return d
}

func (t *departures) putLocked(d *departure) {
	t.byID[d.id] = d
	if d.prev = t.last; d.prev != nil {
		d.prev.next = d
	} else {
		t.first = d
	}
	t.last = d
	if len(t.byID) > maxDepartures {
		t.removeLocked(t.first)
	}
}

func (t *departures) removeLocked(d *departure) {
	delete(t.byID, d.id)
	if d.prev != nil {
		d.prev.next = d.next
	} else {
		t.first = d.next
	}
	if d.next != nil {
		d.next.prev = d.prev
	} else {
		t.last = d.prev
	}
	d.next, d.prev = nil, nil
}

// forwards notes that another push goes by a departure, or with -1 that one is answered.
func (t *departures) forwards(d *departure, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.under += n
	t.goOnLocked(d)
}

// goOnLocked has what comes go straight to where the session has moved on to, once nothing goes by the departure any more.
func (t *departures) goOnLocked(d *departure) {
	if d.later == nil || d.conn != nil || d.under > 0 {
		return
	}
	if t.byID[d.id] == d {
		t.removeLocked(d)
		t.putLocked(d.later)
	}
	d.later = nil
}

// find returns where the session with this ID is, which may be in any letter case.
func (t *departures) find(id string) (*departure, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) == 0 {
		return nil, false
	}
	d, ok := t.byID[strings.ToLower(id)]
	return d, ok
}

// conn returns what is left here of a session that has moved, if what it is pushed goes by that.
func (t *departures) conn(id string) *Conn {
	if d, ok := t.find(id); ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		return d.conn
	}
	return nil
}

// forget forgets a session that is here again.
func (t *departures) forget(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.byID[id]; d != nil {
		t.removeLocked(d)
	}
}

// latelyFor is how long a push to a user or a group that comes here is carried to a member that has left: the worker that sends it may have asked
// where members are before that.
const latelyFor = 10 * time.Second

// remember keeps the connection of a departure for a while, and notes what it was a member of. Conn.mu is held.
func (t *departures) remember(d *departure, c *Conn) {
	keys := c.memberKeysLocked()
	t.mu.Lock()
	defer t.mu.Unlock()
	d.conn = c
	if t.lately == nil {
		t.lately = make(map[string][]*Conn)
	}
	for _, key := range keys {
		t.lately[key] = append(t.lately[key], c)
		t.hasLately.Store(true)
	}
	c.shared.clock.set(&parting{departures: t, departure: d, conn: c, keys: keys}, latelyFor)
}

// hasLeft reports whether somebody was a member lately.
func (t *departures) hasLeft(isGroup bool, name string) bool {
	if !t.hasLately.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.lately[memberKey(isGroup, name)]) > 0
}

// left returns those who were members lately.
func (t *departures) left(isGroup bool, name string) []*Conn {
	if !t.hasLately.Load() {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]*Conn(nil), t.lately[memberKey(isGroup, name)]...)
}

// parting is the time in which a connection that has left is remembered.
type parting struct {
	departures *departures
	departure  *departure
	conn       *Conn
	keys       []string
	alarm      alarm // guarded by the clock
}

func (p *parting) bell() *alarm { return &p.alarm }

func (p *parting) fire() {
	for _, key := range p.end() {
		p.conn.shared.members.of(key[:2] == memberKey(true, "")).settle(key[2:])
	}
}

// end ends the memory, and returns of which names nobody is remembered any more.
func (p *parting) end() (forgotten []string) {
	t := p.departures
	t.mu.Lock()
	defer t.mu.Unlock()
	p.departure.conn = nil
	t.goOnLocked(p.departure)
	for _, key := range p.keys {
		left := t.lately[key]
		for i, c := range left {
			if c == p.conn {
				left[i] = left[len(left)-1]
				left[len(left)-1] = nil
				t.lately[key] = left[:len(left)-1]
				break
			}
		}
		if len(t.lately[key]) == 0 {
			delete(t.lately, key)
			forgotten = append(forgotten, key)
		}
	}
	if len(t.lately) == 0 {
		t.lately = nil // a map never shrinks
		t.hasLately.Store(false)
	}
	return forgotten
}

// place is the departure as something to forward to.
func (d *departure) place() *seal.Place {
	return &seal.Place{Address: d.to.Address, Instance: d.to.Instance, ID: d.id}
}

func (d *departure) peer() link.Peer {
	return link.Peer{Address: d.to.Address, Instance: d.to.Instance}
}

// reply tells another worker where the session is.
func (d *departure) reply() response {
	res := replyWith(repliesMoved)
	res.header.Set(headerAddress, d.to.Address)
	res.header.Set(headerInstance, strconv.FormatUint(d.to.Instance, 16))
	return res
}

// ask has the new worker answer a request that another worker has asked here.
func (d *departure) ask(ctx context.Context, r *link.Request) response {
	q := *r
	q.Peer = d.peer()
	reply, err := d.worker.ask(ctx, &q)
	if err != nil {
		return problemOf(err).response()
	}
	return response{status: reply.Status, header: reply.Header, body: reply.Body}
}

// tell tells a worker that asks here where the session is, so that its next push need not come here, and its publishers hear the new address.
func (d *departure) tell(asker link.Peer) {
	t, w := &d.worker.departures, d.worker
	t.mu.Lock()
	isTold := d.told[asker.Address] || len(d.told) >= maxTold || asker.Address == d.to.Address
	if !isTold {
		if d.told == nil {
			d.told = make(map[string]bool)
		}
		d.told[asker.Address] = true
	}
	t.mu.Unlock()
	if isTold {
		return
	}
	w.takeovers.running.add(1)
	go func() {
		defer w.takeovers.running.add(-1)
		q := &taken{by: d.to, moves: d.moves, addresses: d.addresses, sealed: d.sealed}
		_, _ = w.ask(w.cut, &link.Request{Peer: asker, ID: uuid.MustParse(d.id), Method: askMoved, AnyPath: true, Query: q.query()}) // it may be gone
	}()
}

// maxTold bounds how many workers are told by one departure.
const maxTold = 256

// close closes the session where it is. Nobody waits for that.
func (d *departure) close(code int, reason string) {
	w := d.worker
	w.takeovers.running.add(1)
	go func() {
		defer w.takeovers.running.add(-1)
		query := url.Values{"code": {strconv.Itoa(code)}, "reason": {reason}}
		_, err := w.ask(w.cut, &link.Request{
			Peer: d.peer(), ID: uuid.MustParse(d.id), Method: http.MethodDelete, AnyPath: true, Query: query.Encode(),
		})
		if err != nil {
			w.shared.log.Warn("wspush: a session that has moved could not be closed", "conn", d.id[:8], "error", err)
		}
	}()
}

// addressHeader tells a publisher the address of a connection that has moved.
const addressHeader = "Wspush-Address"

// tellAddress adds the address to an answer, in the form in which the publisher has the ID.
func (d *departure) tellAddress(h http.Header, isSealed bool) {
	if isSealed {
		tellAddress(h, d.sealed)
	} else {
		tellAddress(h, d.addresses)
	}
}

func tellAddress(h http.Header, address string) {
	if address != "" {
		h.Set(addressHeader, address)
	}
}

// departureOf returns where a connection has gone, of what find has returned.
func (w *Worker) departureOf(c *Conn, elsewhere *seal.Place) (*departure, bool) {
	switch {
	case elsewhere != nil:
		return w.departures.find(elsewhere.ID)
	case c != nil && c.session.isSession() && c.endReason() != nil:
		return w.departures.find(c.id)
	}
	return nil, false
}
