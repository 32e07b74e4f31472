package wspush

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// bulkMembers is a line to a user or a group. Its pushes are those of any line, but they share one answer.
type bulkMembers struct {
	request  *bulkRequest
	key      bulk.Key
	confirm  bool
	left     int // pushes without an outcome, and one more while the line is being gathered; guarded by request.mu, like outcomes
	outcomes Outcomes
}

// pushMembers gathers the pushes of a line to a user or a group.
func (b *bulkRequest) pushMembers(key bulk.Key, p linePush) {
	to := p.members
	to.worker = b.worker
	if p := b.checkMembers(to, &p); p != nil {
		b.refuse(key, p)
		return
	}
	if err := wire.CheckMessage(p.typ, p.data, b.worker.shared.maxPushBytes); err != nil {
		b.refusePush(key, err)
		return
	}
	b.worker.shared.count.pushTo(to.isGroup)
	own := to.ownMembers()
	m := &bulkMembers{request: b, key: key, confirm: p.confirm, left: 1}
	m.outcomes = Outcomes{Excepted: own.excepted, Workers: 1, Answered: 1, Complete: true}
	if own.only == nil && len(own.several) == 0 {
		b.makeRoom(pushCost, 0)
		if own.excepted == 0 {
			b.worker.shared.count.push(ErrGone)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		m.lessLocked(pushCost)
		return
	}
	p.isShared = len(own.several) > 0
	for c := range own.conns {
		if b.gone.Load() { // nothing waits for room any longer
			break
		}
		b.mu.Lock()
		m.left++
		b.mu.Unlock()
		b.pushTo(c, key, m, &p)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m.lessLocked(0)
}

// checkMembers refuses what a single push to a user or a group would be refused for.
func (b *bulkRequest) checkMembers(to *Recipients, p *linePush) *problem {
	if b.worker.opts.AuthorizePush == nil {
		return notAuthorized()
	}
	if err := wire.CheckName(to.name); err != nil {
		return problemOf(err)
	}
	if p := b.may.push(to); p != nil {
		return p
	}
	for _, id := range p.except.All() {
		if p := to.exceptID(id); p != nil {
			return p
		}
	}
	if b.worker.roster.isEmpty() {
		return problemOf(ErrShutdown)
	}
	return nil
}

// settledLocked takes the outcome of one push, for which cost has been held. A lock of its socket may be held as well.
func (m *bulkMembers) settledLocked(err error, cost int) {
	count(&m.outcomes, m.confirm, err)
	m.lessLocked(cost)
}

// lessLocked answers the line if nothing is left of it.
func (m *bulkMembers) lessLocked(cost int) {
	o := m.request.output
	if m.left--; m.left > 0 {
		o.addLocked(nil, cost)
		return
	}
	var refusal *bulk.Refusal
	if err := wire.OneError(&m.outcomes); err != nil {
		of := refusalOf(problemOfOutcomes(&m.outcomes, err, m.confirm))
		refusal = &of
	}
	o.scratch = m.key.AppendBeginning(o.scratch[:0], refusal)
	o.scratch = append(appendOutcomes(o.scratch, &m.outcomes), '\n')
	o.addLocked(o.scratch, cost)
}

// bulkAuthorizer asks the application about each user and group that a bulk request names, once.
type bulkAuthorizer struct {
	request *bulkRequest
	by      authorizer
	whole   *http.Request // the bulk request
	known   map[bulkName]*problem
}

type bulkName struct {
	isGroup bool
	name    string
}

// maxKnown is how many answers of the application one bulk request keeps. When it has more, it forgets them, and asks again.
const maxKnown = 1024

// push returns why the publisher may not push to a user or a group, or nil.
func (a *bulkAuthorizer) push(to *Recipients) *problem {
	key := bulkName{to.isGroup, to.name}
	if p, ok := a.known[key]; ok {
		return p
	}
	a.request.flush() // the application may take its time
	ctx, cancel := context.WithCancel(context.WithoutCancel(a.whole.Context()))
	defer cancel()
	defer context.AfterFunc(a.request.ctx, cancel)()
	p := a.by.authorizeLine(a.single(ctx, to))
	if p != nil && p.Status != http.StatusUnauthorized && p.Status != http.StatusForbidden {
		return p // it has not decided
	}
	if len(a.known) >= maxKnown {
		a.known = nil
	}
	if a.known == nil {
		a.known = make(map[bulkName]*problem)
	}
	a.known[key] = p
	return p
}

// single returns the request that a push to a user or a group would be by itself: the same publisher sends it, to the same mount, and in
// the same way.
func (a *bulkAuthorizer) single(ctx context.Context, to *Recipients) *http.Request {
	r := a.whole.Clone(ctx)
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding", "Expect", "Te", "Trailer"} {
		r.Header.Del(name)
	}
	r.Body, r.ContentLength, r.TransferEncoding, r.Trailer, r.GetBody = http.NoBody, 0, nil, nil, nil
	escaped := address.MembersPath(a.whole.URL.EscapedPath(), to.isGroup, to.name)
	if plain, err := url.PathUnescape(escaped); err == nil {
		r.URL.Path, r.URL.RawPath = plain, escaped
	}
	if asked, query, hasQuery := strings.Cut(a.whole.RequestURI, "?"); asked != "" {
		r.RequestURI = address.MembersPath(asked, to.isGroup, to.name)
		if hasQuery { // which only presigns
			r.RequestURI += "?" + query
		}
	}
	return r
}
