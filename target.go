package wspush

import (
	"net/http"

	"github.com/wspush/wspush/internal/address"
)

// Target is whom a request at the push endpoint is about. Of the three, a request names one; that to join or leave a group names an ID
// and a Group. A bulk request and a probe name none.
type Target struct {
	ID    string // of a connection, in whatever letter case, or a sealed ID
	User  string
	Group string
}

// TargetOf returns whom a request at the push endpoint is about, as the worker itself reads it. It is for AuthorizePush: a name may stand
// in the path, with or without escapes, or in the query, so that code of one's own would be easy to deceive. An error means that the worker
// will refuse the request whatever AuthorizePush says.
func TargetOf(r *http.Request) (Target, error) {
	m, ok, err := address.ReadMembers(r)
	switch {
	case err != nil:
		return Target{}, err
	case ok && m.IsGroup:
		return Target{ID: m.Connection.ID, Group: m.Name}, nil
	case ok:
		return Target{User: m.Name}, nil
	}
	if _, isBulk := address.ReadBulk(r); isBulk || address.IsProbe(r) {
		return Target{}, nil
	}
	t, err := address.Read(r)
	if err != nil {
		return Target{}, err
	}
	return Target{ID: t.ID}, nil
}
