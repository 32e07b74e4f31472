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

// candidate is a connection that may be among those shown.
type candidate struct {
	*entry
	state // at the time; zero while only what does not change is compared
}

// column is how connections are ordered.
type column struct {
	compare func(a, b candidate) int
	byState bool // compare looks at the state, which takes time to find out
}

// columnOf returns the column of this name, or false if there is none.
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
	case "since", "": // by age
		c.compare = func(a, b candidate) int { return b.since.Compare(a.since) }
	case "active": // by silence
		c = column{func(a, b candidate) int { return cmp.Compare(b.LastActive, a.LastActive) }, true}
	case "rtt":
		c = column{func(a, b candidate) int { return cmp.Compare(a.RoundTrip, b.RoundTrip) }, true}
	case "pending":
		c = column{func(a, b candidate) int { return cmp.Compare(a.Pending, b.Pending) }, true}
	}
	return c, c.compare != nil
}

// isValid reports whether a page of ours may ask for this.
func (v *view) isValid() bool {
	_, ok := columnOf(v.Sort)
	return ok
}

// pick returns the first maxRows of the entries that match, in order, and how many match.
func (v *view) pick(entries []*entry) (first []candidate, matches int) {
	column, _ := columnOf(v.Sort)
	compare := func(a, b candidate) int {
		c := column.compare(a, b)
		if c == 0 { // so that equal ones stay where they are
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

// keepFirst puts c where it belongs in first, which has at most maxRows, the last of which may have to go. Most come after that
// one, and cost one comparison: to sort all of them would cost many each.
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
