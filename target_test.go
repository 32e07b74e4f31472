package wspush

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestReadTarget(t *testing.T) {
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	const other = "00000000-0000-4000-8000-000000000000"
	for _, tc := range []struct {
		target, user string
		id           string
		lives, not   string // paths at which the connection may live, and at which it may not
		err          error
	}{
		{target: "/ws", user: id, id: id, lives: "/ws", not: "/ / /WS /ws/x /w"},
		{target: "/ws?x=/@connections/" + other, user: id, id: id, lives: "/ws"},
		{target: "/ws/", user: id, id: id, lives: "/ws/"},
		{target: "/", user: id, id: id, lives: "/", not: "/ws //"},
		{target: "/%7ejoe/%2f", user: id, id: id, lives: "/~joe/%2F", not: "/~joe//"},
		{target: "/a,b%2Fc", user: id, id: id, lives: "/a%2Cb%2Fc", not: "/a%2Cb/c"},
		{target: "/ws/@connections/" + id, id: id, lives: "/ws /ws/", not: "/ /w /ws/x"},
		{target: "/ws/%40connections/" + id, id: id, lives: "/ws /ws/"},
		{target: "/@connections/" + id, id: id, lives: "/", not: "/ws"},
		{target: "//@connections/" + id, id: id, lives: "//", not: "/ws"},
		{target: "/a,b/@connections/" + id, id: id, lives: "/a%2Cb"},
		{target: "/a%2Fb/@connections/" + id, id: id, lives: "/a%2Fb", not: "/a/b"},
		{target: "/ws/@connections/" + id, user: other, id: id, lives: "/ws"},
		{target: "/ws/@connections/" + strings.ToUpper(id), id: strings.ToUpper(id), lives: "/ws"},
		{target: "/ws", err: errNoID},
		{target: "/ws/connections/" + id, err: errNoID},
		{target: "/ws/@connections", err: errNoForm},
		{target: "/ws/@connections/", err: errNoForm},
		{target: "/ws/@connections/" + id + "/", err: errNoForm},
		{target: "/ws", user: "12", err: errInvalidID},
		{target: "/ws", user: "{" + id + "}", err: errInvalidID},
		{target: "/ws", user: "urn:uuid", err: errInvalidID},
		{target: "/ws", user: id + "0", err: errInvalidID},
		{target: "/ws", user: id[:35], err: errInvalidID},
		{target: "/ws", user: "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4beg", err: errInvalidID},
		{target: "/ws", user: "1b9d6bcdbbfd-4b2d-9b5d--ab8dfbbd4bed", err: errInvalidID},
		{target: "/ws/@connections/12", user: id, err: errInvalidID},
		{target: "/ws/@connections/" + id + "%00", err: errInvalidID},
	} {
		r := httptest.NewRequest("POST", tc.target, nil)
		if tc.user != "" {
			r.SetBasicAuth(tc.user, "password")
		}
		got, err := readTarget(r)
		if !errors.Is(err, tc.err) || err == nil && got.id != tc.id {
			t.Errorf("%s with user %q: got %+v, %v; want %s, %v", tc.target, tc.user, got, err, tc.id, tc.err)
			continue
		}
		for _, path := range strings.Fields(tc.lives) {
			if !got.lives(path) {
				t.Errorf("%s with user %q cannot live at %s", tc.target, tc.user, path)
			}
		}
		for _, path := range strings.Fields(tc.not) {
			if tc.err == nil && got.lives(path) {
				t.Errorf("%s with user %q may live at %s", tc.target, tc.user, path)
			}
		}
	}
}

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
