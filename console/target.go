package console

import (
	"context"
	"iter"
	"net/http"
	"strings"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/wire"
)

// target is what a request names: a connection, or a user or a group.
type target struct {
	conn *wspush.Conn // nil if it is a user or a group

	recipients recipients // nil if it is a connection
	kind       string     // user or group
	name       string
}

// recipients is a *wspush.Recipients.
type recipients interface {
	Push(ctx context.Context, typ wspush.MessageType, data []byte, opts ...wspush.PushOption) (wspush.Outcomes, error)
	Disconnect(ctx context.Context, code int, reason string) (closed int, err error)
	Members(ctx context.Context) iter.Seq2[wspush.Member, error]
}

// target finds what the request names.
func (c *Console) target(req *request) (target, *refusal) {
	if several := req.User != nil && req.Group != nil; several || req.Connection != "" && (req.User != nil || req.Group != nil) {
		return target{}, &refusal{http.StatusBadRequest, "the request must name a connection, a user or a group, and not several of them"}
	}
	to := target{}
	switch {
	case req.User != nil:
		to = target{kind: "user", name: *req.User, recipients: c.worker.User(*req.User)}
	case req.Group != nil:
		to = target{kind: "group", name: *req.Group, recipients: c.worker.Group(*req.Group)}
	default:
		var ok bool
		if to.conn, ok = c.worker.Conn(c.handles.id(req.Connection)); !ok {
			return to, &refusal{http.StatusGone, "this console knows no such connection: it has ended, or belongs to another worker"}
		}
		return to, nil
	}
	if err := wire.CheckName(to.name); err != nil { // before the name is logged
		return to, &refusal{http.StatusBadRequest, strings.TrimPrefix(err.Error(), "wspush: ")}
	}
	return to, nil
}

// attrs is how the log names the target.
func (to *target) attrs() []any {
	if to.conn != nil {
		return []any{"conn", to.conn.String()}
	}
	return []any{"kind", to.kind, "name", to.name}
}
