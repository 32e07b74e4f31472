package publisher_test

import (
	"net/netip"
	"testing"

	"github.com/wspush/wspush/publisher"
)

func TestOptions(t *testing.T) {
	hosts := []string{"a"}
	for name, opts := range map[string]*publisher.Options{
		"nil": nil, "nothing allowed": {}, "empty": {Hosts: []string{}, Prefixes: []netip.Prefix{}},
		"host with another scheme": {Hosts: []string{"ws://a"}}, "no scheme": {Hosts: []string{"://a"}}, "scheme and path": {Hosts: []string{"https://a/"}},
		"scheme and user": {Hosts: []string{"https://x@a"}}, "scheme alone": {Hosts: []string{"https://"}}, "prefix without a scheme": {Hosts: []string{"10.0.0.0/8"}},
		"prefix too long": {Hosts: []string{"https://10.0.0.0/33"}}, "prefix and port": {Hosts: []string{"https://10.0.0.0/8:80"}}, "dot at the end": {Hosts: []string{"a."}},
		"empty host": {Hosts: []string{""}}, "path": {Hosts: []string{"a/b"}},
		"user": {Hosts: []string{"x@a"}}, "number": {Hosts: []string{"127.1"}}, "port 0": {Hosts: []string{"a:0"}}, "no port": {Hosts: []string{"a:"}},
		"wildcard": {Hosts: []string{"*.example"}}, "prefix": {Prefixes: []netip.Prefix{{}}}, "short mapped prefix": {Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/90")}},
		"bytes": {Hosts: hosts, MaxStreamBytes: -1}, "credential": {Hosts: hosts, Credential: "bearer-secret\n"},
	} {
		if c, err := publisher.New(opts); inError(t, err) == nil {
			t.Errorf("%s: no error", name)
			c.Close()
		}
	}
}
