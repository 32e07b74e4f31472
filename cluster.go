package wspush

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/sent"
	"github.com/wspush/wspush/internal/wire"
)

// Cluster is what workers share so that publishers can push through any of them: see [WorkerOptions].Cluster. Their clocks
// may differ by 5 minutes: beyond that, a worker's requests are refused by the others.
type Cluster struct {
	// Keys are secrets shared by all workers: each at least 32 random bytes. The first key seals; all of them open. To
	// change keys, add the new one at the end on every worker, then move it to the front on every worker, then drop the old
	// one: addresses that it sealed are refused with 403 from then on. One key is good for four billion connections.
	// NewWorker refuses keys that can only be a mistake, such as the zero bytes that an unset variable leaves, or a repeated word.
	//
	// Anyone who has a key can push to every connection of every worker, bypassing AuthorizePush, and make workers send
	// requests to any host.
	Keys [][]byte

	// Address is where the other workers reach this worker's push endpoint, written like an element of
	// WorkerOptions.Advertise. It must lead to this worker alone, not to a load balancer. The default is the first address
	// that the worker advertises; if that is on loopback, NewWorker warns, because workers on other machines cannot reach it.
	// Where all workers are on one machine, set Address, and there is no warning.
	Address string

	// TLS is for requests to workers whose Address is https: set RootCAs if their certificates are not from a public
	// authority, and Certificates if they require one. The default trusts the system's authorities.
	TLS *tls.Config
}

// cluster is one worker's part in a Cluster.
type cluster struct {
	keys      *seal.Keys
	address   string // where the others reach this worker
	instance  uint64 // identifies this instance of the worker: every start makes a new one
	transport *http.Transport
	slots     chan struct{} // holds an element for each request being forwarded
	hops      chan struct{} // holds an element for each bulk request to another worker
	wholes    bulk.Wholes   // by address: bulk requests to other workers
	alone     alone
}

const (
	maxForwards      = 1024             // requests in progress, and as many bulk requests
	forwardDial      = 3 * time.Second  // to reach another worker
	forwardWrite     = 10 * time.Second // for each write
	forwardIdle      = time.Minute      // how long a connection is kept: shorter than the other worker keeps it
	forwardKept      = 64               // connections to each worker
	forwardMargin    = 5 * time.Second  // for the answer, beyond the push's own timeout
	maxAnswer        = 64 << 10         // from another worker, except to bulk requests
	maxAnswerHeaders = 16 << 10
)

// newCluster makes a worker's part in a cluster. bases are the addresses that it advertises, and port is its listener's.
func newCluster(o *Cluster, bases []address.Base, scheme, port string, pushTimeout time.Duration) (*cluster, error) {
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
	c := &cluster{keys: keys, address: own.String(), slots: make(chan struct{}, maxForwards), hops: make(chan struct{}, maxForwards)}
	c.alone.turn = make(chan struct{}, 1)
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	c.instance = binary.BigEndian.Uint64(random[:])
	if _, err := keys.Seal(seal.Place{Address: c.address, ID: nilID}); err != nil {
		return nil, fmt.Errorf("wspush: Cluster.Address: %w", err)
	}
	c.transport = &http.Transport{
		DialContext:            dialForward,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: forwardWrite / 2, PingTimeout: forwardWrite / 2},
		TLSClientConfig:        o.TLS,
		TLSHandshakeTimeout:    forwardDial,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    forwardKept,
		IdleConnTimeout:        forwardIdle,
		MaxResponseHeaderBytes: maxAnswerHeaders,
	}
	if pushTimeout > 0 {
		c.transport.ResponseHeaderTimeout = max(pushTimeout, maxTimeout) + forwardMargin
	}
	return c, nil
}

// warnOfLoopback tells the operator if only workers on this machine can reach this one. That may be what is meant: Address says so.
func (o *Cluster) warnOfLoopback(log *slog.Logger, first address.Base) {
	if o.Address == "" && first.IsLoopback() {
		log.Warn("wspush: only workers on this machine can reach this one: set Cluster.Address", "address", first.String())
	}
}

// dialForward connects to another worker.
func dialForward(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: forwardDial}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return sent.Conn(forwardConn{conn}), nil
}

// forwardConn bounds each write to forwardWrite: the other worker may have stopped reading, and the transport bounds only
// the wait for an answer, after it has written everything.
type forwardConn struct{ net.Conn }

func (c forwardConn) Write(p []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(forwardWrite))
	return c.Conn.Write(p)
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
	if err == errEarlierInstance {
		if err = w.cluster.checkAlone(ctx); err == nil {
			err = ErrGone
		}
	}
	return conn, elsewhere, err
}

// errEarlierInstance means that an earlier instance of this worker seems to have made the sealed ID. If it did, the connection
// has ended.
var errEarlierInstance = errors.New("wspush: the sealed ID has the address of this worker, but names another instance")

// find is locate, but returns errEarlierInstance instead of waiting.
func (w *Worker) find(name string) (conn *Conn, elsewhere *seal.Place, err error) {
	if c, ok := w.Conn(name); ok {
		return c, nil, nil
	}
	if !wire.IsSealedID(name) {
		return nil, nil, w.gone()
	}
	if w.cluster == nil {
		return nil, nil, errNoKeys
	}
	place, err := w.cluster.keys.Open(name)
	switch {
	case err != nil:
		return nil, nil, errForeign
	case place.Instance == w.cluster.instance:
		if c, ok := w.Conn(place.ID); ok {
			return c, nil, nil
		}
		return nil, nil, w.gone()
	case w.roster.isEmpty():
		return nil, nil, ErrShutdown
	case place.Address == w.cluster.address:
		return nil, nil, errEarlierInstance
	}
	return nil, &place, nil
}
