package testutil

import (
	"net/http"
	"testing"
	"testing/synctest"
)

func TestServeReportsPanics(t *testing.T) {
	wantFailure(t, "handler panicked: oops", func(tb testing.TB) {
		url := Serve(tb, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("oops") }))
		if _, resp, err := TryDial(tb, url, Options{}); err == nil || resp != nil {
			t.Errorf("got %v, %v, want a connection that ends", resp, err)
		}
	})
	wantFailure(t, "", func(tb testing.TB) {
		url := Serve(tb, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		_, _, _ = TryDial(tb, url, Options{})
	})
}

func TestServeReportsWhatOutlivesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		wantFailure(t, "1 connections or handlers are left", func(tb testing.TB) {
			Handshake(tb, Pipe(tb, upgrade(tb, "", func(*peer) { <-stop })), Options{})
		})
	})
}
