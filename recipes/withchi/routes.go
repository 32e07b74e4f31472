// Package withchi has wspush on a chi router. Copy Routes with newSockets and signedIn; or Mounted, where pushes are to come to the
// application's own server.
package withchi

import (
	"errors"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/wspush/wspush"
)

// Visitor is whose connection it is: what Conn.Value returns.
type Visitor struct {
	Name string
	IP   string // of the client, not of the proxy
}

// Routes returns the application: WebSockets at /ws, for those who are signed in. The Worker has a push listener of its own.
func Routes(worker *wspush.Worker, userOf func(session string) (name string, ok bool), out *log.Logger) (http.Handler, error) {
	sockets, err := newSockets(worker)
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	// X-Forwarded-For is what anyone may send. Only where the proxy is, it says who the client is.
	r.Use(middleware.ClientIPFromXFF("127.0.0.1/32", "::1/128"))
	r.Use(middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: out, NoColor: true}))
	r.Use(middleware.Recoverer)
	r.Group(func(r chi.Router) {
		r.Use(signedIn(userOf))
		r.Method(http.MethodGet, "/ws", sockets)
	})
	r.Group(func(r chi.Router) { // pages: what must not surround WebSockets goes here
		r.Use(middleware.Timeout(10*time.Second), middleware.Compress(5))
		r.Get("/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(`<script>new WebSocket("/ws").onmessage = (e) => console.log(e.data)</script>`))
		})
	})
	return r, nil
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
			return Visitor{Name: name, IP: middleware.GetClientIP(r.Context())}, nil
		},
	})
}
