package console

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wspush/wspush"
)

// entry is what does not change of a connection. It is made once, and never written to again.
type entry struct {
	conn     *wspush.Conn
	number   uint64 // of the table's, so that a page need not be told a handle again and again
	remote   string
	path     string
	since    time.Time
	label    string
	haystack string // what filters look in, in lower case
}

// maxText is how many bytes of what a client or the application says of itself are shown.
const maxText = 200

// newEntry asks label, which is the application's, what it calls conn.
func newEntry(conn *wspush.Conn, number uint64, label func(*wspush.Conn) string) *entry {
	info := conn.Info()
	e := &entry{conn: conn, number: number, remote: info.RemoteAddr, path: info.Path, since: info.ConnectedAt, label: shorten(label(conn))}
	e.haystack = strings.ToLower(strings.Join([]string{
		conn.String(), e.label, shorten(info.RemoteAddr), shorten(info.Path), shorten(info.UserAgent), info.Subprotocol,
	}, "\n"))
	return e
}

// shorten returns at most the first maxText bytes of s, in whole characters.
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

// state is what changes of a connection.
type state struct {
	LastActive int64 `json:"active"`  // milliseconds since 1970
	RoundTrip  int64 `json:"rtt"`     // microseconds; 0: not known
	Pending    int   `json:"pending"` // bytes
}

func (e *entry) state() state {
	info := e.conn.Info()
	return state{info.LastActive.UnixMilli(), info.RoundTrip.Microseconds(), info.Pending}
}

// table knows the entries of all live connections. It is for one goroutine.
type table struct {
	label   func(*wspush.Conn) string
	last    uint64 // number given to an entry
	entries map[*wspush.Conn]*entry
}

func newTable(label func(*wspush.Conn) string) *table {
	return &table{label: label, entries: make(map[*wspush.Conn]*entry)}
}

// look returns the entries of the connections that are live now, in no order.
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

// row is a connection as a page is told of it: what does not change only where the page has not been told yet.
type row struct {
	Number uint64 `json:"n"`
	*identity
	*details
	state
}

type identity struct {
	Handle      string `json:"handle"`
	ID          string `json:"id"` // its first 8 digits
	Label       string `json:"label,omitempty"`
	RemoteAddr  string `json:"remote"`
	Path        string `json:"path"`
	ConnectedAt int64  `json:"since"` // milliseconds since 1970
}

// details are told only of the connection that the page looks at.
type details struct {
	UserAgent   string `json:"userAgent"`
	Subprotocol string `json:"subprotocol"`
}

func (e *entry) identity(h handles) *identity {
	c := e.conn
	return &identity{h.of(c.ID()), c.String(), e.label, shorten(e.remote), shorten(e.path), e.since.UnixMilli()}
}

func (e *entry) details() *details {
	info := e.conn.Info()
	return &details{shorten(info.UserAgent), info.Subprotocol}
}

// longest is how long nobody looks at most: what took so long may have waited, as Label does for a database, and what a page shows
// as live must be so.
const longest = 10 * time.Second

// pace is how long to wait after work that took this long, so that it takes at most a twentieth of one processor, or is done
// every 10 s.
func pace(took, least time.Duration) time.Duration { return min(max(least, 20*took), longest) }
