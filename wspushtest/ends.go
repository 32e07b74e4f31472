package wspushtest

import (
	"context"
	"sync"

	"github.com/wspush/wspush"
)

// ends are the connections of a Server that have ended, and whose OnDisconnect has returned.
type ends struct {
	mu      sync.Mutex // guards what follows
	reasons map[string]*wspush.CloseError
	changed chan struct{} // closed, and replaced, with each end
}

func newEnds() *ends {
	return &ends{reasons: make(map[string]*wspush.CloseError), changed: make(chan struct{})}
}

// after returns an OnDisconnect that calls the application's, which may be nil, and then notes the end.
func (e *ends) after(onDisconnect func(*wspush.Conn, error)) func(*wspush.Conn, error) {
	return func(c *wspush.Conn, reason error) {
		defer e.note(c, reason) // also if it panics
		if onDisconnect != nil {
			onDisconnect(c, reason)
		}
	}
}

func (e *ends) note(c *wspush.Conn, reason error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := reason.(*wspush.CloseError)
	e.reasons[c.ID()] = end
	if sealed := c.SealedID(); sealed != "" { // which a client may have in place of the ID
		e.reasons[sealed] = end
	}
	close(e.changed)
	e.changed = make(chan struct{})
}

// wait returns why a connection has ended, or nil if ctx ends first.
func (e *ends) wait(ctx context.Context, id string) *wspush.CloseError {
	for {
		e.mu.Lock()
		end, changed := e.reasons[id], e.changed
		e.mu.Unlock()
		if end != nil {
			return end
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// ExpectDisconnect waits until OnDisconnect has returned for the connection of the client, which must have an ID, and fails the test, as the
// client's methods do, unless that happens within the client's timeout and for this cause. It returns what OnDisconnect was called with.
func (s *Server) ExpectDisconnect(of *Client, cause wspush.Cause) *wspush.CloseError {
	of.tb.Helper()
	if of.ID == "" {
		of.fatalf("waiting for OnDisconnect: %s", noID)
		return nil
	}
	ctx, cancel := within(of.timeout)
	defer cancel()
	end := s.ends.wait(ctx, of.ID)
	switch {
	case end == nil:
		of.fatalf("want OnDisconnect for %s; it has not returned within %v", cause, of.timeout)
	case end.Cause != cause:
		of.fatalf("want OnDisconnect for %s; it was called for %s: %v", cause, end.Cause, end)
	}
	return end
}
