package address

import (
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	for s, want := range map[string]string{
		"h": "h", "Push.Example-1.com": "push.example-1.com", "a_b:8080": "a_b:8080", "10.0.0.5": "10.0.0.5", "10.0.0.5:1": "10.0.0.5:1",
		"[FD00:0::5]": "[fd00::5]", "[::1]:65535": "[::1]:65535", "[::ffff:10.0.0.5]:80": "10.0.0.5:80", "1.example": "1.example", "169.254.1.1": "169.254.1.1",
		strings.Repeat("a.", 126) + "b": strings.Repeat("a.", 126) + "b",
	} {
		if h, err := ParseHost(s); err != nil || h.String() != want {
			t.Errorf("%q: %q, %v; want %q", s, h, err, want)
		}
	}
	for _, s := range []string{
		"", ":80", "a:", "a:0", "a:65536", "a:080", "a:+1", "a:b", "a:1:2", "::1", "[::1", "[::1]x", "[::1]:", "[a]", "[10.0.0.5]", "[fe80::1%eth0]",
		"a b", "a/b", "a@b", "a..b", ".a", "a.", "10.0.0.5.", "ü", "127.1", "1", "0x7f000001", "0x", "a.0x1", "99999999999999999999999", "a~b", "a%41",
		"0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "224.0.0.1", "[ff02::1]", "255.255.255.255", strings.Repeat("a.", 127) + "b",
	} {
		if h, err := ParseHost(s); err == nil {
			t.Errorf("%q is accepted: %q", s, h)
		}
	}
}
