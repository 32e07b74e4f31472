package testutil

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// leak starts a goroutine that runs stray until stop is closed, and returns once it does.
func leak(stop chan struct{}) {
	running := make(chan struct{})
	go stray(running, stop)
	<-running
}

// stray is the function to look for in a stack.
func stray(running, stop chan struct{}) {
	close(running)
	<-stop
}

func TestMainExitCode(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for name, test := range map[string]struct {
		tests func() int
		code  int
		print string
	}{
		"passes":           {func() int { return 0 }, 0, ""},
		"fails":            {func() int { return 2 }, 2, ""},
		"fails and leaks":  {func() int { leak(stop); return 2 }, 2, ""},
		"leaks":            {func() int { leak(stop); return 0 }, 1, "testutil.stray"},
		"leaks for a bit":  {func() int { go func() { <-time.After(time.Millisecond) }(); return 0 }, 0, ""},
		"runs into others": {func() int { go func() {}(); return 0 }, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			limit := 10 * time.Second
			if test.code == 1 {
				limit = 10 * time.Millisecond
			}
			var stderr strings.Builder
			if code := run(test.tests, limit, &stderr); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if out := stderr.String(); !strings.Contains(out, test.print) || test.print == "" && out != "" {
				t.Errorf("printed %q, want %q", out, test.print)
			}
		})
	}
}

func TestNoLeak(t *testing.T) {
	// Fake time saves the five seconds that the failure takes.
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		wantFailure(t, "testutil.stray", func(tb testing.TB) {
			NoLeak(tb)
			leak(stop)
		})
	})
}

func TestNoLeakAllowsKeptConnections(t *testing.T) {
	url := Serve(t, http.NotFoundHandler())
	wantFailure(t, "", func(tb testing.TB) {
		NoLeak(tb)
		resp, err := http.Get(url)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	})
}

func TestOpenFiles(t *testing.T) {
	before := OpenFiles(t)
	if before < 0 {
		t.Skip("no /proc/self/fd here")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if got := OpenFiles(t); got != before+2 {
		t.Errorf("a pipe has %d files, want 2", got-before)
	}
	r.Close()
	w.Close()
	if got := OpenFiles(t); got != before {
		t.Errorf("%d files are left", got-before)
	}
}
