package console

import (
	"testing"

	"github.com/google/uuid"
)

// A handle leads back to its ID, but only at the console that made it.
func TestHandles(t *testing.T) {
	h, other := newHandles(), newHandles()
	for range 1000 {
		id := uuid.NewString()
		handle := h.of(id)
		if got := h.id(handle); got != id {
			t.Fatalf("%s becomes %s", id, got)
		}
		if got := other.id(handle); got == id {
			t.Fatalf("another console reads the handle of %s", id)
		}
	}
	for _, bad := range []string{"", "x", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA=", "\xff"} {
		if got := h.id(bad); got != "" {
			t.Errorf("handle %q leads to %q", bad, got)
		}
	}
}
