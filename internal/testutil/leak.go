package testutil

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Main runs the package's tests and exits: call it from TestMain, and nothing after it. If the tests pass but leave goroutines
// that do not end within a few seconds, it prints their stacks and exits with code 1.
func Main(m *testing.M) {
	os.Exit(run(m.Run, grace, os.Stderr))
}

func run(tests func() int, limit time.Duration, stderr io.Writer) int {
	before := goroutines()
	code := tests()
	if code != 0 {
		return code // a failed test may have left goroutines; its own message matters more
	}
	if left := leaked(before, limit); len(left) > 0 {
		fmt.Fprintf(stderr, "FAIL: %d goroutines are left after the tests\n\n%s\n", len(left), strings.Join(left, "\n\n"))
		return 1
	}
	return 0
}

// NoLeak fails the test if goroutines started since the call are still running a few seconds after the test ends. Call it
// first, so that its clean-up runs last, and not while other tests run in parallel, whose goroutines it cannot tell apart.
func NoLeak(tb testing.TB) {
	before := goroutines()
	tb.Cleanup(func() {
		if left := leaked(before, grace); len(left) > 0 {
			tb.Errorf("%d goroutines are left after the test\n\n%s", len(left), strings.Join(left, "\n\n"))
		}
	})
}

// OpenFiles returns the number of the process's file descriptors, sockets included, or -1 on any system but Linux, where there
// is no way to count them. A closed socket may take a moment to disappear; see [Eventually].
func OpenFiles(tb testing.TB) int {
	tb.Helper()
	if runtime.GOOS != "linux" {
		return -1
	}
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatalf("counting open files: %v", err)
	}
	return len(entries) - 1 // one is the directory itself, open for reading
}

// leaked waits until no goroutines are left except those in before, and returns those still left after limit.
func leaked(before map[string]string, limit time.Duration) []string {
	var left []string
	poll(limit, func() bool {
		http.DefaultClient.CloseIdleConnections() // idle, not leaked
		left = left[:0]
		for id, stack := range goroutines() {
			if _, ok := before[id]; !ok {
				left = append(left, stack)
			}
		}
		return len(left) == 0
	})
	return left
}

// goroutines returns the stack of each goroutine by its ID, which is never reused. It omits the caller's own and those of the
// runtime and the testing package.
func goroutines() map[string]string {
	stacks := make(map[string]string)
	_, others, _ := strings.Cut(allStacks(), "\n\n") // the caller's comes first
	for stack := range strings.SplitSeq(others, "\n\n") {
		fields := strings.Fields(stack) // "goroutine 7 [select]:"
		if len(fields) < 2 || ours(stack) {
			continue
		}
		stacks[fields[1]] = stack
	}
	return stacks
}

// ours reports whether the stack is one that comes and goes with the test binary itself. It looks at what created the
// goroutine, not at what it is running: a test's leaked goroutine may well be inside a function of the testing package.
func ours(stack string) bool {
	for _, creator := range []string{"testing.", "runtime.", "runtime/", "os/signal."} {
		if strings.Contains(stack, "\ncreated by "+creator) {
			return true
		}
	}
	return false
}

func allStacks() string {
	for size := 1 << 16; ; size *= 2 {
		buf := make([]byte, size)
		if n := runtime.Stack(buf, true); n < size {
			return strings.TrimSpace(string(buf[:n]))
		}
	}
}
