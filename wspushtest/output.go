package wspushtest

import (
	"io"
	"sync"
	"testing"
)

// output is that of a test, for logs. What a callback or handler that returns late logs after the test is dropped: the test's
// own panics then, which ends the tests of the whole package, although the test has failed already and said why.
type output struct {
	mu sync.Mutex // guards w, also while it is written to
	w  io.Writer  // nil once the test has ended
}

// newOutput makes an output that ends when those clean-ups have run that are registered later.
func newOutput(tb testing.TB) *output {
	o := &output{w: tb.Output()}
	tb.Cleanup(o.end)
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.w == nil {
		return len(p), nil
	}
	return o.w.Write(p)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.w = nil
}
