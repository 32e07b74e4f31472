// Package withchi uses wspush on a chi router. Copy Routes with newSockets and signedIn; or Mounted, to receive pushes on
// the application's own server.
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

// Visitor is the owner of a connection: the value of Conn.Value.
type Visitor struct {
	Name string
	IP   string // the client's, not the proxy's
}

// Routes returns the application: WebSockets at /ws, for signed-in users. The Worker has its own push listener.
func Routes(worker *wspush.Worker, userOf func(session string) (name string, ok bool), out *log.Logger) (http.Handler, error) {
	sockets, err := newSockets(worker)
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	// Anyone can send X-Forwarded-For. Only the proxy's own says who the client is.
	r.Use(middleware.ClientIPFromXFF("127.0.0.1/32", "::1/128"))
	r.Use(middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: out, NoColor: true}))
	r.Use(middleware.Recoverer)
	r.Group(func(r chi.Router) {
		r.Use(signedIn(userOf))
		r.Method(http.MethodGet, "/ws", sockets)
	})
	r.Group(func(r chi.Router) { // pages: middleware that must not surround WebSockets goes here
		r.Use(middleware.Timeout(10*time.Second), middleware.Compress(5))
		r.Get("/", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(`<script>new WebSocket("/ws").onmessage = (e) => console.log(e.data)</script>`))
		})
	})
	return r, nil
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
			return Visitor{Name: name, IP: middleware.GetClientIP(r.Context())}, nil
		},
	})
}
