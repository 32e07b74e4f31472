package wspush

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/takeover"
)

// What a worker asks of another about a session that moves, in place of an HTTP method.
const (
	askTake  = "TAKE"  // for a copy of a session, which is frozen
	askPiece = "PIECE" // for the rest of the copy
	askTaken = "TAKEN" // whether it is agreed that the session is the asker's
	askMoved = "MOVED" // nothing: it says where a session is now
	askHas   = "HAS"   // whether it has the session that it has taken of the asker, or may still get it
	askOffer = "OFFER" // to take sessions of the asker
)

// Statuses of the replies.
const (
	repliesHere    = http.StatusOK
	repliesMoved   = http.StatusPermanentRedirect // to the worker that the header names
	repliesUser    = http.StatusForbidden
	repliesUnknown = http.StatusNotFound
	repliesRefused = http.StatusConflict // the take is not good any more
	repliesEnded   = http.StatusGone     // by the code that the header names, or none: the client was away for too long
	repliesAhead   = http.StatusRequestedRangeNotSatisfiable
	repliesLater   = http.StatusServiceUnavailable
)

// Headers of the replies.
const (
	headerNumber   = "Number"
	headerSize     = "Size"
	headerAddress  = "Address"
	headerInstance = "Instance"
	headerCode     = "Code"
	headerReason   = "Reason"
)

// pieceSize is how much of a copy goes into one reply.
const pieceSize = 2 << 20

// errNotHere means that a worker has no such session, or none of that ticket.
var errNotHere = errors.New("wspush: there is no such session here")

// take is what askTake asks.
type take struct {
	by        takeover.Worker
	isOffered bool // the owner has asked for it, and what follows is not asked
	name      string
	path      string
	secret    [16]byte
	user      string
	offset    uint64
}

func (q *take) query() string {
	v := workerQuery(q.by)
	v.Set("secret", base64.RawURLEncoding.EncodeToString(q.secret[:]))
	v.Set("name", q.name)
	v.Set("user", q.user)
	v.Set("offset", strconv.FormatUint(q.offset, 10))
	return v.Encode()
}

func readTake(r *link.Request) (q *take, err error) {
	v, err := url.ParseQuery(r.Query)
	if err != nil {
		return nil, err
	}
	q = &take{name: v.Get("name"), user: v.Get("user"), path: r.Path}
	secret, err := base64.RawURLEncoding.DecodeString(v.Get("secret"))
	if err != nil || len(secret) != len(q.secret) {
		return nil, errInternal
	}
	copy(q.secret[:], secret)
	if q.offset, err = strconv.ParseUint(v.Get("offset"), 10, 64); err != nil {
		return nil, err
	}
	q.by, err = readWorker(v)
	return q, err
}

// taken is what askTaken asks, and askMoved says.
type taken struct {
	by                takeover.Worker
	number            uint64
	claimed           bool
	moves             uint64
	addresses, sealed string
}

func (q *taken) query() string {
	v := workerQuery(q.by)
	v.Set("number", strconv.FormatUint(q.number, 10))
	v.Set("claimed", strconv.FormatBool(q.claimed))
	v.Set("moves", strconv.FormatUint(q.moves, 10))
	v.Set("addresses", q.addresses)
	v.Set("sealed", q.sealed)
	return v.Encode()
}

func readTaken(r *link.Request) (*taken, error) {
	v, err := url.ParseQuery(r.Query)
	q := &taken{addresses: v.Get("addresses"), sealed: v.Get("sealed")}
	var wrong [4]error
	q.by, wrong[0] = readWorker(v)
	q.number, wrong[1] = strconv.ParseUint(v.Get("number"), 10, 64)
	q.claimed, wrong[2] = strconv.ParseBool(v.Get("claimed"))
	q.moves, wrong[3] = strconv.ParseUint(v.Get("moves"), 10, 64)
	return q, errors.Join(err, errors.Join(wrong[:]...))
}

func workerQuery(by takeover.Worker) url.Values {
	return url.Values{"address": {by.Address}, "instance": {strconv.FormatUint(by.Instance, 16)}}
}

