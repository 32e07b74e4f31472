package wspush

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/sessionfile"
	"github.com/wspush/wspush/internal/takeover"
)

// takeOffered takes what another worker offers, as far as there is room and a Handler for it.
func (w *Worker) takeOffered(ctx context.Context, r *link.Request) response {
	v, err := url.ParseQuery(r.Query)
	from, wrong := readWorker(v)
	number, wrong2 := strconv.ParseUint(v.Get("number"), 10, 64)
	size, wrong3 := strconv.Atoi(v.Get("size"))
	if errors.Join(err, wrong, wrong2, wrong3) != nil || size <= 0 {
		return replyWith(http.StatusBadRequest)
	}
	if !w.hasOwners() || w.roster.isClosed() || !w.sockets.HasRoom() {
		return replyWith(repliesLater)
	}
	w.takeovers.fetches(1)
	defer w.takeovers.fetches(-1)
	b, err := w.readPieces(ctx, from, [16]byte{}, number, nil, size)
	if err != nil {
		return replyWith(repliesLater)
	}
	file, err := sessionfile.Decode(b)
	if err != nil || checkSessions(file) != nil {
		return replyWith(http.StatusBadRequest)
	}
	accepted := w.takeAll(ctx, from, file)
	res := replyWith(http.StatusOK)
	self := w.self()
	res.header.Set(headerAddress, self.Address)
	res.header.Set(headerInstance, strconv.FormatUint(self.Instance, 16))
	res.body, _ = json.Marshal(accepted) // there are only strings
	return res
}

// takeAll makes sessions this worker's, as far as the register says that they are.
func (w *Worker) takeAll(ctx context.Context, from takeover.Worker, file *sessionfile.File) (accepted []acceptedSession) {
	type candidate struct {
		file     *sessionfile.Session
		conn     *Conn
		arriving *arriving
	}
	var all []candidate
	var claims []membership.Claim
	held := holdings(file)
	for i := range file.Sessions {
		s := &file.Sessions[i]
		h := w.mounts.find(s.Handler)
		if h == nil || w.roster.admits() != nil {
			continue
		}
		if _, ok := w.Conn(s.ID); ok {
			continue // what is left of it from before has not found out yet where it is
		}
		t, isNew := w.takeovers.begin(w, s.ID)
		if t == nil || !isNew {
			continue // its client has just come
		}
		t.commits()
		all = append(all, candidate{s, w.makeSession(s, h), t})
		claims = append(claims, membership.Claim{Session: registerKey(s.ID), Moves: s.Moves + 1})
	}
	if len(all) == 0 {
		return nil
	}
	defer func() {
		for range all {
			w.takeovers.running.add(-1)
		}
	}()
	owners := w.claimAll(ctx, claims)
	for i, a := range all {
		t := takeover.Taker{Moves: a.file.Moves, HasRegister: true, IsOffered: true}
		t.Claimed(owners[i].Mine, owners[i].Moves, takeover.Worker{Address: owners[i].Address})
		if t.Step() != takeover.Serve {
			a.arriving.end(takeLater, nil)
			continue
		}
		a.conn.session.arrive(from, a.file, held)
		a.conn.session.handler.loadValue(a.conn)
		a.arriving.end(takeDone, a.conn)
		w.shared.count.takeover(takeDone)
		w.tellEarlier(a.conn, a.file)
		q := w.takenBy(a.conn, claims[i].Moves)
		accepted = append(accepted, acceptedSession{ID: a.conn.id, Addresses: q.addresses, Sealed: q.sealed})
	}
	return accepted
}

// claimAll claims sessions together, or, if the directory refuses that, one by one. A claim of which nothing is known is the zero Owner: the
// former owner, which still has its copy, asks whether it is good.
func (w *Worker) claimAll(ctx context.Context, claims []membership.Claim) []membership.Owner {
	owners, err := w.membership.Claim(ctx, claims)
	if err == nil {
		return owners
	}
	owners = make([]membership.Owner, len(claims))
	for i := range claims {
		if o, err := w.membership.Claim(ctx, claims[i:i+1]); err == nil {
			owners[i] = o[0]
		}
	}
	return owners
}
