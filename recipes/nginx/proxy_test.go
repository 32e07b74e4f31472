package nginx

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestBehindProxy(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/64")}
	const peer, other = "10.0.0.10:4711", "192.0.2.1:4711"
	tests := []struct {
		name      string
		peer      string
		forwarded []string
		want      string
	}{
		{"from the proxy", peer, []string{"203.0.113.7"}, "203.0.113.7:0"},
		{"IPv6", "[fd00::10]:4711", []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		{"an IPv4 client of an IPv6 listener", "[::ffff:10.0.0.10]:4711", []string{"::ffff:203.0.113.7"}, "203.0.113.7:0"},
		{"through two proxies", peer, []string{"203.0.113.7, 10.0.0.11"}, "203.0.113.7:0"},
		{"in two headers", peer, []string{"203.0.113.7", "10.0.0.11"}, "203.0.113.7:0"},
		{"with what the client made up", peer, []string{"192.0.2.66,203.0.113.7"}, "203.0.113.7:0"},
		{"no header", peer, nil, peer},
		{"an empty one", peer, []string{""}, peer},
		{"nonsense", peer, []string{"203.0.113.7, unknown"}, peer},
		{"proxies only", peer, []string{"10.0.0.11"}, peer},
		{"not from the proxy", other, []string{"203.0.113.7"}, other},
		{"not from the proxy, says it is", other, []string{"10.0.0.10"}, other},
		{"a socket without addresses", "@", []string{"203.0.113.7"}, "@"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/ws", nil)
			r.RemoteAddr = test.peer
			r.Header["X-Forwarded-For"] = test.forwarded
			got := ""
			behindProxy(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RemoteAddr })).ServeHTTP(nil, r)
			if got != test.want {
				t.Errorf("RemoteAddr is %q, want %q", got, test.want)
			}
			if r.RemoteAddr != test.peer {
				t.Errorf("the server's request was changed to %q", r.RemoteAddr)
			}
		})
	}
}
