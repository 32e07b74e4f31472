package nginx

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// behindProxy sets RemoteAddr to the client's address if a request comes from one of the proxies, which put it into
// X-Forwarded-For. Then Accept, Conn.Info, the answer to a GET, and logs all have the client's address. The port is
// 0, since nginx does not send it. From anyone else that header proves nothing and is ignored.
func behindProxy(proxies []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && isIn(proxies, peer.Addr()) {
			if client, ok := forwardedFor(r.Header, proxies); ok {
				r = r.WithContext(r.Context()) // a copy: the request belongs to the server
				r.RemoteAddr = net.JoinHostPort(client.String(), "0")
			}
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedFor returns the last address in X-Forwarded-For that is not a proxy's: each proxy appends its client's.
func forwardedFor(header http.Header, proxies []netip.Prefix) (client netip.Addr, ok bool) {
	all := strings.Split(strings.Join(header.Values("X-Forwarded-For"), ","), ",")
	for _, one := range slices.Backward(all) {
		ip, err := netip.ParseAddr(strings.TrimSpace(one))
		if err != nil {
			return netip.Addr{}, false
		}
		if !isIn(proxies, ip) {
			return ip.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

func isIn(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}
