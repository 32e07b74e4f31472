package nginx

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// behindProxy sets RemoteAddr to the client's address where a request comes from one of the proxies, which says in
// X-Forwarded-For for whom. Then Accept, Info.RemoteAddr, what GET says of a connection, and logs all have the client's. The port
// is 0: nginx does not say it. From anyone else that header is only what he would like to be, and is not looked at.
func behindProxy(proxies []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil && isIn(proxies, peer.Addr()) {
			if client, ok := forwardedFor(r.Header, proxies); ok {
				r = r.WithContext(r.Context()) // a copy: the request is the server's
				r.RemoteAddr = net.JoinHostPort(client.String(), "0")
			}
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedFor is the last address in X-Forwarded-For that is not a proxy's: each proxy adds its client's at the end.
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
