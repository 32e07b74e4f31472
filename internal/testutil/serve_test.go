package testutil

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
)

func TestServe(t *testing.T) {
	NoLeak(t)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "here") })
	url := Serve(t, h)
	secure, config := ServeTLS(t, h)
	tr := &http.Transport{TLSClientConfig: config}
	t.Cleanup(tr.CloseIdleConnections)
	client := &http.Client{Transport: tr}
	for _, u := range []string{url, secure} {
		resp, err := client.Get(u)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "here" || !strings.Contains(u, "://127.0.0.1:") {
			t.Errorf("%s: got %q", u, body)
		}
	}
}

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
			Handshake(tb, Pipe(tb, upgrade(tb, "", func(*peer) { stray(stop) })), Options{})
		})
	})
}

func TestServeEndsIdleConnections(t *testing.T) {
	NoLeak(t)
	url := Serve(t, http.NotFoundHandler())
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	// Says nothing, and is closed only after the server.
	t.Cleanup(func() { conn.Close() })
}

func TestPipeUnused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { Pipe(t, http.NotFoundHandler()) })
}

func TestNewCertificate(t *testing.T) {
	cert, pool := NewCertificate(t)
	_, other := NewCertificate(t)
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "example.com"} {
		if err := cert.Leaf.VerifyHostname(name); (err == nil) != (name != "example.com") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, test := range []struct {
		config *tls.Config
		ok     bool
	}{{&tls.Config{RootCAs: pool}, true}, {&tls.Config{RootCAs: other}, false}} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan struct{})
		go func() {
			defer close(served)
			if conn, err := l.Accept(); err == nil {
				_ = conn.(*tls.Conn).Handshake()
				conn.Close()
			}
		}()
		conn, err := tls.Dial("tcp", l.Addr().String(), test.config)
		if (err == nil) != test.ok {
			t.Errorf("trusted: %v", err)
		}
		if err == nil {
			conn.Close()
		}
		<-served
		l.Close()
	}
}
