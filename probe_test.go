package wspush_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// What balances load has no ID and no credential. It learns whether the worker is ready, wherever that is asked, and nothing else.
func TestProbe(t *testing.T) {
	for _, name := range doors {
		t.Run(name, func(t *testing.T) {
			var opts wspush.WorkerOptions
			if name != "lane" {
				opts.AuthorizePush = func(*http.Request) error {
					t.Error("AuthorizePush is asked")
					return wspush.ErrForbidden
				}
			}
			d := newDoor(t, name, opts)
			for _, target := range []string{"/@ready", "/%40ready", "/ws/@ready", "/ws/@connections/@ready"} {
				resp := d.ask(t, "GET", target, nil, "")
				if got := text(t, resp); resp.StatusCode != 200 || got != `{"takesPushes":true,"draining":false}` || resp.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: %v %s", target, resp, got)
				}
				if resp := d.ask(t, "HEAD", target, nil, ""); resp.StatusCode != 200 || text(t, resp) != "" {
					t.Errorf("HEAD %s: %v", target, resp)
				}
			}
		})
	}
}

// A client may connect at a path that ends like that of a probe: its addresses have its ID.
func TestProbeAndClient(t *testing.T) {
	w := newWorker(t, nil)
	client, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{Path: "/ws/@ready"})
	for _, at := range append(conn.PathAddresses(), address) {
		if resp := post(t, at, "", []byte("hello")); resp.StatusCode != 204 {
			t.Errorf("%s", resp.Status)
		}
		client.Expect(testutil.Text, "hello")
		resp, err := http.Get(at)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("GET: %v", resp)
		}
	}
}

// From Shutdown on, a worker is not ready, though the clients that are left can be pushed to.
func TestProbeWhileDraining(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.test"}, DrainOver: time.Hour})
	client, _, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	probe := func(status int, body string) {
		t.Helper()
		resp := recorded(w, httptest.NewRequest("GET", "/@ready", nil))
		if got := text(t, resp); resp.StatusCode != status || got != body {
			t.Errorf("%s %s, want %d %s", resp.Status, got, status, body)
		}
	}
	probe(200, `{"takesPushes":true,"draining":false}`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Shutdown(ctx) }()
	testutil.Eventually(t, "the drain", w.Draining)
	probe(503, `{"takesPushes":true,"draining":true}`)
	client.Close()
	if err := receive(t, "Shutdown", done); err != nil {
		t.Error(err)
	}
	cancel()
	probe(503, `{"takesPushes":false,"draining":true}`)
	if problems := w.Stats().Problems; len(problems) != 0 {
		t.Errorf("probes are counted: %v", problems)
	}
}
