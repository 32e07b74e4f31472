package publisher_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
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
		"schemes": {publisher.Options{Hosts: []string{"https://a", "HTTPS://B:8443", "http://c", "http://[::1]:7", "https://fd00::1", "https://10.1.0.0/16", "http://[::2]", "d", "http://d:1"}},
			[]string{"https://a", "https://a:99", "https://b:8443", "http://c", "http://c:99", "http://[::1]:7", "https://[fd00::1]:5", "https://10.1.2.3", "http://[::2]:9", "http://d:1", "http://d:2", "https://d"},
			[]string{"http://a", "http://b:8443", "https://b", "https://c", "https://[::1]:7", "http://[::1]", "http://[fd00::1]", "http://10.1.2.3", "https://10.2.0.1"}},
		"a credential": {publisher.Options{Hosts: []string{"a", "b:7", "https://c", "http://d", "localhost", "127.0.0.1", "::1", "x.localhost"}, Credential: "secret"},
			[]string{"https://a", "https://b:7", "https://c", "http://d", "http://d:5", "http://localhost:5", "http://127.0.0.1:5", "http://[::1]:5", "http://x.localhost", "http://[::ffff:127.0.0.1]"},
			[]string{"http://a", "http://a:443", "http://b:7", "http://c", "https://d", "http://localhost.a"}},
		"a credential, prefixes": {publisher.Options{Hosts: []string{"http://10.1.0.0/16"}, Prefixes: prefixes("10.0.0.0/8", "127.0.0.0/8"), Credential: "secret"},
			[]string{"http://10.1.2.3", "https://10.1.2.3", "https://10.2.0.1", "http://127.0.0.1"}, []string{"http://10.2.0.1", "http://[::ffff:10.2.0.1]", "https://11.0.0.1"}},
		"a credential, func": {publisher.Options{Hosts: []string{"http://a"}, Allow: func(u *url.URL) bool { return u.Hostname() != "c" }, Credential: "secret"},
			[]string{"http://a", "https://b", "http://127.8.8.8"}, []string{"http://b", "https://c"}},
		"credentials that change": {publisher.Options{Hosts: []string{"a"}, CredentialFunc: func(context.Context) (string, error) { return "", nil }},
			[]string{"https://a"}, []string{"http://a", "http://b"}},
		"TLS": {publisher.Options{Hosts: []string{"a"}, TLS: &tls.Config{}}, []string{"https://a"}, []string{"http://a", "http://b"}},
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

// An address that says http cannot have a credential sent in clear, whichever way is pushed; and the error says what is missing.
func TestNoCredentialInClear(t *testing.T) {
	dialled := make(chan string, 100)
	c := newClient(t, publisher.Options{Hosts: []string{"worker.test"}, Credential: "secret", Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		dialled <- address
		return nil, errors.New("nobody is there")
	}})
	s := c.NewStream()
	defer s.Close()
	address := addressOf("http://worker.test:9090")
	if err := push(t, c, address); !errors.Is(err, publisher.ErrAddress) || !strings.Contains(err.Error(), "Options.Hosts") {
		t.Errorf("Push: %v", err)
	}
	if _, err := s.Push(context10(t), address, publisher.Text, nil); !errors.Is(err, publisher.ErrAddress) {
		t.Errorf("Stream.Push: %v", err)
	}
	if _, err := c.Lookup(context10(t), address); !errors.Is(err, publisher.ErrAddress) {
		t.Errorf("Lookup: %v", err)
	}
	if err := c.Disconnect(context10(t), address, 1000, ""); !errors.Is(err, publisher.ErrAddress) {
		t.Errorf("Disconnect: %v", err)
	}
	// Of a list, what is https is used.
	if err := push(t, c, address+","+addressOf("https://worker.test:9091")); !errors.Is(err, publisher.ErrUnreachable) {
		t.Errorf("a list: %v", err)
	}
	if n := len(dialled); n != 1 || <-dialled != "worker.test:9091" {
		t.Errorf("dialled %d times", n)
	}
}
