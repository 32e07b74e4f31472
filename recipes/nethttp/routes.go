// Package nethttp has wspush on the router of the standard library. Copy Routes with newSockets, signedIn and logged; or Mounted, where
// pushes are to come to the application's own server.
package nethttp

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/wspush/wspush"
)

// Routes returns the application: WebSockets at /ws, for those who are signed in. The Worker has a push listener of its own.
func Routes(worker *wspush.Worker, userOf func(session string) (name string, ok bool), log *slog.Logger) (http.Handler, error) {
	sockets, err := newSockets(worker)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /ws", signedIn(userOf, sockets))
	return logged(log, mux), nil
}

// newSockets returns a Handler that lets those in whom signedIn has let through, and nobody else.
func newSockets(worker *wspush.Worker) (*wspush.Handler, error) {
	return wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second, // proxies drop what is silent for longer, many after 60 s
		Accept: func(r *http.Request) (any, error) {
			name, ok := r.Context().Value(userKey{}).(string)
			if !ok {
				return nil, errors.New("no user: signedIn does not surround this route")
			}
			return name, nil // Conn.Value from now on
		},
	})
}
