// Package withgin uses wspush on a gin router. Copy Routes with newSockets and signedIn; or Mounted, to receive pushes on
// the application's own server.
package withgin

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/wspush/wspush"
)

// Visitor is the owner of a connection: the value of Conn.Value.
type Visitor struct {
	Name string
	IP   string // the client's, not the proxy's
}

// Routes returns the application: WebSockets at /ws, for signed-in users. The Worker has its own push listener.
func Routes(worker *wspush.Worker, userOf func(session string) (name string, ok bool), out io.Writer) (http.Handler, error) {
	sockets, err := newSockets(worker)
	if err != nil {
		return nil, err
	}
	router := gin.New()
	// The proxy's addresses: from elsewhere, anyone can send X-Forwarded-For. By default gin trusts everyone.
	if err := router.SetTrustedProxies([]string{"127.0.0.1", "::1"}); err != nil {
		return nil, err
	}
	router.Use(gin.LoggerWithWriter(out), gin.Recovery())
	router.GET("/ws", signedIn(userOf), gin.WrapH(sockets))
	return router, nil
}

// newSockets returns a Handler that admits only requests that signedIn has let through.
func newSockets(worker *wspush.Worker) (*wspush.Handler, error) {
	return wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second, // proxies drop silent connections, many after 60 s
		Accept: func(r *http.Request) (any, error) {
			visitor, ok := r.Context().Value(visitorKey{}).(Visitor)
			if !ok {
				return nil, errors.New("no user: signedIn is not in front of this route")
			}
			return visitor, nil
		},
	})
}
