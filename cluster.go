package wspush

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/takeover"
	"github.com/wspush/wspush/internal/wire"
)

// Cluster is what workers share so that publishers can push through any of them: see [WorkerOptions].Cluster. A client that comes back to
// any of them has its session follow it there. A worker that is asked to push to a connection of another one opens a link to it: a
// WebSocket to Address, over HTTP/1.1, which is encrypted with Keys and closed after a minute without pushes. Whatever stands between
// workers must let WebSockets through.
type Cluster struct {
	// Keys are secrets shared by all workers: each at least 32 random bytes. The first key seals; all of them open. To
	// change keys, add the new one at the end on every worker, then move it to the front on every worker, then drop the old
	// one: addresses that it sealed are refused with 403 from then on. One key is good for four billion connections.
	// NewWorker refuses keys that can only be a mistake, such as the zero bytes that an unset variable leaves, or a repeated word.
	//
	// Anyone who has a key can push to every connection of every worker, bypassing AuthorizePush, make workers open
	// connections to any host, and pass for the worker that has a session.
	Keys [][]byte

	// Address is where the other workers reach this worker's push endpoint, written like an element of
	// WorkerOptions.Advertise. It must lead to this worker alone, not to a load balancer. The default is the first address
	// that the worker advertises; if that is on loopback, NewWorker warns, because workers on other machines cannot reach it.
	// Where all workers are on one machine, set Address, and there is no warning.
	Address string

	// Directory knows which workers have members of a user or group, so that [Worker.User] and [Worker.Group] are about all of them: see
	// the packages directory/redis and directory/nats. It must be the same for all workers. The worker tells it of each name, but not of
	// each connection, and renews a lease there as long as it lives. While it does not answer, what names a user or a group fails with
	// ErrDirectory, and no session moves to another worker; everything else goes on. If it implements directory.Owners as well, it knows
	// where sessions are that have moved: see [Worker.Shutdown]. The worker does not close it. Calls for it may be concurrent.
	Directory directory.Directory

	// Peers is what can be had in place of a Directory where there are few workers, up to about ten: it returns the addresses of
	// all of them, each of which is then asked about each user and group. Whether this worker is among them does not matter. An address
	// must be the Address that the worker has, but what it lacks of that, such as the port, is taken from this worker's own; so it may
	// return what net.Resolver.LookupHost returns for a name that has the IP addresses of all workers. It is called again while somebody asks, every 5 s at most; ctx ends
	// after 2 s, and if it fails, the last answer counts for a minute, but nobody is taken to be gone.
	//
	// With neither Directory nor Peers, users and groups have the members of one worker, and others do not know of them.
	Peers func(ctx context.Context) (addresses []string, err error)

	// TLS is for links to workers whose Address is https: set RootCAs if their certificates are not from a public
	// authority, and Certificates if they require one. The default trusts the system's authorities.
	TLS *tls.Config

	timing membership.Timing // the default, except in tests
}

// cluster is one worker's part in a Cluster.
type cluster struct {
	keys     *seal.Keys
	base     address.Base
	address  string // base, where the others reach this worker
	instance uint64 // identifies this instance of the worker: every start makes a new one
	tls      *tls.Config
	alone    alone
}

// newCluster makes a worker's part in a cluster. bases are the addresses that it advertises, and port is its listener's.
func newCluster(o *Cluster, bases []address.Base, scheme, port string) (*cluster, error) {
	keys, err := seal.New(o.Keys)
	if err != nil {
		return nil, fmt.Errorf("wspush: Cluster.Keys: %w", err)
	}
	own := bases[0]
	if o.Address != "" {
		if own, err = address.Parse(o.Address, scheme, port); err != nil {
			return nil, fmt.Errorf("wspush: Cluster.Address: %q: %w", o.Address, err)
		}
	}
	if o.Directory != nil && o.Peers != nil {
		return nil, errors.New("wspush: Cluster.Directory and Cluster.Peers exclude each other: set one of them")
	}
	c := &cluster{keys: keys, base: own, address: own.String(), tls: o.TLS}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	c.instance = binary.BigEndian.Uint64(random[:])
	if _, err := keys.Seal(seal.Place{Address: c.address, ID: nilID}); err != nil {
		return nil, fmt.Errorf("wspush: Cluster.Address: %w", err)
	}
	return c, nil
}

