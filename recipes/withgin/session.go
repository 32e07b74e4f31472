package withgin

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"
)

// visitorKey is the key of the Visitor in a request's context.
type visitorKey struct{}

// signedIn lets requests of users through, and refuses others with 401. userOf tells whose session a cookie names.
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
		// Accept gets the request, and what c.Set keeps is not in it.
		visitor := Visitor{Name: name, IP: c.ClientIP()}
		c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), visitorKey{}, visitor))
	}
}
