package wspushtest

import (
	"io"
	"sync"
	"testing"
)

// output is a test's output, for logs. It drops what a late callback or handler logs after the test has ended: writing to the
// test's own output would then panic and end the tests of the whole package, although the test has already failed with the
// reason.
type output struct {
	mu sync.Mutex // guards w, and is held while writing to it
	w  io.Writer  // nil once the test has ended
}

// newOutput makes an output that ends after all clean-ups that are registered later have run.
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