// warnOfLoopback tells the operator if only workers on this machine can reach this one. That may be what is meant: Address says so.
func (o *Cluster) warnOfLoopback(log *slog.Logger, first address.Base) {
	if o.Address == "" && first.IsLoopback() {
		log.Warn("wspush: only workers on this machine can reach this one: set Cluster.Address", "address", first.String())
	}
}

// nilID is an ID that no connection has (RFC 9562 section 5.9).
const nilID = "00000000-0000-0000-0000-000000000000"

// copied returns a copy that later changes do not affect.
func (c *Cluster) copied() *Cluster {
	if c == nil {
		return nil
	}
	d := *c
	d.Keys = slices.Clone(c.Keys)
	if c.TLS != nil {
		d.TLS = c.TLS.Clone()
	}
	return &d
}

// sealedID seals the place of a connection of this worker.
func (c *cluster) sealedID(id string) string {
	sealed, err := c.keys.Seal(seal.Place{Address: c.address, Instance: c.instance, ID: id})
	if err != nil {
		panic(err) // impossible: newCluster tried
	}
	return sealed
}

var (
	errNoKeys  = errors.New("wspush: the worker has no keys to open a sealed ID with: see WorkerOptions.Cluster")
	errForeign = fmt.Errorf("%w: none of the worker's keys opens the sealed ID", ErrForbidden)
)

// locate finds the connection that an ID or a sealed ID names. If another worker holds it, elsewhere says which. The error is
// ErrGone, ErrShutdown, errNoKeys or errForeign. For a sealed ID that seems to be from an earlier instance of this worker, it
// may also be an error of checkAlone, which can take seconds.
func (w *Worker) locate(ctx context.Context, name string) (conn *Conn, elsewhere *seal.Place, err error) {
	conn, elsewhere, err = w.find(name)
	if err != errEarlierInstance {
		return conn, elsewhere, err
	}
	place := seal.Place{ID: strings.ToLower(name), Address: w.cluster.address, Instance: w.cluster.instance}
	if wire.IsSealedID(name) {
		place, _ = w.cluster.keys.Open(name) // as find has
	}
	if conn = w.arrived(ctx, place.ID); conn != nil {
		return conn, nil, nil
	}
	w.awaitRetries(ctx)
	if conn, elsewhere = w.departed(place.ID); conn != nil || elsewhere != nil {
		return conn, elsewhere, nil
	}
	d, err := w.whereIs(ctx, place.ID)
	switch {
	case err == nil:
		return nil, d.place(), nil
	case err != ErrGone:
		return nil, nil, err
	}
	if conn = w.arrived(ctx, place.ID); conn != nil {
		return conn, nil, nil
	}
	switch {
	case place.Instance == w.cluster.instance:
		return nil, nil, w.gone()
	case place.Address == w.cluster.address:
		if err = w.checkAlone(ctx); err == nil {
			err = ErrGone
		}
		return nil, nil, err
	}
	return nil, &place, nil // which fails as it should, or the worker has no lease at present
}

// arrived returns a session that has come here while it was looked for, or is just coming; nil: it has not.
func (w *Worker) arrived(ctx context.Context, id string) *Conn {
	if w.takeovers.isComing(id) {
		if c := w.takeovers.wait(ctx, id); c != nil {
			return c
		}
	}
	c, _ := w.Conn(id)
	return c
}

