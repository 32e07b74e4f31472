package wspush

import (
	"slices"
	"testing"
)

// No more requests are forwarded at a time than there are slots.
func TestForwardSlots(t *testing.T) {
	c := &cluster{slots: make(chan struct{}, 2)}
	var entered []bool
	for range 3 {
		entered = append(entered, c.enter())
	}
	if !slices.Equal(entered, []bool{true, true, false}) {
		t.Errorf("of three, these got one of two slots: %v", entered)
	}
	c.leave()
	if !c.enter() {
		t.Error("a slot that was given back is not there")
	}
	if p := c.full(); p.Status != 503 || p.retryAfter() == 0 || p.Type != "urn:wspush:full" {
		t.Errorf("%+v", p)
	}
}
