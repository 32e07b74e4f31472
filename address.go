package wspush

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/wspush/wspush/internal/wire"
)

// marker is the segment before the ID in the path form of an address.
const marker = wire.Marker

// base is where publishers reach a worker, under one of its names: "http://" and "10.0.0.5:48775", for example.
type base struct {
	scheme string // with "://"
	rest   string // host, port if any, and a path prefix if any, which does not end in a slash
}

// userinfo is the form of an address that names the ID as its user: what the greeting holds.
func (b base) userinfo(path, id string) string { return b.scheme + id + "@" + b.rest + path }

// url is the form of an address that names the ID in its path.
func (b base) url(path, id string) string {
	return b.scheme + b.rest + strings.TrimSuffix(path, "/") + "/" + marker + "/" + id
}

// bulkURL is where bulk requests for connections at that path go.
func (b base) bulkURL(path string) string {
	return b.scheme + b.rest + strings.TrimSuffix(path, "/") + "/" + marker
}

// schemeAndPort are what an address has that names a host alone.
func schemeAndPort(listener net.Addr, tls bool) (scheme, port string) {
	scheme = "http://"
	if tls {
		scheme = "https://"
	}
	if tcp, ok := listener.(*net.TCPAddr); ok {
		port = strconv.Itoa(tcp.Port)
	}
	return scheme, port
}

// bases finds out where publishers reach the worker: advertise says it, or else the listener, whose address is nil where
// there is none, and whose network is "tcp6" where it is known to serve IPv6 only.
func bases(advertise []string, network string, listener net.Addr, tls bool) ([]base, error) {
	scheme, port := schemeAndPort(listener, tls)
	tcp, _ := listener.(*net.TCPAddr)
	var all []base
	if len(advertise) == 0 {
		if tcp == nil {
			return nil, fmt.Errorf("wspush: Advertise is required: a %s listener does not say where publishers reach it", listener.Network())
		}
		hosts, err := listenerHosts(network, tcp.IP)
		if err != nil {
			return nil, err
		}
		for _, host := range hosts {
			all = append(all, base{scheme, net.JoinHostPort(host.String(), port)})
		}
	}
	for _, s := range advertise {
		b, err := parseBase(s, scheme, port)
		if err != nil {
			return nil, fmt.Errorf("wspush: Advertise: %q: %w", s, err)
		}
		all = append(all, b)
	}
	return dedupe(all), nil
}

// parseBase reads one element of WorkerOptions.Advertise.
func parseBase(s, scheme, port string) (base, error) {
	hostport := s
	prefix := ""
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return base{}, errors.Unwrap(err)
		case u.Scheme != "http" && u.Scheme != "https":
			return base{}, errors.New("the scheme must be http or https")
		case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
			return base{}, errors.New("a base URL has no user, query or fragment")
		}
		scheme, hostport, port = u.Scheme+"://", u.Host, ""
		prefix = strings.TrimRight(escapeComma(u.EscapedPath()), "/")
	}
	host, err := hostPort(hostport, port)
	return base{scheme, host + prefix}, err
}

// hostPort checks a host with or without a port, and adds the default port, if there is one, where it has none.
func hostPort(s, port string) (string, error) {
	host := s
	if h, p, err := net.SplitHostPort(s); err == nil {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return "", fmt.Errorf("%q is not a port", p)
		}
		host, port = h, p
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	}
	if strings.Contains(host, ":") || strings.HasPrefix(s, "[") {
		ip, err := netip.ParseAddr(host)
		if err != nil || ip.Zone() != "" {
			return "", fmt.Errorf("%q is not an IPv6 address without a zone", host)
		}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.IsUnspecified() {
			return "", fmt.Errorf("nobody can reach %s", ip)
		}
	} else if !isHostName(host) {
		return "", fmt.Errorf("%q is not a host", host)
	}
	if port == "" {
		return strings.TrimSuffix(net.JoinHostPort(host, ""), ":"), nil
	}
	return net.JoinHostPort(host, port), nil
}

func isHostName(s string) bool {
	for _, c := range []byte(s) {
		if c == '~' || !isUnreserved(c) {
			return false
		}
	}
	return s != ""
}

// isUnreserved reports whether c never needs an escape in a URL (RFC 3986 section 2.3).
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// listenerHosts are the addresses at which a listener bound to ip is reached. The unspecified IPv6 address is also how a
// listener for both families shows itself.
func listenerHosts(network string, ip net.IP) ([]netip.Addr, error) {
	bound, _ := netip.AddrFromSlice(ip)
	bound = bound.Unmap()
	if bound.IsValid() && !bound.IsUnspecified() {
		return []netip.Addr{bound}, nil
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("wspush: finding the addresses to advertise: %w", err)
	}
	var up []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // an interface that has just gone
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				up = append(up, prefix.Addr().Unmap())
			}
		}
	}
	return selectHosts(up, network != "tcp6", !bound.Is4()), nil
}

