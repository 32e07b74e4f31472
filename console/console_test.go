package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

func TestNewRefuses(t *testing.T) {
	if _, err := console.New(nil, nil); err == nil {
		t.Error("New accepts a nil worker")
	}
	s := newSite(t, nil)
	for _, host := range []string{"", "*", "*.example.com", "http://example.com", "example.com/console", "user@example.com", "a b"} {
		if _, err := console.New(s.worker, &console.Options{Hosts: []string{host}}); err == nil {
			t.Errorf("Hosts: %q is accepted", host)
		}
	}
}

// Wherever the console is mounted, the page is at the path with a slash, and its own requests are relative to that.
func TestMounts(t *testing.T) {
	s := newSite(t, nil)
	mounts := map[string]http.Handler{
		"with its prefix": func() http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/debug/wspush/", s.console)
			return mux
		}(),
		"stripped of its prefix": func() http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/debug/wspush/", http.StripPrefix("/debug/wspush", s.console))
			return mux
		}(),
		"stripped of its prefix and the slash": func() http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/debug/wspush/", http.StripPrefix("/debug/wspush/", s.console))
			return mux
		}(),
		"by a router that has it find the missing slash":        s.console,
		"the same, stripped of all of it":                       http.StripPrefix("/debug/wspush", s.console),
		"where a proxy has another prefix, which it takes away": http.StripPrefix("/proxied", http.StripPrefix("/debug", s.console)),
	}
	for name, mount := range mounts {
		t.Run(name, func(t *testing.T) {
			base := "/debug/wspush"
			if strings.Contains(name, "proxy") {
				base = "/proxied/debug/wspush"
			}
			w := get(mount, base, "console.example", nil)
			if w.Code/100 != 3 { // ServeMux redirects by itself
				t.Fatalf("GET %s: %d", base, w.Code)
			}
			from, _ := url.Parse("http://console.example" + base)
			to, err := from.Parse(w.Header().Get("Location"))
			if err != nil || to.Path != base+"/" {
				t.Fatalf("GET %s leads to %v, %v", base, to, err)
			}
			if w := get(mount, base+"/", "console.example", nil); w.Code != http.StatusOK || !strings.Contains(bodyOf(t, w), "<title>wspush console") {
				t.Errorf("GET %s/: %d", base, w.Code)
			}
			post := httptest.NewRequest(http.MethodPost, base+"/push", strings.NewReader("{}"))
			post.Header.Set("Content-Type", "application/json")
			answer := httptest.NewRecorder()
			mount.ServeHTTP(answer, post)
			if answer.Code != http.StatusGone {
				t.Errorf("POST %s/push: %d, want 410", base, answer.Code)
			}
			server := testutil.Serve(t, mount)
			client := testutil.Dial(t, server, testutil.Options{Path: base + "/feed", Header: http.Header{"Origin": {server}}})
			newPage(t, client).next()
			client.Close()
		})
	}
}

// A segment that looks like a URL does not redirect to another site.
func TestRedirectStays(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{"/x", "/a/javascript:alert(1)", "//evil.example", "/https:%2F%2Fevil.example", `/\evil.example`, "/%2F%2Fevil.example"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: strings.ReplaceAll(path, "%2F", "/"), RawPath: path}
		w := httptest.NewRecorder()
		s.console.ServeHTTP(w, r)
		from, _ := url.Parse("http://console.example/a/b")
		to, err := from.Parse(w.Header().Get("Location"))
		if err != nil || to.Host != "console.example" || to.Scheme != "http" {
			t.Errorf("GET %s leads to %v, %v", path, to, err)
		}
	}
}

func TestMethods(t *testing.T) {
	s := newSite(t, nil)
	for _, tt := range []struct {
		method, path, allow string
	}{
		{http.MethodPost, "/", "GET"},
		{http.MethodDelete, "/", "GET"},
		{http.MethodPost, "/feed", "GET"},
		{http.MethodGet, "/push", "POST"},
		{http.MethodGet, "/disconnect", "POST"},
		{http.MethodHead, "/disconnect", "POST"},
		{http.MethodPut, "/push", "POST"},
	} {
		w := httptest.NewRecorder()
		s.console.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d, Allow %q", tt.method, tt.path, w.Code, w.Header().Get("Allow"))
		}
	}
}

func TestShutdownRefusesPages(t *testing.T) {
	s := newSite(t, nil)
	server := testutil.Serve(t, s.console)
	client := testutil.Dial(t, server, testutil.Options{Path: "/feed"})
	newPage(t, client).next()
	done := make(chan error)
	go func() { done <- s.console.Shutdown(context.Background()) }()
	if code, _ := client.AwaitClose(); code != 1012 {
		t.Errorf("the page was closed with %d, want 1012", code)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	_, resp, err := testutil.TryDial(t, server, testutil.Options{Path: "/feed"})
	if err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a page after Shutdown: %v, %v", resp, err)
	}
}
