package withgin

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"
)

// visitorKey is the context key of the Visitor.
type visitorKey struct{}

// signedIn lets users' requests through, and refuses others with 401. userOf returns the user of a session.
func signedIn(userOf func(session string) (name string, ok bool)) gin.HandlerFunc {
	return func(c *gin.Context) {
		session, err := c.Cookie("session")
		if err != nil {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		name, ok := userOf(session)
		if !ok {
			c.AbortWithStatus(http.StatusUnauthorized)
			return
		}
		// Accept gets the request, which does not contain what c.Set stores.
		visitor := Visitor{Name: name, IP: c.ClientIP()}
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), visitorKey{}, visitor))
	}
}
