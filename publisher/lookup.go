package publisher

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/wire"
)

// Info is what a worker knows about a connection. Fields that wspush.Info has as well mean the same there, but for ResumableFor. In place of
// RemoteAddr there is SourceIP, without a port; ID is additional, and Pending is missing, as are User and Groups.
type Info struct {
	ID          string        // the connection's, even if the address has a sealed ID; anyone who knows it can push, so keep it out of logs
	SourceIP    string        // the client's address as the worker sees it, without a port
	UserAgent   string        // of the handshake; anything the client chose to say, cut to 512 bytes
	Path        string        // at which the client connected
	Subprotocol string        // that was negotiated, or ""
	ConnectedAt time.Time     // when the handshake was done
	LastActive  time.Time     // when the last byte came from the client, or the last message was written to it
	RoundTrip   time.Duration // of the latest ping that the client answered; 0 before the first

	// Session says that the connection is one: it outlives its WebSocket. Suspended says that it has none at the moment, and Since since when
	// that is, or since when it has the present one. Without a session, Since is ConnectedAt.
	Session   bool
	Suspended bool
	Since     time.Time

	// ResumableFor is how long a suspended session still waits for its client, in whole seconds, rounded up; 0 unless Suspended.
	ResumableFor time.Duration

	// Buffered and BufferedBytes are how many messages, and how many bytes of them, a session has that its client is not known to have.
	Buffered, BufferedBytes int
}

var errInfo = errors.New("the answer is not a worker's description of a connection")

// Lookup asks the worker about a connection. The errors are those of Push except ErrUnknown: nothing changes, so all alternatives
// of the address are tried, and ErrUnreachable means that none gave an answer that makes sense.
func (c *Client) Lookup(ctx context.Context, address string) (Info, error) {
	a, err := c.do(ctx, address, call{method: http.MethodGet, success: http.StatusOK, reads: true})
	if err != nil {
		return Info{}, err
	}
	var info struct {
		ConnectionID              string
		ConnectedAt, LastActiveAt time.Time
		Identity                  struct{ SourceIP, UserAgent string }
		Path, Subprotocol         string
		RttMs                     float64
		State                     string
		Since                     time.Time
		Buffered                  *struct{ Messages, Bytes, Seconds int }
	}
	if err := json.Unmarshal(a.body, &info); err != nil || !wire.IsID(info.ConnectionID) {
		return Info{}, &Error{Status: http.StatusOK, is: ErrUnreachable, cause: errInfo}
	}
	i := Info{
		ID: info.ConnectionID, SourceIP: info.Identity.SourceIP, UserAgent: info.Identity.UserAgent,
		Path: info.Path, Subprotocol: info.Subprotocol, ConnectedAt: info.ConnectedAt, LastActive: info.LastActiveAt,
		RoundTrip: bulk.Answer{RttMs: info.RttMs}.RoundTrip(), Since: info.ConnectedAt,
	}
	if b := info.Buffered; b != nil {
		if !isCount(b.Messages) || !isCount(b.Seconds) || b.Bytes < 0 || info.Since.IsZero() {
			return Info{}, &Error{Status: http.StatusOK, is: ErrUnreachable, cause: errInfo}
		}
		i.Session, i.Suspended, i.Since = true, info.State == "suspended", info.Since
		i.ResumableFor = time.Duration(b.Seconds) * time.Second
		i.Buffered, i.BufferedBytes = b.Messages, b.Bytes
	}
	return i, nil
}

// Disconnect closes a connection with a code and a reason: 1000 to 1003, 1007 to 1009, 1011 to 1014 or 3000 to 4999, and at most
// 123 bytes of UTF-8. Anything else is an error before anything is sent. The other errors are those of Push; after ErrUnknown
// the connection may have been closed.
func (c *Client) Disconnect(ctx context.Context, address string, code int, reason string) error {
	query, err := closeQuery(code, reason)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, address, call{method: http.MethodDelete, query: query, success: http.StatusNoContent})
	return err
}

// closeQuery returns the query of a request to close connections.
func closeQuery(code int, reason string) (string, error) {
	if err := wire.CheckClose(code, reason); err != nil {
		return "", err
	}
	query := url.Values{"code": {strconv.Itoa(code)}}
	if reason != "" {
		query.Set("reason", reason)
	}
	return query.Encode(), nil
}
