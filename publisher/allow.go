package publisher

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/wspush/wspush/internal/address"
)

// allowed says where pushes may go.
type allowed struct {
	hosts    map[host]bool
	prefixes []prefix
	allow    func(*url.URL) bool
	noHTTP   bool // except to loopback, and where a host or a prefix says http
}

// host is an element of Options.Hosts.
type host struct {
	scheme string // "" for either
	name   string // or an IP address, both in canonical form
	port   string // "" for any
}

// prefix is an element of Options.Prefixes, or one of Options.Hosts that has a scheme.
type prefix struct {
	scheme string // "" for either
	netip.Prefix
}

func newAllowed(opts *Options) (*allowed, error) {
	if len(opts.Hosts) == 0 && len(opts.Prefixes) == 0 && opts.Allow == nil && len(opts.Workers) == 0 {
		return nil, errors.New("wspush: Options must say where pushes may go: Hosts, Prefixes, Allow or Workers")
	}
	a := &allowed{hosts: make(map[host]bool), allow: opts.Allow}
	a.noHTTP = opts.Credential != "" || opts.CredentialFunc != nil || opts.TLS != nil
	for _, s := range opts.Hosts {
		if !a.addHost(s) {
			return nil, fmt.Errorf("wspush: Hosts: %q is neither a host, with or without a port, nor http:// or https:// and a host or a prefix", s)
		}
	}
	for _, p := range opts.Prefixes {
		if !a.addPrefix("", p) {
			return nil, fmt.Errorf("wspush: Prefixes: %v is not a prefix of IPv4 or IPv6 addresses", p)
		}
	}
	return a, nil
}

// addHost adds an element of Options.Hosts. It returns false if it makes no sense.
func (a *allowed) addHost(s string) bool {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		scheme, rest = "", s
	} else if scheme = strings.ToLower(scheme); scheme != "http" && scheme != "https" {
		return false
	} else if p, err := netip.ParsePrefix(rest); err == nil {
		return a.addPrefix(scheme, p)
	}
	if ip, err := netip.ParseAddr(rest); err == nil && ip.Is6() {
		rest = "[" + rest + "]"
	}
	h, err := address.ParseHost(rest)
	a.hosts[host{scheme, h.Name, h.Port}] = true
	return err == nil
}

func (a *allowed) addPrefix(scheme string, p netip.Prefix) bool {
	addr, bits := p.Addr(), p.Bits()
	if addr.Is4In6() { // it would never match, since addresses are unmapped
		addr, bits = addr.Unmap(), bits-96
	}
	p = netip.PrefixFrom(addr, bits)
	a.prefixes = append(a.prefixes, prefix{scheme, p})
	return p.IsValid() && addr.Zone() == ""
}

// Why pushes may not go to an origin; refusal says it of one.
var (
	errNotAllowed = errors.New("Options.Hosts, Prefixes and Allow allow no pushes to")
	errHTTP       = errors.New("anyone on the way could read the credential and the message; Options.Hosts allows that where it says")
)

// refusal is the error for an address whose hosts are all refused, of which o is one.
func refusal(o origin, reason error) error { return refuse(reason.Error() + " " + o.String()) }

// check returns nil if pushes may go to o. Whether to use TLS is not for an address to decide: it comes from outside.
func (a *allowed) check(o origin) error {
	switch {
	case a.has(o, o.scheme):
		return nil
	case !a.has(o, "") && (a.allow == nil || !a.allow(&url.URL{Scheme: o.scheme, Host: o.host()})):
		return errNotAllowed
	case a.noHTTP && o.scheme == "http" && !o.isLoopback():
		return errHTTP
	}
	return nil
}

// has reports whether a host or a prefix that has this scheme, or none, allows o.
func (a *allowed) has(o origin, scheme string) bool {
	if a.hosts[host{scheme, o.name, ""}] || a.hosts[host{scheme, o.name, o.port}] {
		return true
	}
	for _, p := range a.prefixes {
		if p.scheme == scheme && o.ip.IsValid() && p.Contains(o.ip) {
			return true
		}
	}
	return false
}
