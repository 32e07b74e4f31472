package console

import (
	"cmp"
	"slices"
	"strings"
)

// maxRows is how many connections a page shows: the first ones by its filter and order.
const maxRows = 200

// view is what a page asks to see.
type view struct {
	Seq    uint64 `json:"seq"`    // grows with each request; updates echo it
	Filter string `json:"filter"` // words that must all occur, ignoring case
	Sort   string `json:"sort"`   // a column; "" means "since"
	Desc   bool   `json:"desc"`
	Watch  string `json:"watch"` // handle of the connection whose details are shown; "" for none
}

// candidate is a connection that may be among those shown.
type candidate struct {
	*entry
	state // left zero while only unchanging parts are compared
}

// column is a sort order.
type column struct {
	compare func(a, b candidate) int
	byState bool // compare needs the state, which is costly to read
}

// columnOf returns the column with this name, or false if there is none.
func columnOf(name string) (c column, ok bool) {
	switch name {
	case "id":
		c.compare = func(a, b candidate) int { return strings.Compare(a.conn.ID(), b.conn.ID()) }
	case "label":
		c.compare = func(a, b candidate) int { return strings.Compare(a.label, b.label) }
	case "remote":
		c.compare = func(a, b candidate) int { return strings.Compare(a.remote, b.remote) }
	case "path":
		c.compare = func(a, b candidate) int { return strings.Compare(a.path, b.path) }
	case "since", "": // age, youngest first
		c.compare = func(a, b candidate) int { return b.since.Compare(a.since) }
	case "active": // silence, shortest first
		c = column{func(a, b candidate) int { return cmp.Compare(b.LastActive, a.LastActive) }, true}
	case "rtt":
		c = column{func(a, b candidate) int { return cmp.Compare(a.RoundTrip, b.RoundTrip) }, true}
	case "pending":
		c = column{func(a, b candidate) int { return cmp.Compare(a.Pending, b.Pending) }, true}
	case "session":
		c = column{compareSessions, true}
	case "buffered":
		c = column{func(a, b candidate) int {
			return cmp.Or(cmp.Compare(a.BufferedBytes, b.BufferedBytes), cmp.Compare(a.Buffered, b.Buffered))
		}, true}
	}
	return c, c.compare != nil
}

// compareSessions has those first that are suspended, the longest first; then those that are connected; and then what is no session.
func compareSessions(a, b candidate) int {
	rank := func(c candidate) int {
		switch {
		case c.IsSuspended:
			return 0
		case c.Session > 0:
			return 1
		}
		return 2
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Session, b.Session))
}

// isValid reports whether the view is one that the console's page may ask for.
func (v *view) isValid() bool {
	_, ok := columnOf(v.Sort)
	return ok
}

// pick returns the first maxRows of the matching entries, in order, and the number of matches.
func (v *view) pick(entries []*entry) (first []candidate, matches int) {
	column, _ := columnOf(v.Sort)
	compare := func(a, b candidate) int {
		c := column.compare(a, b)
		if c == 0 { // keeps the order of equal ones stable
			c = cmp.Compare(a.number, b.number)
		}
		if v.Desc {
			return -c
		}
		return c
	}
	words := strings.Fields(strings.ToLower(v.Filter))
	for _, e := range entries {
		if !contains(e.haystack, words) {
			continue
		}
		matches++
		c := candidate{entry: e}
		if column.byState {
			c.state = e.state()
		}
		first = keepFirst(first, c, compare)
	}
	if !column.byState {
		for i := range first {
			first[i].state = first[i].entry.state()
		}
	}
	return first, matches
}

// keepFirst inserts c into first in order and drops the last one beyond maxRows. Most candidates come after that one and cost a
// single comparison, where sorting everything would cost many each.
func keepFirst(first []candidate, c candidate, compare func(a, b candidate) int) []candidate {
	if len(first) == maxRows && compare(c, first[maxRows-1]) >= 0 {
		return first
	}
	at, _ := slices.BinarySearchFunc(first, c, compare)
	return slices.Insert(first[:min(len(first), maxRows-1)], at, c)
}

func contains(haystack string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(haystack, word) {
			return false
		}
	}
	return true
}
