package publisher

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// allowed says where pushes may go.
type allowed struct {
	hosts    map[string]bool // names and IP addresses in canonical form; with a port if only that port is allowed
	prefixes []netip.Prefix
	allow    func(*url.URL) bool
}

func newAllowed(opts *Options) (*allowed, error) {
	if len(opts.Hosts) == 0 && len(opts.Prefixes) == 0 && opts.Allow == nil {
		return nil, errors.New("wspush: Options must say where pushes may go: Hosts, Prefixes or Allow")
	}
	a := &allowed{hosts: make(map[string]bool), allow: opts.Allow}
	for _, s := range opts.Hosts {
		key, err := hostKey(s)
		if err != nil {
			return nil, fmt.Errorf("wspush: Hosts: %q is not a host with or without a port", s)
		}
		a.hosts[key] = true
	}
	for _, p := range opts.Prefixes {
		addr, bits := p.Addr(), p.Bits()
		if addr.Is4In6() { // it would never match, since addresses are unmapped
			addr, bits = addr.Unmap(), bits-96
		}
		p := netip.PrefixFrom(addr, bits)
		if !p.IsValid() || addr.Zone() != "" {
			return nil, fmt.Errorf("wspush: Prefixes: %v is not a prefix of IPv4 or IPv6 addresses", p)
		}
		a.prefixes = append(a.prefixes, p)
	}
	return a, nil
}

// hostKey returns the key in allowed.hosts for an element of Options.Hosts.
func hostKey(s string) (string, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
		s = "[" + s + "]"
	}
	o, err := parseOrigin("", s)
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(s, ":"+o.port) && !strings.HasSuffix(s, "]") {
		return net.JoinHostPort(o.name, o.port), nil
	}
	return o.name, nil
}

// ok reports whether pushes may go to o.
func (a *allowed) ok(o origin) bool {
	if a.hosts[o.name] || a.hosts[net.JoinHostPort(o.name, o.port)] {
		return true
	}
	for _, p := range a.prefixes {
		if o.ip.IsValid() && p.Contains(o.ip) {
			return true
		}
	}
	return a.allow != nil && a.allow(&url.URL{Scheme: o.scheme, Host: o.host()})
}
