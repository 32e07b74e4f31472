package console

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/wspush/wspush/internal/origin"
)

// guard refuses requests that other sites make an operator's browser send.
type guard struct {
	hosts []string // lower case, with or without a port
}

func newGuard(hosts []string) (*guard, error) {
	g := &guard{}
	for _, host := range hosts {
		u, err := url.Parse("http://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsAny(host, `*?\`) {
			return nil, fmt.Errorf("console: Hosts: %q is neither a host nor a host:port", host)
		}
		g.hosts = append(g.hosts, strings.ToLower(host))
	}
	return g, nil
}

// refusal says why a request is not answered.
type refusal struct {
	status int
	detail string
}

func (r *refusal) Error() string { return r.detail }

func (g *guard) check(r *http.Request) *refusal {
	if isLocal(r) && !g.expects(r.Host) {
		return &refusal{http.StatusMisdirectedRequest,
			fmt.Sprintf("the console does not answer to the host %q on loopback: see console.Options.Hosts", r.Host)}
	}
	if origin.IsForeign(r, g.trusts) {
		return &refusal{http.StatusForbidden,
			fmt.Sprintf("a page from %q may not do this at %q: see console.Options.Hosts", r.Header.Get("Origin"), r.Host)}
	}
	return nil
}

// trusts reports whether a page's origin is at one of Options.Hosts.
func (g *guard) trusts(page string) bool {
	isWeb := strings.HasPrefix(page, "http://") || strings.HasPrefix(page, "https://")
	return isWeb && slices.ContainsFunc(g.hosts, func(host string) bool { return origin.IsSame(page, host) })
}

// isLocal reports whether the request came over loopback. There the network protects nothing, and often nothing else does, so
// DNS rebinding must be stopped: a site that resolves its own name to 127.0.0.1 is of the same origin for the browser.
// Elsewhere the browser sends such a name no login that the application would accept.
func isLocal(r *http.Request) bool {
	addr := r.RemoteAddr
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		addr = local.String()
	}
	a, err := netip.ParseAddrPort(addr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// expects reports whether host is one of Options.Hosts, or a name by which a browser on this machine may know the console.
func (g *guard) expects(host string) bool {
	host = strings.ToLower(host)
	name := (&url.URL{Host: host}).Hostname()
	if g.trusts("http://"+host) || g.trusts("https://"+host) || slices.Contains(g.hosts, name) || name == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && (ip.Unmap().IsLoopback() || ip.IsUnspecified()) // 0.0.0.0 and :: mean this machine too, and cannot be rebound
}
