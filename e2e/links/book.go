//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// stamp identifies a message: its publisher, and its number among what that publisher has sent, from 0.
type stamp struct{ publisher, seq int }

// text returns the message with this stamp, of size bytes or a few more.
func (s stamp) text(size int) string {
	head := fmt.Sprintf("%d %d %d\n", s.publisher, s.seq, size)
	return head + filler(size-len(head))
}

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

func filler(n int) string {
	return strings.Repeat(alphabet, max(0, n)/len(alphabet)+1)[:max(0, n)]
}

// readStamp reads a message, and says what is wrong with it.
func readStamp(text string) (s stamp, err error) {
	head, rest, _ := strings.Cut(text, "\n")
	var size int
	if _, err := fmt.Sscanf(head, "%d %d %d", &s.publisher, &s.seq, &size); err != nil {
		return s, fmt.Errorf("not a message: %.60q", text)
	}
	if rest != filler(size-len(head)-1) {
		return s, fmt.Errorf("message %v of %d bytes came as %d bytes, or other ones", s, size, len(text))
	}
	return s, nil
}

// entry is one push.
type entry struct {
	to     *client
	status int // 0: no answer, which no publisher may see here
	begun  time.Time
	took   time.Duration
	fault  string
}

// book has the pushes of one scenario's part.
type book struct {
	mu         sync.Mutex // guards what follows
	publishers int
	entries    map[stamp]*entry
}

func newBook() *book { return &book{entries: make(map[stamp]*entry)} }

// publisher returns the number of n new publishers' first.
func (b *book) publisher(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publishers += n
	return b.publishers - n
}

func (b *book) enter(s stamp, e *entry) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[s] = e
}

// count returns how many pushes had each status.
func (b *book) count() map[int]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := make(map[int]int)
	for _, e := range b.entries {
		n[e.status]++
	}
	return n
}

// missing returns how many messages of these clients that were answered with 204 have not come.
func (b *book) missing(clients []*client) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, e := range b.entries {
		if e.status == http.StatusNoContent {
			n++
		}
	}
	for _, c := range clients {
		for _, s := range c.received() {
			if e := b.entries[s]; e != nil && e.status == http.StatusNoContent {
				n--
			}
		}
	}
	return n
}

// judge compares what publishers were told with what clients have received. It waits a little for what is still on its way.
func (s *scene) judge(b *book, clients []*client) error {
	await(s.ctx, 10*time.Second, func() bool { return b.missing(clients) <= 0 })
	sleep(s.ctx, 100*time.Millisecond) // for what must not come
	b.mu.Lock()
	defer b.mu.Unlock()
	var faults []error
	add := func(format string, args ...any) {
		if len(faults) < 5 {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	got := make(map[stamp]int)
	for _, c := range clients {
		if err := c.wrong(); err != nil {
			add("a client: %v", err)
		}
		last := make(map[int]int) // by publisher
		for _, st := range c.received() {
			e := b.entries[st]
			switch before, ok := last[st.publisher]; {
			case e == nil || e.to != c:
				add("%v came to a client that it was not for", st)
				continue
			case ok && before >= st.seq:
				add("%v came after %d", st, before)
			}
			last[st.publisher] = st.seq
			got[st]++
		}
	}
	for st, e := range b.entries {
		switch n := got[st]; {
		case n > 1:
			add("%v came %d times, and was answered with %d", st, n, e.status)
		case e.status == http.StatusNoContent && n == 0:
			add("%v was answered with 204 and never came", st)
		case e.status != http.StatusNoContent && e.status != http.StatusGatewayTimeout && n > 0:
			add("%v was answered with %d and came", st, e.status)
		}
		if e.fault != "" || e.status == 0 {
			add("%v: %d %s", st, e.status, e.fault)
		}
	}
	return errors.Join(faults...)
}

// only returns an error if a push had another status than these.
func (b *book) only(statuses ...int) error {
	n := b.count()
	for _, status := range statuses {
		delete(n, status)
	}
	if len(n) > 0 {
		return fmt.Errorf("answers: %v", b.count())
	}
	return nil
}
