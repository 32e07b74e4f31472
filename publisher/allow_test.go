package publisher_test

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/wspush/wspush/publisher"
)

func TestAllowed(t *testing.T) {
	prefixes := func(all ...string) (out []netip.Prefix) {
		for _, s := range all {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	var asked []string
	for name, test := range map[string]struct {
		opts    publisher.Options
		yes, no []string // origins
	}{
		"names": {publisher.Options{Hosts: []string{"Worker-1", "b.example"}},
			[]string{"http://worker-1", "https://WORKER-1:99", "http://b.example:1"},
			[]string{"http://worker-2", "http://worker-1.evil.example", "http://a.b.example", "http://example", "http://10.0.0.1"}},
		"ports": {publisher.Options{Hosts: []string{"a:80", "b:443", "10.0.0.1:48775", "[::1]:7"}},
			[]string{"http://a", "http://a:80", "https://b", "http://10.0.0.1:48775", "http://[::1]:7", "http://[0:0::1]:7", "http://[::ffff:10.0.0.1]:48775"},
			[]string{"https://a", "http://a:81", "http://b", "http://10.0.0.1", "http://[::1]"}},
		"addresses": {publisher.Options{Hosts: []string{"10.0.0.1", "::1", "[2001:DB8::1]"}},
			[]string{"http://10.0.0.1:5", "http://[::1]:5", "http://[2001:db8::1]", "http://[::ffff:a00:1]"}, []string{"http://10.0.0.2", "http://[::2]", "http://localhost"}},
		"prefixes": {publisher.Options{Prefixes: prefixes("10.0.0.0/8", "fd00::/8", "::ffff:192.168.0.0/112")},
			[]string{"http://10.1.2.3", "http://[fd00::1]", "http://[::ffff:10.0.0.1]", "http://192.168.1.1"},
			[]string{"http://11.0.0.1", "http://[fe00::1]", "http://localhost", "http://ten.example", "http://192.169.0.1", "http://[::10.0.0.1]"}},
		"all of IPv4": {publisher.Options{Prefixes: prefixes("0.0.0.0/0")}, []string{"http://127.0.0.1"}, []string{"http://[::1]", "http://localhost"}},
		"func": {publisher.Options{Hosts: []string{"a"}, Allow: func(u *url.URL) bool {
			asked = append(asked, u.String())
			return u.Hostname() == "b" && u.Scheme == "https"
		}}, []string{"http://a", "https://B:443", "https://b:99"}, []string{"http://b", "http://c"}},
	} {
		c := newClient(t, test.opts)
		for _, origin := range test.yes {
			if _, err := c.Requests(addressOf(origin)); err != nil {
				t.Errorf("%s: %s: %v", name, origin, err)
			}
		}
		for _, origin := range test.no {
			if _, err := c.Requests(addressOf(origin)); !errors.Is(inError(t, err), publisher.ErrAddress) {
				t.Errorf("%s: %s: %v", name, origin, err)
			}
		}
		all := addressOf(test.no[0]) + "," + addressOf(test.yes[0]) + "," + addressOf(test.no[1])
		if requests, err := c.Requests(all); err != nil || len(requests) != 1 {
			t.Errorf("%s: %d of a list, %v", name, len(requests), err)
		}
	}
	for _, u := range asked {
		if strings.Count(u, "/") != 2 || strings.ContainsAny(u, "@?#") {
			t.Errorf("Allow was asked about %q", u)
		}
	}
}
