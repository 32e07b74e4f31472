package wspushtest_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// recorder is a testing.TB that records the failures of a test.
type recorder struct {
	testing.TB // for the methods not overridden

	cleanups []func()

	mu       sync.Mutex // guards the fields below
	failures []string
	ended    bool
}

func (r *recorder) Helper() {}

func (r *recorder) Output() io.Writer { return r }

// Write writes to the output. A testing.T's panics once the test has ended.
func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		r.TB.Errorf("written to the output of a test that has ended: %s", p)
	}
	return len(p), nil
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		panic("failed after the test has ended") // as a testing.T does
	}
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf("fatal: "+format, args...)
	panic(r) // runtime.Goexit would end the goroutine of the real test
}

// failure runs test and its clean-up, and returns its failures.
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
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	return strings.Join(r.failures, "\n")
}

// wantFailure fails the test unless test fails with exactly this message; "" means that it must pass.
func wantFailure(t *testing.T, want string, test func(tb testing.TB)) {
	t.Helper()
	if got := failure(t, test); got != want {
		t.Errorf("failed with\n\t%q, want\n\t%q", got, want)
	}
}
