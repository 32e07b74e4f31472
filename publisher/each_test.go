package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wspush/wspush/publisher"
)

func TestPushEach(t *testing.T) {
	gone := func(_, _ int, id, _ string) int {
		if id == nthID(7) {
			return 410
		}
		return 204
	}
	w1, server1 := serveWorker(t, &worker{answer: gone})
	w2, server2 := serveWorker(t, &worker{})
	s := newStream(t, newClient(t, publisher.Options{}))
	addresses := []string{"nonsense " + id, addressOf("http://evil.example")}
	for i := range 2500 {
		addresses = append(addresses, connection(server1, i))
	}
	addresses = append(addresses, connection(server2, 0), addressOf(nobody(t)))
	counts := make(map[string]int)
	for address, err := range s.PushEach(t.Context(), slices.Values(addresses), publisher.Text, []byte("all")) {
		counts[address]++
		inError(t, err)
		var want error
		switch {
		case strings.Contains(address, "nonsense"), strings.Contains(address, "evil"):
			want = publisher.ErrAddress
		case strings.HasSuffix(address, nthID(7)):
			want = publisher.ErrGone
		case address == addresses[len(addresses)-1]:
			want = publisher.ErrUnreachable
		}
		if !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
	}
	if len(counts) != len(addresses) {
		t.Errorf("%d outcomes for %d addresses", len(counts), len(addresses))
	}
	lines1, _ := w1.count()
	lines2, _ := w2.count()
	if lines1 != 3 || lines2 != 1 || len(w1.messages()) != 2500 {
		t.Errorf("%d and %d lines", lines1, lines2)
	}
	for _, err := range s.PushEach(t.Context(), slices.Values(addresses), publisher.Text, []byte{0xff}) {
		if !errors.Is(err, publisher.ErrInvalidUTF8) {
			t.Error(err)
		}
	}
	for range s.PushEach(t.Context(), slices.Values(addresses[2:]), publisher.Text, nil) {
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.PushEach(ctx, slices.Values(addresses[2:]), publisher.Text, nil) {
		if !errors.Is(err, context.Canceled) || errors.Is(err, publisher.ErrUnknown) {
			t.Error(err)
		}
	}
}

// Long sealed IDs share a line only as far as workers take it.
func TestPushEachSealedIDs(t *testing.T) {
	w, server := serveWorker(t, &worker{})
	s := newStream(t, newClient(t, publisher.Options{}))
	var addresses []string
	for i := range 100 {
		addresses = append(addresses, fmt.Sprintf("%s/ws/@connections/v1.%01000d", server, i))
	}
	n := 0
	for _, err := range s.PushEach(t.Context(), slices.Values(addresses), publisher.Text, nil) {
		if n++; inError(t, err) != nil {
			t.Error(err)
		}
	}
	if lines, _ := w.count(); n != 100 || lines != 3 {
		t.Errorf("%d outcomes, %d lines", n, lines)
	}
}

// When its context ends, PushEach knows nothing of what is under way.
func TestPushEachContext(t *testing.T) {
	w, server := serveWorker(t, &worker{answer: func(_, _ int, id, _ string) int {
		if id == nthID(0) {
			return 204
		}
		return 0
	}})
	c := newClient(t, publisher.Options{})
	s := c.NewStream()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for address, err := range s.PushEach(ctx, slices.Values([]string{connection(server, 0), connection(server, 1), connection(server, 2)}), publisher.Text, nil) {
		if n++; address == connection(server, 0) {
			if err != nil {
				t.Error(err)
			}
			cancel()
		} else if !errors.Is(inError(t, err), publisher.ErrUnknown) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if n != 3 || len(w.paths()) != 1 {
		t.Errorf("%d outcomes", n)
	}
	c.Close()
}
