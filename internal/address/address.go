// Package address knows the two forms in which an address names a connection: it makes addresses, and reads the connection
// back out of a request. A worker and a publisher both build on it.
package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/wspush/wspush/internal/wire"
)

// MaxAlternatives is how many URLs one address may have.
const MaxAlternatives = 16

// maxBase is the size in bytes of the longest base. What a client's path adds has its own limit.
const maxBase = 1024

// Base is where publishers reach a worker, under one of its names: "http://" and "10.0.0.5:48775", for example.
type Base struct {
	Scheme string // with "://"
	Rest   string // the host, the port if any, and the path prefix if any, which does not end in a slash
}

// String returns the URL of the base.
func (b Base) String() string { return b.Scheme + b.Rest }

// IsLoopback reports whether only this machine reaches the base.
func (b Base) IsLoopback() bool {
	u, err := url.Parse(b.String())
	if err != nil {
		return false
	}
	name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.Unmap().IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost") // RFC 6761 section 6.3
}

// Userinfo returns the form of an address that has the ID as its user: the form that the greeting holds.
func (b Base) Userinfo(path, id string) string { return b.Scheme + id + "@" + b.Rest + path }

// Path returns the form of an address that has the ID in its path.
func (b Base) Path(path, id string) string { return b.Bulk(path) + "/" + id }

// Bulk returns the URL of bulk requests for connections at path.
func (b Base) Bulk(path string) string {
	return b.Scheme + b.Rest + strings.TrimSuffix(path, "/") + "/" + wire.Marker
}

// LinkMarker is the segment before the nonce in the path at which a link to a worker is opened.
const LinkMarker = "@link"

// Link returns the URL at which a link to the worker is opened.
func (b Base) Link(nonce string) string { return b.Scheme + b.Rest + "/" + LinkMarker + "/" + nonce }

// SchemeAndPort returns what completes an address that names only a host.
func SchemeAndPort(listener net.Addr, tls bool) (scheme, port string) {
	scheme = "http://"
	if tls {
		scheme = "https://"
	}
	if tcp, ok := listener.(*net.TCPAddr); ok {
		port = strconv.Itoa(tcp.Port)
	}
	return scheme, port
}

// Bases returns the bases at which publishers reach a worker: those in advertise, or else those of its listener. The
// listener's address is nil if there is no listener, or if it has none. The network is "tcp6" if the listener is known to serve only IPv6.
// A machine may have more addresses than an address may have URLs: then the first ones are bases, and the others are left out.
func Bases(advertise []string, network string, listener net.Addr, tls bool) (bases, leftOut []Base, err error) {
	scheme, port := SchemeAndPort(listener, tls)
	tcp, _ := listener.(*net.TCPAddr)
	var all []Base
	if len(advertise) == 0 {
		if tcp == nil {
			kind := "this"
			if listener != nil {
				kind = "a " + listener.Network()
			}
			return nil, nil, fmt.Errorf("wspush: Advertise is required: %s listener does not say where publishers reach it", kind)
		}
		hosts, err := listenerHosts(network, tcp.IP)
		if err != nil {
			return nil, nil, err
		}
		bases, leftOut = capped(basesOf(hosts, scheme, port))
		return bases, leftOut, nil
	}
	for _, s := range advertise {
		b, err := Parse(s, scheme, port)
		if err != nil {
			return nil, nil, fmt.Errorf("wspush: Advertise: %q: %w", s, err)
		}
		all = append(all, b)
	}
	if all = dedupe(all); len(all) > MaxAlternatives {
		return nil, nil, fmt.Errorf("wspush: Advertise has %d elements: publishers take addresses of at most %d", len(all), MaxAlternatives)
	}
	return all, nil, nil
}

func basesOf(hosts []netip.Addr, scheme, port string) (all []Base) {
	for _, host := range hosts {
		all = append(all, Base{scheme, net.JoinHostPort(host.String(), port)})
	}
	return all
}

// capped cuts off what publishers would not take.
func capped(all []Base) (bases, leftOut []Base) {
	n := min(len(all), MaxAlternatives)
	return all[:n:n], all[n:]
}

// Parse reads one element of WorkerOptions.Advertise: a URL, or a host that scheme and port complete.
func Parse(s, scheme, port string) (Base, error) {
	hostport, given := s, scheme
	prefix := ""
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			return Base{}, errors.Unwrap(err)
		case u.Scheme != "http" && u.Scheme != "https":
			return Base{}, errors.New("the scheme must be http or https")
		case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
			return Base{}, errors.New("a base URL has no user, query or fragment")
		}
		scheme, hostport, port = u.Scheme+"://", u.Host, ""
		prefix = strings.TrimRight(escapeComma(u.EscapedPath()), "/")
	}
	if ip, err := netip.ParseAddr(hostport); err == nil && ip.Is6() && scheme == given {
		hostport = "[" + hostport + "]"
	}
	host, err := ParseHost(hostport)
	if err != nil {
		return Base{}, err
	}
	if host.Port == "" {
		host.Port = port
	}
	b := Base{scheme, host.String() + prefix}
	return b, b.check(prefix)
}

// ParseLike is Parse for the base of another worker. What is missing is as in b: scheme, port and path, unless s is a URL, which is
// complete.
func (b Base) ParseLike(s string) (Base, error) {
	hostport, prefix, _ := strings.Cut(b.Rest, "/")
	own, err := ParseHost(hostport)
	if err != nil {
		return Base{}, err
	}
	like, err := Parse(s, b.Scheme, own.Port)
	if err == nil && prefix != "" && !strings.Contains(s, "://") {
		like.Rest += "/" + prefix
		err = like.check("/" + prefix)
	}
	return like, err
}

// check refuses a base of which no address could be made that package publisher takes.
func (b Base) check(prefix string) error {
	switch err := CheckPath(prefix); {
	case err != nil:
		return err
	case HasMarker(prefix):
		return errors.New("its path has the segment " + wire.Marker)
	case HasMembersMarker(prefix):
		return errors.New("its path has the segment " + UsersMarker + " or " + GroupsMarker)
	case len(b.String()) > maxBase:
		return fmt.Errorf("it is longer than %d bytes", maxBase)
	}
	return nil
}

// IsHost reports whether s consists of characters that a host with or without a port may have.
func IsHost[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; !isHostByte(c) && c != '[' && c != ':' && c != ']' {
			return false
		}
	}
	return len(s) > 0
}

func isHostByte(c byte) bool { return c != '~' && isUnreserved(c) }

// isUnreserved reports whether c never needs an escape in a URL (RFC 3986 section 2.3).
func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
