package console

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// guard refuses what other pages have an operator's browser send.
type guard struct {
	hosts  []string // lower case, with or without a port
	origin *http.CrossOriginProtection
}

func newGuard(hosts []string) (*guard, error) {
	g := &guard{origin: http.NewCrossOriginProtection()}
	for _, host := range hosts {
		u, err := url.Parse("http://" + host)
		if err != nil || u.Host != host || u.Hostname() == "" || strings.ContainsAny(host, `*?\`) {
			return nil, fmt.Errorf("console: Hosts: %q is neither a host nor a host:port", host)
		}
		host = strings.ToLower(host)
		for _, scheme := range []string{"http://", "https://"} {
			if err := g.origin.AddTrustedOrigin(scheme + host); err != nil {
				return nil, fmt.Errorf("console: Hosts: %w", err)
			}
		}
		g.hosts = append(g.hosts, host)
	}
	return g, nil
}

// refusal is why a request is not answered.
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
	if err := g.origin.Check(r); err != nil {
		return &refusal{http.StatusForbidden,
			fmt.Sprintf("a page of %q may not do this at %q: see console.Options.Hosts", r.Header.Get("Origin"), r.Host)}
	}
	return nil
}

// isLocal reports whether the request came over loopback. There the network is no protection, and often nothing else is, so a
// page of another site is kept out that has made its own name resolve to 127.0.0.1 (DNS rebinding), and so is of the same
// origin for the browser. Elsewhere such a name gets nothing from the browser that the application would accept as a login.
func isLocal(r *http.Request) bool {
	addr := r.RemoteAddr
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		addr = local.String()
	}
	a, err := netip.ParseAddrPort(addr)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// expects reports whether a browser on this machine may name the host so, or one of Options.Hosts is meant.
func (g *guard) expects(host string) bool {
	host = strings.ToLower(host)
	name := (&url.URL{Host: host}).Hostname()
	if slices.Contains(g.hosts, host) || slices.Contains(g.hosts, name) || name == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && (ip.Unmap().IsLoopback() || ip.IsUnspecified()) // 0.0.0.0 and :: are this machine too, and no name
}

// originPatterns are the hosts as wspush.HandlerOptions.OriginPatterns.
func (g *guard) originPatterns() []string {
	patterns := make([]string, len(g.hosts))
	for i, host := range g.hosts {
		patterns[i] = strings.ReplaceAll(host, "[", `\[`) // of an IPv6 address
	}
	return patterns
}
