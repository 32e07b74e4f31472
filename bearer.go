package wspush

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"
)

// BearerTokens makes a [WorkerOptions].AuthorizePush that accepts publishers that know one of the tokens. They send it as
// "Authorization: Bearer TOKEN" (RFC 6750) with the path form of an address, or as the password in the userinfo form,
// http://ID:TOKEN@HOST:PORT/ws. Any other request is refused with [ErrUnauthorized]: 401 with a Basic challenge, which a client
// answers by sending a token as the password. Pass several tokens to rotate them: add the new one everywhere before you remove
// the old one.
//
// Tokens are compared in constant time, whatever their lengths. An empty token, such as that of an unset variable, is ignored.
// With no tokens, every push is refused. The returned function is safe for concurrent use.
func BearerTokens(tokens ...string) func(*http.Request) error {
	var known [][sha256.Size]byte
	for _, token := range tokens {
		if token != "" {
			known = append(known, sha256.Sum256([]byte(token)))
		}
	}
	return func(r *http.Request) error {
		token := tokenOf(r)
		if token == "" {
			return errNoToken
		}
		sum, found := sha256.Sum256([]byte(token)), 0
		for i := range known {
			found |= subtle.ConstantTimeCompare(sum[:], known[i][:])
		}
		if found == 0 {
			return errWrongToken
		}
		return nil
	}
}

var (
	errNoToken    = fmt.Errorf("%w: there is no token in Authorization: Bearer, nor a password in the address", ErrUnauthorized)
	errWrongToken = fmt.Errorf("%w: the token is not one of the known tokens", ErrUnauthorized)
)

// tokenOf returns the token in the request, or "".
func tokenOf(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.Trim(token, " ")
	}
	_, password, _ := r.BasicAuth()
	return password
}
