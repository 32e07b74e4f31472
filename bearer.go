package wspush

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
)

// BearerTokens makes a [WorkerOptions].AuthorizePush that lets those push who know one of the tokens: as
// "Authorization: Bearer TOKEN" (RFC 6750) with the path form of an address, or as the password with the userinfo form,
// http://ID:TOKEN@HOST:PORT/ws. Others are refused with 401, and the challenge of the push endpoint: Basic, which a token as
// the password answers. Several tokens are for rotation: the new one is added everywhere before the old one goes.
//
// Tokens are compared in constant time, whatever their lengths. An empty one, such as that of a variable that is not set, is
// no token; with no token, every push is refused. What it returns is safe for concurrent use.
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
	errNoToken    = errors.New("no token in Authorization: Bearer, nor as the address's password")
	errWrongToken = errors.New("the token is not one of those that are known")
)

// tokenOf is the token that the request brings, or "".
func tokenOf(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.Trim(token, " ")
	}
	_, password, _ := r.BasicAuth()
	return password
}
