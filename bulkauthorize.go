package wspush

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/address"
)

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
	a.request.lookUp() // the application may take its time
	a.request.flush()
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
