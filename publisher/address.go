package publisher

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/wire"
)

// ErrAddress means that the address is malformed, or leads to where Options does not allow pushes. Nothing was dialled or sent. It is
// no reason to forget an address that was taken before: Options may be wrong.
var ErrAddress = errors.New("wspush: the address is refused")

const (
	maxAlternatives = address.MaxAlternatives // in one address
	maxURL          = 4096                    // bytes of one of them
)

// refuse says why, without the ID in the address.
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

// isLoopback reports whether nothing that goes to the origin leaves this machine (RFC 6761 section 6.3 for names).
func (o origin) isLoopback() bool {
	return o.ip.IsLoopback() || o.name == "localhost" || strings.HasSuffix(o.name, ".localhost")
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
		panic("wspush: a path that was checked") // address.CheckPath has seen to every escape
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
	if err := address.CheckPath(path); err != nil {
		return t, refuse(err.Error())
	}
	if hasUser {
		t.id, t.path = user, path
	} else {
		before, last := address.CutLast(path)
		mount, mark := address.CutLast(before)
		if !address.IsMarker(mark) {
			return t, refuse("it names no connection, as http://ID@HOST:PORT/PATH and http://HOST:PORT/PATH/@connections/ID do")
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
	h, err := address.ParseHost(hostport)
	if err != nil {
		return origin{}, refuse(err.Error())
	}
	return origin{scheme: scheme, name: h.Name, port: cmp.Or(h.Port, defaultPort(scheme)), ip: h.IP}, nil
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}
