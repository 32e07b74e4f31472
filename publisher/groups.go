package publisher

import (
	"context"
	"net/http"
	"net/url"

	"github.com/wspush/wspush/internal/wire"
)

// ErrTooManyGroups means that the connection is in as many groups as the worker's MaxGroups allows.
var ErrTooManyGroups = wire.ErrTooManyGroups

// Join makes a connection, given by its address or ID as in [Client.Push], a member of a group. It does nothing if the connection is one
// already. The worker must have AuthorizePush, as for whatever names a group.
//
// A name is UTF-8 of 1 to 256 bytes without control characters and "/"; others get an error before anything is sent. The other errors are
// ErrTooManyGroups, and those of Push; after ErrUnknown the connection may have joined.
func (c *Client) Join(ctx context.Context, address, group string) error {
	return c.change(ctx, http.MethodPut, address, group)
}

// Leave ends what Join, or HandlerOptions.Groups of the worker, has begun. It does nothing if the connection is not in the group. The errors
// are those of Join.
func (c *Client) Leave(ctx context.Context, address, group string) error {
	return c.change(ctx, http.MethodDelete, address, group)
}

func (c *Client) change(ctx context.Context, method, address, group string) error {
	if err := wire.CheckName(group); err != nil {
		return err
	}
	segment, query := nameIn(group)
	k := call{method: method, query: query, success: http.StatusNoContent}
	k.url = func(t target) *url.URL { return t.membership(segment) }
	_, err := c.do(ctx, address, k)
	return err
}
