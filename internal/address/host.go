package address

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Host is where a worker is: what stands in an address between the scheme, or the user, and the path.
type Host struct {
	Name string     // in lower case, or an IP address, without brackets
	IP   netip.Addr // the zero Addr if Name is not one
	Port string     // "" if it is the scheme's own
}

// ParseHost reads a host, with or without a port. Its errors do not quote the host.
func ParseHost(s string) (Host, error) {
	var h Host
	name, port, hasPort := s, "", false
	if strings.HasPrefix(s, "[") {
		inside, after, ok := strings.Cut(s[1:], "]")
		if name, port, hasPort = inside, strings.TrimPrefix(after, ":"), after != ""; !ok || hasPort && after[0] != ':' {
			return h, errors.New("its host is malformed")
		}
		ip, err := netip.ParseAddr(name)
		if err != nil || !ip.Is6() || ip.Zone() != "" {
			return h, errors.New("what is in brackets is not an IPv6 address without a zone")
		}
		h.IP = ip
	} else {
		name, port, hasPort = strings.Cut(s, ":")
		if ip, err := netip.ParseAddr(name); err == nil {
			h.IP = ip
		} else if strings.HasSuffix(name, ".") && IsHostName(name[:len(name)-1]) {
			return h, errors.New("its host has a dot at the end: leave it out")
		} else if !IsHostName(name) {
			return h, errors.New("its host is neither a name nor an IP address")
		}
	}
	if hasPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != port {
			return h, errors.New("its port is not one of 1 to 65535")
		}
		h.Port = port
	}
	h.Name = strings.ToLower(name)
	if h.IP.IsValid() {
		if h.IP = h.IP.Unmap(); !isReachable(h.IP) {
			return h, errors.New("its host is an IP address that nobody can connect to")
		}
		h.Name = h.IP.String()
	}
	return h, nil
}

// isReachable reports whether there can be a worker at an IP address.
func isReachable(ip netip.Addr) bool {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return !ip.IsUnspecified() && !ip.IsMulticast() && ip != broadcast
}

// String returns the host as it stands in a URL.
func (h Host) String() string {
	switch {
	case h.Port != "":
		return net.JoinHostPort(h.Name, h.Port)
	case h.IP.Is6():
		return "[" + h.Name + "]"
	}
	return h.Name
}
