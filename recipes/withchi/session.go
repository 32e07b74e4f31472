package withchi

import (
	"context"
	"net/http"
)

// userKey is the context key of the user's name.
type userKey struct{}

// signedIn lets users' requests through, and refuses others with 401. userOf returns the user of a session.
func signedIn(userOf func(session string) (name string, ok bool)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cookie, err := r.Cookie("session")
			if err != nil {
				http.Error(w, "not signed in", http.StatusUnauthorized)
				return
			}
			name, ok := userOf(cookie.Value)
			if !ok {
				http.Error(w, "the session has ended", http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, name)))
		})
	}
}
