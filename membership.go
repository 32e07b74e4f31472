package wspush

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/wspush/wspush/internal/link"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/seal"
)

// greetingWait is how long a greeting waits, at most, for the directory to know whose connection it is and which groups it is in.
const greetingWait = 250 * time.Millisecond

// startMembership begins the worker's part in the Cluster's Directory, or among its Peers.
func (w *Worker) startMembership() {
	o, c := w.opts.Cluster, w.cluster
	if o.Directory == nil && o.Peers == nil {
		return
	}
	config := membership.Config{
		Directory: o.Directory, Address: c.address, Seal: c.sealLease, Open: c.openLease, Timing: o.timing,
		Log: slog.New(calmHandler{w.shared.log.Handler()}),
	}
	if d, ok := o.Directory.(inMemory); ok {
		_, config.Timing = d.InMemory()
	}
	if o.Peers != nil {
		config.Peers = c.resolvePeers(o.Peers)
	}
	w.membership = membership.New(config)
	if o.Directory != nil {
		m := w.shared.members
		announce := func(isGroup bool) func(name string, present bool) {
			return func(name string, present bool) {
				// Whoever has lost a member to another worker carries what comes for it, until others have heard of that one.
				w.membership.Set(memberKey(isGroup, name), present || w.departures.hasLeft(isGroup, name))
			}
		}
		m.users.announce, m.groups.announce = announce(false), announce(true)
		w.shared.isKnown = w.isKnown
	}
}

// inMemory is a Directory in the same process as all of its workers, which has what they need to find each other without a network and without
// waiting: that of package wspushtest. Nothing outside of this module can be one by accident, or at all.
type inMemory interface {
	InMemory() (link.Dial, membership.Timing)
}

// stopMembership ends the worker's part, once its last connection has ended.
func (w *Worker) stopMembership(ctx context.Context) {
	if w.membership == nil {
		return
	}
	if err := w.membership.Close(ctx); err != nil && ctx.Err() == nil {
		w.shared.log.Warn("wspush: the directory could not be told that the worker has ended", "error", err)
	}
}

// memberKey is the key of a user or a group in the directory, and what workers call it among themselves.
func memberKey(isGroup bool, name string) string {
	if isGroup {
		return "g:" + name
	}
	return "u:" + name
}

// isKnown waits until the directory knows whether this worker has members of a name. The error is ErrDirectory or ctx's.
func (w *Worker) isKnown(ctx context.Context, isGroup bool, name string) error {
	return directoryError(w.membership.Wait(ctx, memberKey(isGroup, name)))
}

// directoryError is the error of this package for one of package membership.
func directoryError(err error) error {
	if errors.Is(err, membership.ErrDirectory) {
		return fmt.Errorf("%w: it does not answer", ErrDirectory)
	}
	return err
}

// awaitDirectory waits until the directory knows what the connection is a member of, but not for long: a client whose greeting has come can
// be found through any worker, unless the directory is down.
func (l *life) awaitDirectory() {
	if l.shared.isKnown == nil {
		return
	}
	user, groups := l.User(), l.Groups()
	if user == "" && len(groups) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), greetingWait)
	defer cancel()
	if user != "" && l.shared.isKnown(ctx, false, user) != nil {
		return
	}
	for _, group := range groups {
		if l.shared.isKnown(ctx, true, group) != nil {
			return
		}
	}
}

// A lease's name is the sealed ID of no connection, with the lease's number in place of the instance.

func (c *cluster) sealLease(number uint64) string {
	sealed, err := c.keys.Seal(seal.Place{Address: c.address, Instance: number, ID: nilID})
	if err != nil {
		panic(err) // impossible: newCluster tried
	}
	return sealed
}

func (c *cluster) openLease(name string) (number uint64, address string, err error) {
	place, err := c.keys.Open(name)
	if err == nil && place.ID != nilID {
		err = errors.New("it names a connection")
	}
	return place.Instance, place.Address, err
}

// resolvePeers returns resolve with its addresses in the form of Cluster.Address.
func (c *cluster) resolvePeers(resolve func(context.Context) ([]string, error)) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		given, err := resolve(ctx)
		if err != nil {
			return nil, err
		}
		addresses := make([]string, len(given))
		for i, s := range given {
			base, err := c.base.ParseLike(s)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", s, err)
			}
			addresses[i] = base.String()
		}
		return addresses, nil
	}
}
