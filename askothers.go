package wspush

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
)

// askAll asks this worker, and then all others that may have members, each whether it has some, and to do what there is to be done. Own is
// called again if nobody has: see [membership.Lookup].
func (r *Recipients) askAll(ctx context.Context, own func() (has bool), ask func(context.Context, membership.Worker) (has bool, err error)) (coverage, error) {
	w := r.worker
	if w.membership == nil {
		own()
		return ownCoverage, nil
	}
	lookup := w.membership.Lookup(memberKey(r.isGroup, r.name))
	lookup.Here(r.hasOwn())
	next, err := lookup.Next(ctx)
	if err != nil {
		return coverage{}, directoryError(err)
	}
	hasOwn := own()
	for {
		var asking sync.WaitGroup
		for _, peer := range next {
			asking.Go(func() {
				if has, err := w.askPeer(ctx, peer, ask); err != nil {
					lookup.Silent(peer)
				} else {
					lookup.Answered(peer, has)
				}
			})
		}
		asking.Wait()
		hasOwn = hasOwn || own()
		lookup.Here(hasOwn)
		if next, err = lookup.Next(ctx); err != nil || len(next) == 0 {
			break
		}
	}
	asked, answered := lookup.Workers()
	return coverage{Workers: 1 + asked, Answered: 1 + answered, Complete: lookup.Verdict() != membership.Incomplete}, nil
}

// askPeer asks one worker. One that is only doubtful is not waited for long.
func (w *Worker) askPeer(ctx context.Context, peer membership.Worker, ask func(context.Context, membership.Worker) (has bool, err error)) (bool, error) {
	if peer.Named {
		return ask(ctx, peer)
	}
	if w.doubts.areSilent(peer.Address) {
		return false, ErrUnreachable
	}
	limited, cancel := context.WithTimeout(ctx, doubtWait)
	defer cancel()
	has, err := ask(limited, peer)
	if err != nil && ctx.Err() == nil {
		w.doubts.wasSilent(peer.Address)
	}
	return has, err
}

const (
	// doubtWait is how long a worker that is only doubtful may take to say whether it has members.
	doubtWait = time.Second
	// doubtRest is how long it is not asked again if it has not said so.
	doubtRest = 5 * time.Second
)

// doubts are the doubtful workers that have been silent, and until when they are not asked again: most are dead, and one whose network is
// cut off lets everyone who asks wait.
type doubts struct {
	mu    sync.Mutex // guards what follows
	until map[string]time.Time
}

func (d *doubts) areSilent(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	until, ok := d.until[address]
	if ok && time.Now().After(until) {
		delete(d.until, address)
		return false
	}
	return ok
}

func (d *doubts) wasSilent(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.until == nil || len(d.until) > 1000 {
		d.until = make(map[string]time.Time)
	}
	d.until[address] = time.Now().Add(doubtRest)
}

// countMembers asks another worker how many members it has.
func (w *Worker) countMembers(ctx context.Context, to *Recipients, peer membership.Worker) (n int, err error) {
	_, err = w.askPeer(ctx, peer, func(ctx context.Context, peer membership.Worker) (bool, error) {
		list, err := w.listMembers(ctx, to, peer, 0)
		n = list.total
		return n > 0, err
	})
	return n, err
}

// listMembers asks another worker for its members.
func (w *Worker) listMembers(ctx context.Context, to *Recipients, peer membership.Worker, limit int) (memberList, error) {
	reply, err := w.ask(ctx, &link.Request{
		Peer: link.Peer{Address: peer.Address}, Method: askMembers, AnyPath: true, Path: memberKey(to.isGroup, to.name), Query: "limit=" + strconv.Itoa(limit),
	})
	if err != nil {
		return memberList{}, err
	}
	if reply.Status != http.StatusOK {
		return memberList{}, replyError(reply)
	}
	return readMemberList(reply.Body)
}

// closeMembers has another worker close its members.
func (w *Worker) closeMembers(ctx context.Context, to *Recipients, peer membership.Worker, code int, reason string) (closed int, err error) {
	query := url.Values{"code": {strconv.Itoa(code)}, "reason": {reason}}
	for _, id := range to.exceptedAt(peer.Address) {
		query.Add("except", base64.RawURLEncoding.EncodeToString(id[:])) // a thousand fit into a request
	}
	reply, err := w.ask(ctx, &link.Request{
		Peer: link.Peer{Address: peer.Address}, Method: askClose, AnyPath: true, Path: memberKey(to.isGroup, to.name), Query: query.Encode(),
	})
	if err != nil {
		return 0, err
	}
	if reply.Status != http.StatusOK {
		return 0, replyError(reply)
	}
	return strconv.Atoi(string(reply.Body))
}
