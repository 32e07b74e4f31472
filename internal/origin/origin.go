// Package origin knows whether a page is of the host that it asks, and which foreign pages may ask (RFC 6454). Wherever a browser's
// Origin is looked at, it is looked at here.
package origin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/address"
)

// IsSame reports whether a page of this origin, as the header of a request names it, belongs to the host that the request's Host
// names. Host names no scheme: the origin's decides which port need not be named (section 5).
func IsSame(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && canonical(u.Scheme, u.Host) == canonical(u.Scheme, host)
}

// IsForeign reports whether a browser sends the request for a page of another origin than the host's and those that allowed
// lets in. Requests that change nothing are not foreign: the page cannot read their answers. Nor are those of programs, which send
// none of the headers by which browsers tell.
func IsForeign(r *http.Request, allowed func(origin string) bool) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	origin := r.Header.Get("Origin")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none": // the page's own, or typed by hand
		return false
	case "": // an old browser, or a host without TLS
		if origin == "" || IsSame(origin, r.Host) {
			return false
		}
	}
	return !allowed(origin)
}

// canonical makes hosts equal that mean the same: it lowers letters, leaves out the scheme's default port, and writes IPv6
// addresses in one way.
func canonical(scheme, hostport string) string {
	host, port := strings.ToLower(hostport), ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		if ip, err := netip.ParseAddr(host[1 : len(host)-1]); err == nil {
			host = "[" + ip.String() + "]"
		}
	}
	if port == "" || port == defaultPort(scheme) {
		return host
	}
	return host + ":" + port
}

// defaultPort returns the port that need not be named, or "".
func defaultPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// CheckName refuses text that is not an origin as a browser names it (section 6.2), and says how a browser does if it can. Any other
// text would allow nobody.
func CheckName(s string) error {
	const form = "an origin is scheme://host:port, without the port that is the scheme's own"
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || !address.IsHost(u.Host) {
		return errors.New(form)
	}
	name := u.Scheme + "://" + canonical(u.Scheme, u.Host)
	switch p, err := parsePattern(name); {
	case err != nil:
		return err
	case u.Scheme == "" || u.User != nil || strings.ContainsAny(p.text, "*?^"):
		return errors.New(form)
	case s != name:
		return fmt.Errorf("%s: write %q", form, name)
	}
	return nil
}