// errEarlierInstance means that an earlier instance of this worker, or a worker that has ended, seems to have made the sealed ID. If it did, the
// connection has ended, or is a session that has moved.
var errEarlierInstance = errors.New("wspush: the sealed ID names a worker that has ended, as it seems")

// find is locate, but returns errEarlierInstance instead of waiting.
func (w *Worker) find(name string) (conn *Conn, elsewhere *seal.Place, err error) {
	if c, ok := w.Conn(name); ok {
		return c, nil, nil
	}
	if !wire.IsSealedID(name) {
		if w.takeovers.isComing(name) {
			return nil, nil, errEarlierInstance // it is just coming
		}
		if conn, elsewhere = w.departed(name); conn != nil || elsewhere != nil {
			return conn, elsewhere, nil
		}
		if c, ok := w.Conn(name); ok { // it has come back meanwhile
			return c, nil, nil
		}
		return nil, nil, w.gone()
	}
	if w.cluster == nil {
		return nil, nil, errNoKeys
	}
	place, err := w.cluster.keys.Open(name)
	if err != nil {
		return nil, nil, errForeign
	}
	if c, ok := w.Conn(place.ID); ok { // a session that has come here has sealed IDs that name other workers
		return c, nil, nil
	}
	if w.takeovers.isComing(place.ID) {
		return nil, nil, errEarlierInstance // it is just coming: where it was once sends it here
	}
	switch conn, elsewhere = w.departed(place.ID); {
	case elsewhere != nil && w.retries.isBusy():
		return nil, nil, errEarlierInstance // what is being sent there again comes first
	case conn != nil || elsewhere != nil:
		return conn, elsewhere, nil
	}
	if c, ok := w.Conn(place.ID); ok { // it has come back meanwhile
		return c, nil, nil
	}
	switch {
	case place.Instance == w.cluster.instance:
		return nil, nil, w.gone()
	case w.roster.isEmpty():
		return nil, nil, ErrShutdown
	case place.Address == w.cluster.address:
		return nil, nil, errEarlierInstance
	case w.hasOwners() && !w.membership.Lives(place.Address):
		return nil, nil, errEarlierInstance
	}
	return nil, &place, nil
}

// whereIs finds out by the register of owners who has the connection that a sealed ID names, if the worker that it names has ended.
func (w *Worker) whereIs(ctx context.Context, id string) (*departure, error) {
	if !w.hasOwners() {
		return nil, ErrGone
	}
	owner, err := w.membership.Owners(ctx, registerKey(id))
	switch {
	case err != nil:
		return nil, directoryError(err)
	case owner.Doubtful && owner.Address == "":
		return nil, ErrUnreachable
	case owner.Mine || owner.Address == "":
		return nil, ErrGone
	}
	return w.departures.add(&departure{worker: w, id: id, to: takeover.Worker{Address: owner.Address}, moves: owner.Moves}), nil
}

// departed finds a session that was here and has moved. As long as something may wait for it here, conn is what is left of it, which carries what it
// is pushed behind that.
func (w *Worker) departed(id string) (conn *Conn, elsewhere *seal.Place) {
	if conn = w.departures.conn(id); conn != nil {
		return conn, nil
	}
	if d, ok := w.departures.find(id); ok {
		return nil, d.place()
	}
	return nil, nil
}

// elsewhere returns where the connection is if it has moved, or nil.
func (c *Conn) elsewhere() *seal.Place {
	if d, ok := c.departure(); ok {
		return d.place()
	}
	return nil
}

// departure returns where the connection has gone, if it has moved.
func (c *Conn) departure() (*departure, bool) {
	if !c.session.isSession() {
		return nil, false
	}
	c.mu.Lock()
	hasMoved := false
	if m := c.session.moving; m != nil {
		_, hasMoved = m.owner.To()
	}
	c.mu.Unlock()
	if !hasMoved {
		return nil, false
	}
	return c.session.handler.worker.departures.find(c.id)
}
