package wspushtest_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// recorder is a testing.TB that keeps what a test would have failed with.
type recorder struct {
	testing.TB // for the methods not overridden

	mu       sync.Mutex // guards failures
	failures []string
	cleanups []func()
}

func (r *recorder) Helper() {}

func (r *recorder) Output() io.Writer { return io.Discard }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf("fatal: "+format, args...)
	panic(r) // runtime.Goexit would end the goroutine of the real test
}

// failure runs test, and then its clean-up, and returns what it failed with.
func failure(t *testing.T, test func(tb testing.TB)) string {
	t.Helper()
	r := &recorder{TB: t}
	func() {
		defer func() {
			if v := recover(); v != nil && v != r {
				panic(v)
			}
		}()
		test(r)
	}()
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return strings.Join(r.failures, "\n")
}

// wantFailure fails the test unless test fails with exactly this message; "" means that it passes.
func wantFailure(t *testing.T, want string, test func(tb testing.TB)) {
	t.Helper()
	if got := failure(t, test); got != want {
		t.Errorf("failed with\n\t%q, want\n\t%q", got, want)
	}
}