func readWorker(v url.Values) (by takeover.Worker, err error) {
	by.Address = v.Get("address")
	by.Instance, err = strconv.ParseUint(v.Get("instance"), 16, 64)
	if err == nil && by.Address == "" {
		err = errInternal
	}
	return by, err
}

// aboutSession answers what another worker asks about a session that moves.
func (h *holder) aboutSession(ctx context.Context, r *link.Request) (res response) {
	if f := h.worker.asked.Load(); f != nil {
		if !(*f)(ctx, r.Method, func() { res = h.answerAboutSession(ctx, r) }) {
			return replyWith(repliesLater)
		}
		return res
	}
	return h.answerAboutSession(ctx, r)
}

func (h *holder) answerAboutSession(ctx context.Context, r *link.Request) response {
	switch r.Method {
	case askTake:
		return h.giveCopy(r)
	case askPiece:
		return h.givePiece(r)
	case askTaken:
		return h.agree(r)
	case askMoved:
		return h.note(r)
	case askHas:
		return h.worker.tellWhether(ctx, r)
	}
	return h.worker.takeOffered(ctx, r)
}

// giveCopy freezes a session for another worker.
func (h *holder) giveCopy(r *link.Request) response {
	w := h.worker
	q, err := readTake(r)
	if err != nil {
		return replyWith(http.StatusBadRequest)
	}
	id := uuid.UUID(r.ID).String()
	if w.takeovers.isUnder(id) {
		return replyWith(repliesLater) // it may be here in a moment
	}
	c, ok := w.Conn(id)
	if !ok || !c.session.isSession() || c.session.handler.name != q.name || c.path.String() != q.path {
		return w.notHere(id, q)
	}
	f, err := c.session.freeze(q.by, q)
	switch err {
	case nil:
	case errNotHere:
		return w.notHere(id, q)
	case errOtherUser:
		return replyWith(repliesUser)
	case socket.ErrOffset:
		return replyWith(repliesAhead)
	default:
		return replyWith(repliesLater)
	}
	var copies copying
	file := &sessionfile.File{Sessions: []sessionfile.Session{copies.session(f.taken)}, Shared: copies.shared}
	file.Sessions[0].Moves = f.moves // it may have thawed since
	b, err := sessionfile.Encode(file)
	if err != nil {
		w.shared.log.Error("wspush: a session cannot be given to another worker", "conn", c.String(), "error", err)
		return replyWith(repliesLater)
	}
	if len(b) > pieceSize {
		c.session.keepCopy(f.number, b)
	}
	res := response{status: repliesHere, body: b[:min(len(b), pieceSize)], header: http.Header{}}
	res.header.Set(headerNumber, strconv.FormatUint(f.number, 10))
	res.header.Set(headerSize, strconv.Itoa(len(b)))
	return res
}

// keepCopy keeps what is too much for one reply, until the take is settled or there is a later one.
func (k *resumable) keepCopy(number uint64, b []byte) {
	k.conn.mu.Lock()
	defer k.conn.mu.Unlock()
	if k.isFrozenLocked() {
		k.moving.copied, k.moving.copyOf = b, number
	}
}

// givePiece answers with what follows of a copy, or of what is offered: the latter is of no session.
func (h *holder) givePiece(r *link.Request) response {
	v, err := url.ParseQuery(r.Query)
	number, wrong := strconv.ParseUint(v.Get("number"), 10, 64)
	from, wrong2 := strconv.Atoi(v.Get("from"))
	if errors.Join(err, wrong, wrong2) != nil {
		return replyWith(http.StatusBadRequest)
	}
	var b []byte
	if r.ID == [16]byte{} {
		b = h.worker.handover.offer(number)
	} else if c, ok := h.worker.Conn(uuid.UUID(r.ID).String()); ok && c.session.isSession() {
		b = c.session.copyOf(number)
	}
	if from < 0 || from >= len(b) {
		return replyWith(repliesRefused)
	}
	return response{status: repliesHere, body: b[from:min(from+pieceSize, len(b))]}
}

