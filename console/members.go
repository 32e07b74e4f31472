package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/wire"
)

const (
	maxMembers  = 1000             // told of to a page at once; and of the groups of one connection
	lookTimeout = 10 * time.Second // for all workers to say who is there
)

// membersAnswer is the response to who is there.
type membersAnswer struct {
	Members []memberRow `json:"members"` // maxMembers at most, those that became members last first
	Total   int         `json:"total"`
	Detail  string      `json:"detail,omitempty"` // if there may be others: why that is not known
}

// memberRow is a member, and its connection, if this worker has it.
type memberRow struct {
	MemberSince int64 `json:"memberSince"` // milliseconds since 1970
	*identity
	*state
}

// serveMembers answers who is there. It is a POST request, since a name in a URL would be in logs and histories.
func (c *Console) serveMembers(w http.ResponseWriter, r *http.Request) {
	_, to, refused := c.read(w, r)
	if refused == nil && to.recipients == nil {
		refused = &refusal{http.StatusBadRequest, "the request names neither a user nor a group"}
	}
	if refused != nil {
		http.Error(w, refused.detail, refused.status)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	writeJSON(w, c.members(ctx, to))
}

// members asks who is there.
func (c *Console) members(ctx context.Context, to target) (a membersAnswer) {
	var found []wspush.Member
	for m, err := range to.recipients.Members(ctx) {
		if err != nil {
			a.Detail = membersWords(err)
			break
		}
		if a.Total++; len(found) < maxMembers {
			found = append(found, m)
		}
	}
	slices.SortFunc(found, func(a, b wspush.Member) int { return b.Since.Compare(a.Since) })
	entries := c.entriesOf(to, found)
	a.Members = make([]memberRow, len(found))
	for i, m := range found {
		a.Members[i].MemberSince = m.Since.UnixMilli()
		if e := entries[m.ID]; e != nil {
			state := e.state()
			a.Members[i].identity, a.Members[i].state = e.identity(c.handles), &state
		}
	}
	return a
}

// membersWords says why it is not known who else is there.
func membersWords(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("Not everybody was found within %.0f s.", lookTimeout.Seconds())
	}
	return sentence(err.Error())
}

// entriesOf finds those members that are connections of this worker, by the ID that a Member has.
func (c *Console) entriesOf(to target, found []wspush.Member) map[string]*entry {
	conns := make(map[*wspush.Conn]string) // the Member's ID
	sealed := make(map[string]bool)        // IDs that only their own connection can tell
	for _, m := range found {
		if conn, ok := c.worker.Conn(m.ID); ok {
			conns[conn] = m.ID
		} else if wire.IsSealedID(m.ID) {
			sealed[m.ID] = true
		}
	}
	if len(sealed) > 0 {
		for conn := range c.worker.Conns() {
			if !to.has(conn) { // seal only what may be among them
				continue
			}
			if id := conn.SealedID(); sealed[id] {
				conns[conn] = id
			}
		}
	}
	entries := make(map[string]*entry, len(conns))
	s, _ := c.feed.now()
	for _, e := range s.entries { // they have their labels, which may be slow to get
		if id, ok := conns[e.conn]; ok {
			entries[id] = e
			delete(conns, e.conn)
		}
	}
	for conn, id := range conns {
		entries[id] = newEntry(conn, 0, c.labelOf)
	}
	return entries
}

// has reports whether a connection says of itself that it is a member.
func (to *target) has(conn *wspush.Conn) bool {
	if to.kind == "user" {
		return conn.User() == to.name
	}
	_, ok := slices.BinarySearchFunc(conn.Groups(), to.name, strings.Compare)
	return ok
}
