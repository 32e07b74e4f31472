package address

import (
	"fmt"
	"net"
	"net/netip"
)

// listenerHosts returns the IP addresses at which a listener bound to ip is reached. A listener for both families is bound to
// the unspecified IPv6 address.
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
			continue // the interface has just gone
		}
		for _, a := range addrs {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				up = append(up, prefix.Addr().Unmap())
			}
		}
	}
	return selectHosts(up, network != "tcp6", !bound.Is4()), nil
}

// selectHosts picks those of the machine's addresses that a wildcard listener of these families advertises.
func selectHosts(up []netip.Addr, ipv4, ipv6 bool) []netip.Addr {
	var hosts, loopback []netip.Addr
	for _, a := range up {
		a = a.WithZone("")
		switch {
		case a.Is4() && !ipv4, a.Is6() && !ipv6:
		case a.IsLoopback():
			loopback = append(loopback, a)
		case a.IsGlobalUnicast(): // private addresses are, link-local ones are not
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