// copyOf returns what keepCopy has kept for a take; nil: nothing.
func (k *resumable) copyOf(number uint64) []byte {
	k.conn.mu.Lock()
	defer k.conn.mu.Unlock()
	if k.moving == nil || k.moving.copyOf != number {
		return nil
	}
	return k.moving.copied
}

// readPieces gets what is missing of size bytes, of which b are the first, from another worker. The ID is that of the session that it is a copy of, or
// zero for what is offered.
func (w *Worker) readPieces(ctx context.Context, from takeover.Worker, id [16]byte, number uint64, b []byte, size int) ([]byte, error) {
	for len(b) < size {
		query := url.Values{"number": {strconv.FormatUint(number, 10)}, "from": {strconv.Itoa(len(b))}}
		piece, err := w.ask(ctx, &link.Request{
			Peer: link.Peer{Address: from.Address, Instance: from.Instance}, ID: id, Method: askPiece, AnyPath: true, Query: query.Encode(),
		})
		if err != nil {
			return nil, err
		}
		if piece.Status != repliesHere || len(piece.Body) == 0 || len(piece.Body) > size-len(b) {
			return nil, errInternal
		}
		b = append(b, piece.Body...)
	}
	return b, nil
}

// notHere answers for a session that is not here: where it has gone, or how it has ended.
func (w *Worker) notHere(id string, q *take) response {
	if d, ok := w.departures.find(id); ok {
		return d.reply()
	}
	s := w.tombstones.findByName(q.name, q.path, session.Ticket{Session: id, Secret: q.secret})
	if s == nil {
		return replyWith(repliesUnknown)
	}
	res := replyWith(repliesEnded)
	if !s.isExpired {
		res.header.Set(headerCode, strconv.Itoa(s.code))
		res.header.Set(headerReason, s.reason)
	}
	return res
}

// agree answers one who says to have taken a session.
func (h *holder) agree(r *link.Request) response {
	w := h.worker
	q, err := readTaken(r)
	if err != nil {
		return replyWith(http.StatusBadRequest)
	}
	id := uuid.UUID(r.ID).String()
	c, ok := w.Conn(id)
	if ok && c.session.isSession() {
		switch c.session.departed(q.by, q) {
		case takeover.Accepted:
			return replyWith(repliesHere)
		case takeover.Refused:
			return replyWith(repliesRefused)
		}
	}
	switch d, ok := w.departures.find(id); {
	case ok && d.to == q.by:
		return replyWith(repliesHere)
	case ok:
		return d.reply()
	}
	return replyWith(repliesUnknown)
}

// note takes note of where a session is now that was here once.
func (h *holder) note(r *link.Request) response {
	w := h.worker
	q, err := readTaken(r)
	if err != nil {
		return replyWith(http.StatusBadRequest)
	}
	id := uuid.UUID(r.ID).String()
	if _, ok := w.Conn(id); !ok {
		w.departures.add(&departure{worker: w, id: id, to: q.by, moves: q.moves, addresses: q.addresses, sealed: q.sealed})
	}
	return replyWith(http.StatusNoContent)
}

// replyWith returns a reply without a body.
func replyWith(status int) response { return response{status: status, header: http.Header{}} }

// copying makes sessions what can be written. Messages that several of them have are written once.
type copying struct {
	shared [][]byte
	index  map[*socket.Holding]int
}

// session returns the session as it is written, but for its Value.
func (f *copying) session(t takenSession) sessionfile.Session {
	s := t.conn.session.file(t)
	for _, m := range t.saved.Messages {
		message := sessionfile.Message{
			Binary: m.Binary, Written: m.Written, Data: m.Data, Mark: m.Mark,
			Waits: m.Waits, Confirm: m.Confirm, Hasty: m.Hasty, Patient: m.Patient,
		}
		if m.Held != nil {
			if f.index == nil {
				f.index = make(map[*socket.Holding]int)
			}
			if f.index[m.Held] == 0 {
				f.shared = append(f.shared, m.Data)
				f.index[m.Held] = len(f.shared)
			}
			message.Data, message.Shared = nil, f.index[m.Held]
		}
		s.Messages = append(s.Messages, message)
	}
	return s
}
