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

// Info is what a worker knows of a connection.
type Info struct {
	ConnectionID string    // also if it was asked for with a token; it is the right to push, and belongs in no log
	ConnectedAt  time.Time // when the handshake was done
	LastActiveAt time.Time // when the last byte came from the client, or the last message went to it
	SourceIP     string    // the client's address, as the worker sees it
	UserAgent    string    // the client's words
	Path         string    // at which it connected
	Subprotocol  string
	RoundTrip    time.Duration // of the latest ping that was answered; 0 before the first
}

var errInfo = errors.New("the answer is not what a worker says of a connection")

// Lookup asks the worker about a connection. The errors are those of Push, but never ErrUnknown: nothing changes, so the
// alternatives are all tried, and ErrUnreachable says that none gave an answer that makes sense.
func (c *Client) Lookup(ctx context.Context, address string) (Info, error) {
	_, body, err := c.do(ctx, address, call{method: http.MethodGet, success: http.StatusOK, reads: true})
	if err != nil {
		return Info{}, err
	}
	var info struct {
		ConnectionID              string
		ConnectedAt, LastActiveAt time.Time
		Identity                  struct{ SourceIP, UserAgent string }
		Path, Subprotocol         string
		RttMs                     float64
	}
	if err := json.Unmarshal(body, &info); err != nil || !wire.IsID(info.ConnectionID) {
		return Info{}, &Error{Status: http.StatusOK, is: ErrUnreachable, cause: errInfo}
	}
	return Info{
		ConnectionID: info.ConnectionID, ConnectedAt: info.ConnectedAt, LastActiveAt: info.LastActiveAt,
		SourceIP: info.Identity.SourceIP, UserAgent: info.Identity.UserAgent, Path: info.Path, Subprotocol: info.Subprotocol,
		RoundTrip: bulk.Answer{RttMs: info.RttMs}.RoundTrip(),
	}, nil
}

// Close closes a connection with a code and a reason: 1000 to 1003, 1007 to 1009, 1011 to 1014, or 3000 to 4999, and at most 123
// bytes of UTF-8. The errors are those of Push; after ErrUnknown the connection may have been closed.
func (c *Client) Close(ctx context.Context, address string, code int, reason string) error {
	if err := wire.CheckClose(code, reason); err != nil {
		return err
	}
	query := url.Values{"code": {strconv.Itoa(code)}}
	if reason != "" {
		query.Set("reason", reason)
	}
	_, _, err := c.do(ctx, address, call{method: http.MethodDelete, query: query.Encode(), success: http.StatusNoContent})
	return err
}
