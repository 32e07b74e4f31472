package console

import (
	"cmp"
	"slices"
	"strings"
)

// maxRows is how many connections a page is shown: the first ones by its filter and its order.
const maxRows = 200

// view is what a page asks for.
type view struct {
	Seq    uint64 `json:"seq"`    // grows with each; the answers say which they are to
	Filter string `json:"filter"` // words, each of which must occur somewhere, in any case
	Sort   string `json:"sort"`   // a column; "" is since
	Desc   bool   `json:"desc"`
	Watch  string `json:"watch"` // handle of the connection whose details are shown, or ""
}

// candidate is a connection that may be among those shown, with its state at the time.
type candidate struct {
	*entry
	state
}

// order returns the comparison of the column, or false if there is no such column.
func order(column string) (compare func(a, b candidate) int, ok bool) {
	switch column {
	case "id":
		return func(a, b candidate) int { return 0 }, true // byID follows
	case "label":
		return func(a, b candidate) int { return strings.Compare(a.label, b.label) }, true
	case "remote":
		return func(a, b candidate) int { return strings.Compare(a.conn.RemoteAddr(), b.conn.RemoteAddr()) }, true
	case "path":
		return func(a, b candidate) int { return strings.Compare(a.conn.Path(), b.conn.Path()) }, true
	case "since", "":
		return func(a, b candidate) int { return b.conn.ConnectedAt().Compare(a.conn.ConnectedAt()) }, true // by age
	case "active":
		return func(a, b candidate) int { return cmp.Compare(b.LastActive, a.LastActive) }, true // by silence
	case "rtt":
		return func(a, b candidate) int { return cmp.Compare(a.RoundTrip, b.RoundTrip) }, true
	case "pending":
		return func(a, b candidate) int { return cmp.Compare(a.Pending, b.Pending) }, true
	}
	return nil, false
}

// isValid reports whether a page of ours may ask for this.
func (v *view) isValid() bool {
	_, ok := order(v.Sort)
	return ok
}

// pick returns the first maxRows of the entries that match, in order, and how many match.
func (v *view) pick(entries []*entry) (first []candidate, matches int) {
	compare, _ := order(v.Sort)
	byColumn := func(a, b candidate) int {
		c := compare(a, b)
		if c == 0 { // so that equal ones stay where they are
			c = strings.Compare(a.conn.ID(), b.conn.ID())
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
		c := candidate{e, e.state()}
		// Most come after the last of those that are kept, and cost one comparison.
		if len(first) == maxRows && byColumn(c, first[maxRows-1]) >= 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(first, c, byColumn)
		first = slices.Insert(first[:min(len(first), maxRows-1)], at, c)
	}
	return first, matches
}

func contains(haystack string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(haystack, word) {
			return false
		}
	}
	return true
}
