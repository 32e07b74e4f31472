//go:build unix

package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// Without nginx several workers are refused, with what to do, before anything listens.
func TestNoNginx(t *testing.T) {
	testutil.NoLeak(t)
	defer func(before []string) { programs = before }(programs)
	programs = []string{"wspush-no-such-program"}
	err := run(t.Context(), []string{"-workers", "3"}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "apt-get install nginx-light") {
		t.Error(err)
	}
}

// nginx leaves nothing behind, neither when it is stopped nor when it ends by itself, which ends everything.
func TestNginxEnds(t *testing.T) {
	testutil.NoLeak(t)
	t.Setenv("TMPDIR", t.TempDir())
	if err := os.Chmod(os.Getenv("TMPDIR"), 0o711); err != nil { // as root, nginx has processes of another user's
		t.Fatal(err)
	}
	for _, byItself := range []bool{false, true} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		s := &site{settings: settings{listen: "127.0.0.1:0", push: "127.0.0.1:0", key: testutil.Key("k"), token: "secret", count: 2, grace: 2 * reserve}, failed: make(chan error, 4)}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		pid := s.nginx.cmd.Process.Pid
		if byItself {
			if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			select {
			case err := <-s.failed:
				if err == nil || !strings.Contains(err.Error(), "nginx") {
					t.Error(err)
				}
			case <-ctx.Done():
				t.Error("nobody is told that nginx has ended")
			}
		}
		if err := s.stop(); (err != nil) != byItself {
			t.Error(err)
		}
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("nginx is still there: %v", err)
		}
		if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
			t.Errorf("%v %v", left, err)
		}
		if resp, err := http.Get("http://" + s.address); err == nil {
			resp.Body.Close()
			t.Error(resp.Status)
		}
		cancel()
	}
}
