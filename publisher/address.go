package publisher

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/wire"
)

// ErrAddress means that the address is malformed, or leads to where Options does not allow pushes. Nothing was dialled or sent.
var ErrAddress = errors.New("wspush: the address is refused")

const (
	maxAlternatives = 16   // in one address
	maxURL          = 4096 // bytes of one of them
	maxHost         = 253  // bytes of a name (RFC 1035 section 2.3.4)
)

// refuse says why, without a word of the address: it holds the ID.
func refuse(reason string) error { return fmt.Errorf("%w: %s", ErrAddress, reason) }

// target is one way to reach a connection.
type target struct {
	origin
	path string // of the mount, escaped, without a slash at its end
	id   string // or a sealed ID
}

// origin is where a worker is.
type origin struct {
	scheme string // http or https
	name   string // of the host, in lower case, or an IP address, without brackets
	port   string
	ip     netip.Addr // the zero Addr if name is not one
}

// host is the origin's host as it stands in a URL, without a default port.
func (o origin) host() string {
	if o.port == defaultPort(o.scheme) {
		if o.ip.Is6() {
			return "[" + o.name + "]"
		}
		return o.name
	}
	return net.JoinHostPort(o.name, o.port)
}

func (o origin) String() string { return o.scheme + "://" + o.host() }

// mount identifies where bulk requests for the target go.
func (t target) mount() string { return t.origin.String() + t.path }

// url is the target's URL in the path form.
func (t target) url() *url.URL { return t.join("/" + wire.Marker + "/" + t.id) }

// bulkURL is where bulk requests go.
func (t target) bulkURL() *url.URL { return t.join("/" + wire.Marker) }

func (t target) join(end string) *url.URL {
	raw := t.path + end
	path, err := url.PathUnescape(raw)
	if err != nil {
		panic("wspush: a path that was checked") // checkPath has seen to every escape
	}
	return &url.URL{Scheme: t.scheme, Host: t.host(), Path: path, RawPath: raw}
}

// parseAddress reads an address: one URL, or several that are separated by commas.
func parseAddress(address string) ([]target, error) {
	if len(address) > maxAlternatives*(maxURL+1) {
		return nil, refuse("it is too long")
	}
	if strings.Count(address, ",") >= maxAlternatives {
		return nil, refuse(fmt.Sprintf("it has more than %d alternatives", maxAlternatives))
	}
	var targets []target
	for one := range strings.SplitSeq(address, ",") {
		t, err := parseTarget(strings.Trim(one, " "))
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

// parseTarget reads one URL. It knows no more of URLs than addresses need: package url takes much that need not be trusted.
func parseTarget(s string) (t target, err error) {
	if len(s) > maxURL {
		return t, refuse("it is too long")
	}
	scheme, rest, ok := strings.Cut(s, "://")
	t.scheme = strings.ToLower(scheme)
	if !ok || t.scheme != "http" && t.scheme != "https" {
		return t, refuse("it is not an http or https URL")
	}
	authority, path := rest, "/"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	user, hostport, hasUser := strings.Cut(authority, "@")
	if !hasUser {
		hostport = authority
	}
	if t.origin, err = parseOrigin(t.scheme, hostport); err != nil {
		return t, err
	}
	if err := checkPath(path); err != nil {
		return t, err
	}
	if hasUser {
		t.id, t.path = user, path
	} else {
		before, last := address.CutLast(path)
		mount, mark := address.CutLast(before)
		if !address.IsMarker(mark) {
			return t, refuse("it has neither of the two forms")
		}
		t.id, t.path = last, mount
	}
	t.path = strings.TrimSuffix(t.path, "/")
	if address.HasMarker(t.path) {
		return t, refuse("it names more than one connection")
	}
	if !wire.IsID(t.id) && !wire.IsSealedID(t.id) {
		return t, refuse("what should be the ID is neither an ID nor a sealed ID")
	}
	return t, nil
}

// parseOrigin reads a host, with or without a port.
func parseOrigin(scheme, hostport string) (origin, error) {
	o := origin{scheme: scheme, port: defaultPort(scheme)}
	name, port := hostport, ""
	hasPort := false
	if strings.HasPrefix(hostport, "[") {
		inside, after, ok := strings.Cut(hostport[1:], "]")
		if name, port, hasPort = inside, strings.TrimPrefix(after, ":"), after != ""; !ok || hasPort && after[0] != ':' {
			return o, refuse("its host is malformed")
		}
		ip, err := netip.ParseAddr(name)
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return o, refuse("what is in brackets is not an IPv6 address without a zone")
		}
		o.ip = ip
	} else {
		name, port, hasPort = strings.Cut(hostport, ":")
		if ip, err := netip.ParseAddr(name); err == nil {
			o.ip = ip
		} else if !isHostName(name) {
			return o, refuse("its host is neither a name nor an IP address")
		}
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return o, refuse("its port is not one of 1 to 65535")
		}
		o.port = port
	}
	o.name = strings.ToLower(name)
	if o.ip.IsValid() {
		if o.ip = o.ip.Unmap(); o.ip.IsUnspecified() {
			return o, refuse("its host is the unspecified address")
		}
		o.name = o.ip.String()
	}
	return o, nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// isHostName reports whether s is a name. One that ends in a number is none: resolvers take "127.1" and "0x7f000001" for
// IPv4 addresses, and what only looks like a name must not get by as one.
func isHostName(s string) bool {
	if len(s) > maxHost {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" {
			return false
		}
		for _, c := range []byte(label) {
			if !isAlphanumeric(c) && c != '-' && c != '_' {
				return false
			}
		}
		last = label
	}
	_, err := strconv.ParseUint(last, 0, 64)
	return err != nil && !errors.Is(err, strconv.ErrRange) && !isDigits(last) && !strings.EqualFold(last, "0x")
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// checkPath refuses paths that no worker puts into an address, and those that may become another path on their way.
func checkPath(path string) error {
	decoded := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%':
			if i+2 >= len(path) {
				return refuse("its path has a malformed escape")
			}
			n, err := strconv.ParseUint(path[i+1:i+3], 16, 8)
			if err != nil {
				return refuse("its path has a malformed escape")
			}
			c = byte(n)
			i += 2
		case !isAlphanumeric(c) && strings.IndexByte("-._~!$&'()*+;=:@/[]", c) < 0:
			return refuse("it has characters that no address has")
		}
		if c < ' ' || c == 0x7f || c == '\\' {
			return refuse("its path has a control character or a backslash")
		}
		decoded = append(decoded, c)
	}
	for segment := range strings.SplitSeq(string(decoded), "/") {
		// There are servers for which "..;x" is "..".
		if segment, _, _ = strings.Cut(segment, ";"); segment == "." || segment == ".." {
			return refuse("its path has a dot segment")
		}
	}
	return nil
}
