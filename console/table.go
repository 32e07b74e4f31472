package console

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wspush/wspush"
)

// entry is the unchanging part of a connection. It is immutable. Of a session, some of it changes with each WebSocket: here is what it was when it
// was first seen, by which rows are sorted and filtered.
type entry struct {
	conn     *wspush.Conn
	number   uint64 // the table's own, so that updates need not repeat the handle
	remote   string
	path     string
	since    time.Time
	user     string // whole: by it a page can ask who else is there
	label    string
	haystack string // the text that filters search, in lower case
}

// maxText bounds, in bytes, each text from a client or the application.
const maxText = 200

// newEntry makes an entry for conn, calling label, which is the application's.
func newEntry(conn *wspush.Conn, number uint64, label func(*wspush.Conn) string) *entry {
	info := conn.Info()
	e := &entry{
		conn: conn, number: number, remote: info.RemoteAddr, path: info.Path, since: info.ConnectedAt, user: info.User, label: shorten(label(conn)),
	}
	e.haystack = strings.ToLower(strings.Join([]string{
		conn.String(), e.label, e.user, shorten(info.RemoteAddr), shorten(info.Path), shorten(info.UserAgent), info.Subprotocol,
	}, "\n"))
	return e
}

// shorten cuts s to at most maxText bytes, at a character boundary.
func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// state is the changing part of a connection.
type state struct {
	LastActive int64 `json:"active"`  // milliseconds since 1970
	RoundTrip  int64 `json:"rtt"`     // microseconds; 0: not known
	Pending    int   `json:"pending"` // bytes

	// Of a session; for others, and if they are 0, not sent.
	Session       int64  `json:"session,omitempty"`       // since when it is what it is, connected or suspended: milliseconds since 1970
	IsSuspended   bool   `json:"suspended,omitempty"`     //
	Buffered      int    `json:"buffered,omitempty"`      // messages
	BufferedBytes int    `json:"bufferedBytes,omitempty"` //
	Client        string `json:"client,omitempty"`        // its address, if it has come back from another one than the first
}

func (e *entry) state() state {
	info := e.conn.Info()
	s := state{LastActive: info.LastActive.UnixMilli(), RoundTrip: info.RoundTrip.Microseconds(), Pending: info.Pending}
	if info.Session {
		s.Session, s.IsSuspended, s.Buffered, s.BufferedBytes = info.Since.UnixMilli(), info.Suspended, info.Buffered, info.BufferedBytes
		if info.RemoteAddr != e.remote {
			s.Client = shorten(info.RemoteAddr)
		}
	}
	return s
}

// table holds the entries of all live connections. It is not safe for concurrent use.
type table struct {
	label   func(*wspush.Conn) string
	last    uint64 // number given out
	entries map[*wspush.Conn]*entry
}

func newTable(label func(*wspush.Conn) string) *table {
	return &table{label: label, entries: make(map[*wspush.Conn]*entry)}
}

// look returns the entries of the currently live connections, in no particular order.
func (t *table) look(worker *wspush.Worker) []*entry {
	live := make([]*entry, 0, len(t.entries)+len(t.entries)/8)
	for conn := range worker.Conns() {
		e := t.entries[conn]
		if e == nil {
			t.last++
			e = newEntry(conn, t.last, t.label)
			t.entries[conn] = e
		}
		live = append(live, e)
	}
	if len(live) < len(t.entries) { // some have ended
		t.entries = make(map[*wspush.Conn]*entry, len(live))
		for _, e := range live {
			t.entries[e.conn] = e
		}
	}
	return live
}

// row is a connection in an update. It includes the unchanging parts only the first time.
type row struct {
	Number uint64 `json:"n"`
	*identity
	*details
	state
}

type identity struct {
	Handle      string `json:"handle"`
	ID          string `json:"id"` // the first 8 digits
	Label       string `json:"label,omitempty"`
	RemoteAddr  string `json:"remote"`
	Path        string `json:"path"`
	ConnectedAt int64  `json:"since"` // milliseconds since 1970
}

// details are sent only for the connection that the page is watching.
type details struct {
	UserAgent   string  `json:"userAgent"`
	Subprotocol string  `json:"subprotocol"`
	User        string  `json:"user"`
	Groups      *groups `json:"groups,omitempty"` // only if the page does not know them
}

// groups are those that a connection is in.
type groups struct {
	Names []string `json:"names"` // sorted, the first maxMembers
	Total int      `json:"total"`
}

func (e *entry) identity(h handles) *identity {
	c := e.conn
	return &identity{h.of(c.ID()), c.String(), e.label, shorten(e.remote), shorten(e.path), e.since.UnixMilli()}
}

func (e *entry) details() *details {
	info := e.conn.Info()
	return &details{
		UserAgent: shorten(info.UserAgent), Subprotocol: info.Subprotocol, User: e.user,
		Groups: &groups{info.Groups[:min(len(info.Groups), maxMembers)], len(info.Groups)},
	}
}

// longest is the longest pause between looks. A look that took long may only have been waiting, say for a database in Label,
// and a page that claims to be live must stay so.
const longest = 10 * time.Second

// pace returns the pause after work that took this long, so that it uses at most a twentieth of one processor, or happens every
// 10 s.
func pace(took, least time.Duration) time.Duration { return min(max(least, 20*took), longest) }
