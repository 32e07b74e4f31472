package address

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestSelectHosts(t *testing.T) {
	all := []string{"127.0.0.1", "::1", "10.0.0.5", "fd00::5", "169.254.1.1", "fe80::1%eth0"}
	loopback := []string{"127.0.0.1", "::1", "fe80::1%eth0"}
	for _, tc := range []struct {
		name       string
		up         []string
		ipv4, ipv6 bool
		want       string
	}{
		{"both families", all, true, true, "[10.0.0.5 fd00::5]"},
		{"IPv4 only", all, true, false, "[10.0.0.5]"},
		{"IPv6 only", all, false, true, "[fd00::5]"},
		{"no multicast", []string{"224.0.0.1", "ff02::1", "2001:db8::1"}, true, true, "[2001:db8::1]"},
		{"loopback only", loopback, true, true, "[127.0.0.1 ::1]"},
		{"loopback, IPv4 only", loopback, true, false, "[127.0.0.1]"},
		{"loopback, IPv6 only", append(loopback, "10.0.0.5"), false, true, "[::1]"},
		{"twice", []string{"10.0.0.5", "10.0.0.5"}, true, true, "[10.0.0.5]"},
		{"nothing", nil, true, true, "[127.0.0.1]"},
		{"nothing, IPv6 only", nil, false, true, "[::1]"},
	} {
		var up []netip.Addr
		for _, s := range tc.up {
			up = append(up, netip.MustParseAddr(s))
		}
		if got := fmt.Sprint(selectHosts(up, tc.ipv4, tc.ipv6)); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
