// Package nethttp uses wspush with the standard library's router. Copy Routes with newSockets, signedIn and logged; or
// Mounted, to receive pushes on the application's own server.
package nethttp

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/wspush/wspush"
)

// Routes returns the application: WebSockets at /ws, for signed-in users. The Worker has its own push listener.
func Routes(worker *wspush.Worker, userOf func(session string) (name string, ok bool), log *slog.Logger) (http.Handler, error) {
	sockets, err := newSockets(worker)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /ws", signedIn(userOf, sockets))
	return logged(log, mux), nil
}

// newSockets returns a Handler that admits only requests that signedIn has let through.
func newSockets(worker *wspush.Worker) (*wspush.Handler, error) {
	return wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second, // proxies drop silent connections, many after 60 s
		Accept: func(r *http.Request) (any, error) {
			name, ok := r.Context().Value(userKey{}).(string)
			if !ok {
				return nil, errors.New("no user: signedIn does not surround this route")
			}
			return name, nil // Conn.Value from now on
		},
	})
}
