package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// The bodies come to their own clients, and what does not come as it was sent is an error.
func TestBodies(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(body []byte) []byte // what becomes of a body
		status int
		want   string // part of the error
	}{
		{"whole", func(b []byte) []byte { return b }, http.StatusNoContent, ""},
		{"short", func(b []byte) []byte { return b[1:] }, http.StatusNoContent, "EOF"},
		{"long", func(b []byte) []byte { return append(b, 'x') }, http.StatusNoContent, "too many"},
		{"refused", nil, http.StatusServiceUnavailable, "503"},
	} {
		t.Run(test.name, func(t *testing.T) {
			arrived := make(chan struct{})
			var once sync.Once
			var clients sync.Map
			mux := http.NewServeMux()
			srv := httptest.NewServer(mux)
			defer srv.Close()
			mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
				c, err := websocket.Accept(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.CloseNow()
				id := strings.ReplaceAll(r.RemoteAddr, ":", "-")
				clients.Store(id, c)
				// The address leads elsewhere: publishers are to push where they are told.
				if err := c.Write(r.Context(), websocket.MessageText, []byte("http://127.0.0.1:1/"+id)); err != nil {
					t.Error(err)
				}
				_, _, _ = c.Read(t.Context()) // until it is closed
			})
			mux.HandleFunc("POST /{id}", func(w http.ResponseWriter, r *http.Request) {
				defer once.Do(func() { close(arrived) })
				body, err := io.ReadAll(r.Body)
				if err != nil || len(body) != bodySize || bytes.Trim(body, "x") != nil {
					t.Errorf("%d bytes, %v", len(body), err)
				}
				if c, ok := clients.Load(r.PathValue("id")); ok && test.change != nil {
					_ = c.(*websocket.Conn).Write(r.Context(), websocket.MessageText, test.change(body))
				}
				w.WriteHeader(test.status)
			})
			addr := srv.Listener.Addr().String()
			b, err := startBodies(t.Context(), &host{addr: addr, path: "/ws"}, addr)
			if err != nil {
				t.Fatal(err)
			}
			<-arrived
			rate, err := b.stop()
			switch {
			case test.want == "" && (err != nil || rate <= 0):
				t.Errorf("%v a second, %v", rate, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
