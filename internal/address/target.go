package address

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/wire"
)

// Target is the connection that a push request names.
type Target struct {
	ID   string // or a sealed ID
	Path string // the path at which the connection must live, normalized
	Form Form
}

// Form is one of the two forms of an address.
type Form int

const (
	UserinfoForm Form = iota // http://ID@HOST:PORT/PATH
	PathForm                 // http://HOST:PORT/PATH/@connections/ID
)

// At is the target of a request in the path form that names its connections in another way.
func At(mount string) Target { return Target{Path: normalize(mount), Form: PathForm} }

// Lives reports whether the target may be a connection that the client made at p. In the path form, a slash at the end of
// the path makes no difference: addresses in that form do not repeat it, and clients that join paths may add one.
func (t Target) Lives(p Path) bool {
	at, path := t.Path, p.normal
	if at == path {
		return true
	}
	return t.Form == PathForm && (at == strings.TrimSuffix(path, "/") || strings.TrimSuffix(at, "/") == path)
}

// Errors of Read. Their texts are the details of the answers.
var (
	ErrNoID        = errors.New("the request names no connection: send its ID as the user of Basic authorization (http://ID@HOST:PORT/PATH), or in the path (http://HOST:PORT/PATH/@connections/ID)")
	ErrNoForm      = errors.New("the path is neither PATH nor PATH/@connections/ID")
	ErrMalformedID = errors.New("the ID is neither a UUID nor a sealed ID")
	ErrLongPath    = errors.New("the path is longer than that of any connection")
	ErrSeveral     = errors.New("the URL is several addresses, separated by commas, such as a greeting lists: each leads to the same connection, so send the request to one of them")
)

// IsSeveral reports whether the URL of a request looks like a whole greeting: several addresses, separated by commas. A comma in a path is
// escaped in an address, so this can only be about a request that leads to no connection.
func IsSeveral(r *http.Request) bool {
	path := strings.ToLower(r.URL.Path)
	return strings.Contains(path, ",http:/") || strings.Contains(path, ",https:/") // something in between may have merged slashes
}

// Read finds out which connection a push request names. The path form wins over the userinfo form.
func Read(r *http.Request) (Target, error) {
	path := inAddress(r.URL.EscapedPath())
	if len(path) > maxTarget {
		return Target{}, ErrLongPath
	}
	t := Target{Path: normalize(path)}
	rest, last := CutLast(path)
	mount, mark := CutLast(rest)
	user, _, _ := r.BasicAuth() // RFC 7617; the password is not part of the ID
	switch {
	case IsMarker(mark) && last != "":
		t = At(inAddress(mount))
		t.ID = last
	case user != "":
		t.ID = user
	case HasMarker(path):
		return t, ErrNoForm
	default:
		return t, ErrNoID
	}
	if !IsName(t.ID) {
		return t, ErrMalformedID
	}
	return t, nil
}

// ready is the last segment of the path of a probe. It is no ID, so no push has such a path, unless it has the ID as its user.
const ready = "@ready"

// IsProbe reports whether a request asks whether the worker is ready, and names no connection.
func IsProbe(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead || !strings.HasSuffix(r.URL.Path, "/"+ready) {
		return false
	}
	last, err := url.PathUnescape(LastSegment(r))
	user, _, _ := r.BasicAuth()
	return err == nil && last == ready && user == ""
}

// ReadBulk returns what all connections that a bulk request names have in common. It returns false for the path of any other request.
func ReadBulk(r *http.Request) (mount Target, ok bool) {
	if !strings.HasSuffix(r.URL.Path, wire.Marker) { // the usual case, at little cost
		return Target{}, false
	}
	path, last := CutLast(inAddress(r.URL.EscapedPath()))
	if !IsMarker(last) {
		return Target{}, false
	}
	path = inAddress(path)
	return At(path[:min(len(path), maxTarget)]), true // no client is where a longer one leads, cut or not
}

// ReadLink returns the nonce in the path of a request that opens a link. It returns false for the path of any other request.
func ReadLink(r *http.Request) (nonce string, ok bool) {
	if !strings.Contains(r.URL.Path, LinkMarker) { // the usual case, at little cost
		return "", false
	}
	rest, nonce := CutLast(inAddress(r.URL.EscapedPath()))
	_, mark := CutLast(rest)
	plain, err := url.PathUnescape(mark)
	return nonce, err == nil && plain == LinkMarker && nonce != ""
}

// IsName reports whether s can name a connection: as its ID, or as a sealed ID.
func IsName(s string) bool { return wire.IsID(s) || wire.IsSealedID(s) }
