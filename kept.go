package wspush

import (
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// What a connection keeps of its handshake, in bytes. The client chooses all of it, and keeps it in memory by doing nothing, so this and
// address.MaxPath are what a silent client can cost more than another. The sum is documented with the memory of a connection.
const (
	maxUserAgent  = 512
	maxRemoteAddr = 128 // a middleware may have taken it from a header
)

// clip returns a copy of s, cut to at most max bytes between two characters. What has been cut ends in an ellipsis. It is a copy so that
// the connection does not keep the header, or the request line, of which s may be a part.
func clip(s string, max int) string {
	if len(s) <= max {
		return strings.Clone(s)
	}
	const ellipsis = "…"
	end := max - len(ellipsis)
	for cut := end; cut > end-utf8.UTFMax; cut-- {
		if utf8.RuneStart(s[cut]) {
			end = cut
			break
		}
	}
	return s[:end] + ellipsis
}

// remoteOf returns the client's address as it is kept and logged.
func remoteOf(r *http.Request) string { return clip(r.RemoteAddr, maxRemoteAddr) }

// pathOf returns the path at which the client of a handshake connects, or why it cannot connect there: no address could lead to it.
func pathOf(r *http.Request) (address.Path, error) {
	path := address.RequestPath(r)
	refuse := func(status int, detail string) (address.Path, error) {
		return address.Path{}, &socket.HandshakeError{Status: status, Detail: detail}
	}
	if len(path) > address.MaxPath {
		return refuse(http.StatusRequestURITooLong, fmt.Sprintf("no address could lead to a client here: its path has %d bytes, and at most %d are possible", len(path), address.MaxPath))
	}
	if address.HasMarker(path) {
		return refuse(http.StatusNotFound, "no client may connect at a path with "+wire.Marker)
	}
	if address.HasMembersMarker(path) {
		return refuse(http.StatusNotFound, "no client may connect at a path with "+address.UsersMarker+" or "+address.GroupsMarker)
	}
	if err := address.CheckPath(path); err != nil {
		return refuse(http.StatusNotFound, "no address could lead to a client here: "+err.Error())
	}
	return address.NewPath(path), nil
}
