package wspush

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// heldMembers is the push of another worker to the members of a user or a group that are connections of this one: a push to each, with
// one reply for all of them.
type heldMembers struct {
	in *link.Incoming

	mu    sync.Mutex // guards what follows; it may be locked while a socket's lock is held
	left  int        // members without an outcome, and one more while their pushes are being prepared
	reply memberReply
}

// gatherMembers prepares the push to each member. The order is kept: a later push of the same batch cannot overtake one of these.
func (h *holder) gatherMembers(g *heldGather, in *link.Incoming) {
	w := h.worker
	if index, ok := strings.CutPrefix(in.To, awaitPrefix); ok {
		h.gatherArrived(in, index)
		return
	}
	to, ok := w.recipientsOf(in.To)
	if !ok {
		in.Answer(0, link.Answer{Code: outcomeInternal})
		return
	}
	for _, id := range in.More {
		name := uuid.UUID(id).String()
		if c, ok := w.Conn(name); ok {
			to.except = append(to.except, c)
		} else {
			to.exceptElsewhere = append(to.exceptElsewhere, seal.Place{ID: name}) // it may have been here, and have moved
		}
	}
	own := to.ownMembers()
	m := &heldMembers{in: in, left: 1}
	m.reply.instance, m.reply.excepted = w.cluster.instance, own.excepted
	typ := Text
	if in.Binary {
		typ = Binary
	}
	invalid := wire.CheckMessage(typ, in.Data, w.shared.maxPushBytes)
	var payload *socket.Payload
	if len(own.several) > 0 && invalid == nil {
		payload = w.sockets.NewPayload(in.Binary, in.Data)
		payload.Keep()
	}
	for c := range own.conns {
		m.add()
		if invalid != nil { // to this worker, which may have a smaller MaxPushBytes
			w.shared.count.push(invalid)
			m.answer(c, outcomeOf(invalid), 0)
			continue
		}
		p := h.newPush(in, 0, c, payload, in.Data)
		p.members = m
		g.add(p)
	}
	in.Data = nil // the messages have it, until they do not need it
	m.less()
}

// recipientsOf returns whom a key names that came from another worker.
func (w *Worker) recipientsOf(key string) (*Recipients, bool) {
	kind, name, _ := strings.Cut(key, ":")
	to := &Recipients{worker: w, isGroup: kind == "g", name: name}
	return to, (kind == "u" || kind == "g") && wire.CheckName(name) == nil
}

func (m *heldMembers) add() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left++
}

// answer takes the outcome of one member. A lock of its socket may be held.
func (m *heldMembers) answer(c *Conn, code uint8, roundTrip time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reply.counts[code]++
	if m.in.Detail && code != outcomeRepeated && len(m.reply.lines) < maxReplyLines {
		m.reply.lines = appendLine(m.reply.lines, uuid.MustParse(c.id), code, roundTrip)
	}
	m.lessLocked()
}

func (m *heldMembers) less() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lessLocked()
}

func (m *heldMembers) lessLocked() {
	if m.left--; m.left == 0 {
		m.in.Reply(&link.Reply{Status: http.StatusOK, Body: m.reply.append(nil)})
	}
}

// What a worker asks of another about the members of a user or a group there, in place of an HTTP method. The key is the request's path.
const (
	askMembers = "MEMBERS" // who they are, at most limit of them
	askClose   = "CLOSE"   // to close them, with code and reason, save those that except names
)

// aboutMembers answers a request about members.
func (h *holder) aboutMembers(r *link.Request) response {
	to, ok := h.worker.recipientsOf(r.Path)
	values, err := url.ParseQuery(r.Query)
	if !ok || err != nil {
		return problemOf(errInternal).response()
	}
	if r.Method == askMembers {
		limit, err := strconv.Atoi(values.Get("limit"))
		if err != nil || limit < 0 {
			return problemOf(errInternal).response()
		}
		list := to.ownList(min(limit, maxListed))
		return response{status: http.StatusOK, body: list.append(nil)}
	}
	for _, text := range values["except"] {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		id, wrong := uuid.FromBytes(raw)
		if err != nil || wrong != nil {
			return problemOf(errInternal).response() // rather than close one who is to stay
		}
		if c, ok := h.worker.Conn(id.String()); ok {
			to.except = append(to.except, c)
		}
	}
	code, err := strconv.Atoi(values.Get("code"))
	if err == nil {
		err = wire.CheckClose(code, values.Get("reason"))
	}
	if err != nil {
		return problemOf(errors.Join(errInternal, err)).response()
	}
	closed, left := to.closeOwn(code, values.Get("reason"))
	if left > 0 {
		return problemOf(ErrShutdown).response() // who asks then knows that it is not done
	}
	return response{status: http.StatusOK, body: strconv.AppendInt(nil, int64(closed), 10)}
}

// ownList lists the members of this worker.
func (r *Recipients) ownList(limit int) memberList {
	index := r.worker.shared.members.of(r.isGroup)
	list := memberList{total: index.count(r.name)}
	if r.worker.cluster != nil {
		list.instance = r.worker.cluster.instance
	}
	if limit == 0 {
		return list
	}
	var own ownMembers
	own.only, own.several = index.find(r.name, limit)
	for m := range own.all {
		list.members = append(list.members, listedMember{id: uuid.MustParse(m.conn.id), since: m.since, user: m.conn.User()})
	}
	list.total = max(list.total, len(list.members))
	return list
}

// closeOwn closes the members of this worker, and returns how many; and how many it cannot close, since they are left to the next worker.
func (r *Recipients) closeOwn(code int, reason string) (closed, left int) {
	own := r.ownMembers()
	for c := range own.conns {
		switch c.Close(code, reason) {
		case nil:
			closed++
		case ErrShutdown:
			left++
		}
	}
	return closed, left
}
