// Package withgin has wspush on a gin router. Copy Routes with newSockets and signedIn; or Mounted, where pushes are to come to the
// application's own server.
package withgin

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wspush/wspush"
)

// Visitor is whose connection it is: what Conn.Value returns.
type Visitor struct {
	Name string
	IP   string // of the client, not of the proxy
}

// Routes returns the application: WebSockets at /ws, for those who are signed in. The Worker has a push listener of its own.
func Routes(worker *wspush.Worker, userOf func(session string) (name string, ok bool), out io.Writer) (http.Handler, error) {
	sockets, err := newSockets(worker)
	if err != nil {
		return nil, err
	}
	router := gin.New()
	// Where the proxy is: elsewhere, X-Forwarded-For is what anyone may send. By default gin believes everyone.
	if err := router.SetTrustedProxies([]string{"127.0.0.1", "::1"}); err != nil {
		return nil, err
	}
	router.Use(gin.LoggerWithWriter(out), gin.Recovery())
	router.GET("/ws", signedIn(userOf), gin.WrapH(sockets))
	return router, nil
}

// newSockets returns a Handler that lets those in whom signedIn has let through, and nobody else.
func newSockets(worker *wspush.Worker) (*wspush.Handler, error) {
	return wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second, // proxies drop what is silent for longer, many after 60 s
		Accept: func(r *http.Request) (any, error) {
			visitor, ok := r.Context().Value(visitorKey{}).(Visitor)
			if !ok {
				return nil, errors.New("no user: signedIn is not in front of this route")
			}
			return visitor, nil
		},
	})
}
