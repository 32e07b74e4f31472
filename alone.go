package wspush

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// alone caches whether this worker's Cluster address leads to this worker and no other. Only then does a sealed ID with that
// address but another instance prove that its connection is gone: if several workers were given a load balancer's address, the
// connection may be alive on one of the others.
type alone struct {
	turn  chan struct{} // holds an element while one goroutine probes; guards the fields below
	known bool
	err   error     // why it is not alone, or could not find out; nil if it is alone
	at    time.Time // the time of the probe
}

const (
	aloneProbes  = 4 // each on its own connection: a load balancer would hardly choose the same worker each time
	aloneTimeout = 5 * time.Second
	aloneAgain   = 10 * time.Second // before another probe, if it was not alone
)

// checkAlone returns nil if the worker's address leads to it alone, errLoop if not, and ErrUnreachable if the worker cannot
// reach itself there.
func (c *cluster) checkAlone(ctx context.Context) error {
	a := &c.alone
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.known && (a.err == nil || time.Since(a.at) < aloneAgain) {
		return a.err
	}
	err := c.probe(ctx)
	if ctx.Err() != nil { // then err says nothing about the address
		return ctx.Err()
	}
	a.known, a.err, a.at = true, err, time.Now()
	return err
}

func (c *cluster) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, aloneTimeout)
	defer cancel()
	transport := c.transport.Clone()
	transport.DisableKeepAlives = true
	defer transport.CloseIdleConnections()
	for range aloneProbes {
		out := &outgoing{kind: hopProbe, method: http.MethodPost, place: &seal.Place{Address: c.address}, path: "/", name: wire.Marker, header: http.Header{}}
		resp, instance, err := c.do(ctx, transport, out)
		switch {
		case errors.Is(err, errNotWorker):
			return errLoop
		case err != nil:
			return ErrUnreachable
		}
		resp.Body.Close()
		if instance != c.instance {
			return errLoop
		}
	}
	return nil
}