// selectHosts picks from the addresses of the machine those that a wildcard listener of these families advertises.
func selectHosts(up []netip.Addr, ipv4, ipv6 bool) []netip.Addr {
	var hosts, loopback []netip.Addr
	for _, a := range up {
		a = a.WithZone("")
		switch {
		case a.Is4() && !ipv4, a.Is6() && !ipv6:
		case a.IsLoopback():
			loopback = append(loopback, a)
		case a.IsGlobalUnicast(): // which private addresses are, too; link-local ones are not
			hosts = append(hosts, a)
		}
	}
	if len(hosts) == 0 {
		hosts = loopback
	}
	if len(hosts) == 0 && ipv4 {
		hosts = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	}
	if len(hosts) == 0 {
		hosts = []netip.Addr{netip.IPv6Loopback()}
	}
	return dedupe(hosts)
}

func dedupe[T comparable](s []T) []T {
	seen := make(map[T]bool, len(s))
	var once []T
	for _, v := range s {
		if !seen[v] {
			seen[v] = true
			once = append(once, v)
		}
	}
	return once
}

// requestPath is the path in the request line, escaped, without query: what the client asked for, whatever handlers such
// as http.StripPrefix have made of it since. It is a copy: a connection keeps it, but not the query.
func requestPath(r *http.Request) string {
	path := r.URL.EscapedPath()
	if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		path = u.EscapedPath()
	}
	return strings.Clone(addressPath(path))
}

// addressPath is a path as it stands in an address.
func addressPath(escaped string) string {
	if !strings.HasPrefix(escaped, "/") { // "", and "*"
		return "/"
	}
	return escapeComma(escaped)
}

// escapeComma keeps the comma free to separate addresses in the greeting.
func escapeComma(path string) string { return strings.ReplaceAll(path, ",", "%2C") }

// target is the connection that a push request names.
type target struct {
	id   string // or a sealed ID
	path string // at which it must live
	form form
}

type form int

const (
	formUserinfo form = iota
	formPath
)

// lives reports whether the target may be a connection that the client made at path. In the path form, a slash at the end
// of the path makes no difference: addresses in that form do not repeat it, and clients that join paths may add one.
func (t target) lives(path string) bool {
	at, path := normalize(t.path), normalize(path)
	if at == path {
		return true
	}
	return t.form == formPath && (at == strings.TrimSuffix(path, "/") || strings.TrimSuffix(at, "/") == path)
}

// normalize makes paths the same that differ only in escapes which clients add or take away at will: of characters that need
// none, and in the case of hex digits (RFC 3986 section 6.2.2).
func normalize(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		escape := strings.ToUpper(path[i : i+3])
		plain, err := url.PathUnescape(escape)
		if err == nil && isUnreserved(plain[0]) {
			escape = plain
		}
		b.WriteString(escape)
		i += 2
	}
	return b.String()
}

// Errors of readTarget, which are the details of the answers.
var (
	errNoID      = errors.New("the request names no connection: send its ID as the user of Basic authorization (http://ID@HOST:PORT/PATH), or in the path (http://HOST:PORT/PATH/@connections/ID)")
	errNoForm    = errors.New("the path is neither PATH nor PATH/@connections/ID")
	errInvalidID = errors.New("the ID is neither a UUID nor a sealed ID")
)

// readTarget finds out which connection a push request names. The path form wins over the userinfo form.
func readTarget(r *http.Request) (target, error) {
	path := addressPath(r.URL.EscapedPath())
	t := target{path: path}
	rest, last := cutLast(path)
	mount, mark := cutLast(rest)
	user, _, _ := r.BasicAuth() // RFC 7617; the password is no part of the ID
	switch {
	case isMarker(mark) && last != "":
		t = target{id: last, path: addressPath(mount), form: formPath}
	case user != "":
		t.id = user
	case hasMarker(path):
		return t, errNoForm
	default:
		return t, errNoID
	}
	if !isName(t.id) {
		return t, errInvalidID
	}
	return t, nil
}

// isName reports whether s can name a connection: as its ID, or as a sealed ID.
func isName(s string) bool { return wire.IsID(s) || wire.IsSealedID(s) }

// cutLast cuts off the last segment of a path, and the slash before it.
func cutLast(path string) (rest, segment string) {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// isMarker also takes the marker with its @ escaped, as some clients send it.
func isMarker(segment string) bool {
	return segment == marker || len(segment) == len(marker)+2 && segment[:3] == "%40" && segment[3:] == marker[1:]
}

func hasMarker(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if isMarker(segment) {
			return true
		}
	}
	return false
}
