package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// ask asks the server of the metrics.
func ask(t *testing.T, s *site, path string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.operators.Addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(all)
}

// The metrics are those of all workers, and of the process, and browsers do not find them.
func TestMetrics(t *testing.T) {
	testutil.NoLeak(t)
	for args, want := range map[string]string{
		"":            "\nwspush_connections 0\n",
		"-workers=3 ": "\nwspush_connections{worker=\"1\"} 0\nwspush_connections{worker=\"2\"} 0\nwspush_connections{worker=\"3\"} 0\n",
	} {
		settings, err := parse(strings.Fields(args + "-listen=127.0.0.1:0 -metrics=127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		s := &site{settings: settings, failed: make(chan error, 9)}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		status, body := ask(t, s, "/metrics")
		for _, want := range []string{want, "\ngo_goroutines ", "# TYPE wspush_pushes_total counter\n"} {
			if status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%q: %d, without %q:\n%s", args, status, want, body)
			}
		}
		b := newBrowser(t, "http://"+s.address)
		for _, path := range []string{"/metrics", "/healthz"} {
			if status, _ := b.get(path); status != http.StatusNotFound {
				t.Errorf("%q: %s: %d", args, path, status)
			}
		}
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}
}

// The probe succeeds until the worker drains, or can no longer be pushed to, whatever the directory does.
func TestHealth(t *testing.T) {
	testutil.NoLeak(t)
	for _, tt := range []struct {
		want string
		end  func(*site) error
	}{
		{"stopping", func(s *site) error { return s.workers[0].Shutdown(t.Context()) }},
		{"failed", func(s *site) error { return s.pushes[0].Close() }},
	} {
		settings, err := parse(strings.Fields("-listen=127.0.0.1:0 -metrics=127.0.0.1:0 -redis=redis://127.0.0.1:1"))
		if err != nil {
			t.Fatal(err)
		}
		s := &site{settings: settings, failed: make(chan error, 9)}
		if err := s.start(); err != nil {
			t.Fatal(err)
		}
		url := "http://" + s.operators.Addr
		if status, body := ask(t, s, "/healthz"); status != http.StatusOK || body != "ready\n" {
			t.Errorf("%d %q", status, body)
		}
		if err := run(t.Context(), []string{"-probe", url + "/healthz"}, io.Discard); err != nil {
			t.Error(err)
		}
		if err := run(t.Context(), []string{"-probe", url + "/health"}, io.Discard); err == nil || err.Error() != "-probe: 404 Not Found" {
			t.Error(err)
		}
		if err := tt.end(s); err != nil {
			t.Error(err)
		}
		testutil.Eventually(t, tt.want, func() bool {
			status, body := ask(t, s, "/healthz")
			return status == http.StatusServiceUnavailable && body == tt.want+"\n"
		})
		if err := run(t.Context(), []string{"-probe", url + "/healthz"}, io.Discard); err == nil || err.Error() != "-probe: 503 Service Unavailable" {
			t.Error(err)
		}
		_ = s.stop() // the listener that was closed is an error
		if err := run(t.Context(), []string{"-probe", url + "/healthz"}, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "-probe: ") {
			t.Error(err)
		}
	}
}

// What is secret can be in the environment. The key is for those who have a directory.
func TestEnvironment(t *testing.T) {
	key := strings.Repeat("0f", 32)
	t.Setenv("CLUSTER_KEY", key)
	t.Setenv("PUSH_TOKEN", "from-the-environment")
	for _, tt := range []struct {
		args, token string
		keyShared   bool
	}{
		{"", "from-the-environment", false},
		{"-redis=redis://127.0.0.1", "from-the-environment", true},
		{"-nats=nats://127.0.0.1 -token=other", "other", true},
	} {
		s, err := parse(strings.Fields(tt.args))
		if err != nil || s.token != tt.token || s.keyShared != tt.keyShared || s.keyShared && s.key[0] != 0x0f || s.grace != 10*time.Second {
			t.Errorf("%q: %+v, %v", tt.args, s, err)
		}
	}
	t.Setenv("CLUSTER_KEY", "12")
	if _, err := parse([]string{"-redis=redis://127.0.0.1"}); err == nil || !strings.Contains(err.Error(), "-key must be 64 hex digits") {
		t.Error(err)
	}
	if s, err := parse([]string{"-redis=redis://127.0.0.1", "-key", key}); err != nil || s.key[0] != 0x0f {
		t.Error(err)
	}
}
