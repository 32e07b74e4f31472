package origin

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// check has the page of an origin connect to h.test.
func check(t *testing.T, origin string, patterns ...string) bool {
	t.Helper()
	all, err := ParsePatterns(patterns)
	if err != nil {
		t.Errorf("%q: %v", patterns, err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = "h.test"
	r.Header.Set("Origin", origin)
	return all.Check(r) == nil
}

func TestPatterns(t *testing.T) {
	for _, tc := range []struct{ pattern, yes, no string }{ // lists
		{"example.com", "http://example.com https://example.com HTTPS://Example.COM https://example.com:443 http://example.com:80",
			"https://example.com:8443 https://a.example.com https://example.com.evil.test null file://"},
		{"https://example.com", "https://example.com https://example.com:443", "http://example.com https://example.com:80 http://example.com:443"},
		{"example.com:443", "https://example.com https://example.com:443 http://example.com:443", "http://example.com https://example.com:444"},
		{"example.com:80", "http://example.com https://example.com:80", "https://example.com"},
		{"https://example.com:443", "https://example.com", "http://example.com http://example.com:443"},
		{"http://example.com:443", "http://example.com:443", "http://example.com https://example.com"},
		{"*.example.com", "https://a.example.com https://A.b.Example.com", "https://example.com https://a.example.com:8443"},
		{"*.example.com:443", "https://a.example.com", "http://a.example.com"},
		{"localhost:*", "http://localhost:3000", "http://localhost https://localhost.evil.test:1"},
		{"localhost:300[0-9]", "http://localhost:3005", "http://localhost:3010"},
		{"*://example.com", "http://example.com app://example.com", "http://b.test"},
		{"[a-c].test", "http://a.test", "http://d.test"},
		{"*", "http://evil.test:1 https://[::1] null file://", ""},
		{"*:443", "https://a.test", "http://a.test null"},
		{"file://", "file://", "null http://file"},
		{"app://.", "app://.", "app://x"},
		{"chrome-extension://abcdefgh", "chrome-extension://abcdefgh", "chrome-extension://b"},

		{"[fd00::5]", "http://[fd00::5] https://[FD00:0::5] https://[fd00::5]:443", "http://f http://d http://: http://[fd00::6] http://[fd00::5]:81"},
		{"[FD00:0::5]:8080", "http://[fd00::5]:8080", "http://[fd00::5]"},
		{"[fd00::5]:*", "http://[fd00::5]:8080", "http://f:1 http://[fd00::5]"},
		{"[fd00::5]:443", "https://[fd00::5]", "http://[fd00::5]"},
		{"http://[::1]:3000", "http://[::1]:3000", "https://[::1]:3000"},
		{"[fd00::*]:*", "http://[fd00::77]:1", "http://[fe00::77]:1 http://f:1"},
		{`\[fd00::5\]:*`, "http://[fd00::5]:8080", "http://f:1"},
		{"[::ffff:1.2.3.4]", "http://[::ffff:102:304]", "http://1.2.3.4"},
	} {
		for origin := range strings.FieldsSeq(tc.yes) {
			if !check(t, origin, tc.pattern) || !check(t, origin, "other.test", tc.pattern) {
				t.Errorf("%q does not let %q in", tc.pattern, origin)
			}
		}
		for origin := range strings.FieldsSeq(tc.no) {
			if check(t, origin, tc.pattern) {
				t.Errorf("%q lets %q in", tc.pattern, origin)
			}
		}
	}
	if !check(t, "https://h.test:443") || check(t, "https://h.test:80") || check(t, "http://%zz") {
		t.Error("without patterns")
	}
}

// What no page's origin can match is refused, with what to write instead wherever that can be told.
func TestPatternsRefused(t *testing.T) {
	for pattern, instead := range map[string]string{
		"":                          "empty",
		"[":                         "path.Match",
		"a\\":                       "path.Match",
		"https://example.com/":      `"https://example.com"`,
		"https://*.example.com/a/b": `"https://*.example.com"`,
		"example.com/":              `"example.com"`,
		"//example.com":             `"https://example.com"`,
		"wss://example.com":         `"https://example.com"`,
		"ws://localhost:*":          `"http://localhost:*"`,
		"https://user@example.com":  `"https://example.com"`,
		"a.test,b.test":             "elements of their own",
		" a.test":                   "no spaces",
		"null":                      `"*"`,
		"NULL":                      `"*"`,
		"https://":                  "no host",
		"0://":                      "not a scheme",
		"1a://example.com":          "not a scheme",
		"://example.com":            "not a scheme",
		"a:]":                       "without a [",
		":8080":                     "no host",
		"example.com:":              "behind the colon",
		"example.com:0":             "is not a port",
		"example.com:65536":         "is not a port",
		"example.com:080":           "is not a port",
		"https:example.com":         "is not a port",
		"localhost:x*":              "is not a port",
		"a:1:2":                     "it is neither",
		"::1":                       `"[::1]"`,
		"http://fd00::5":            `"http://[fd00::5]"`,
		"[fd00::5%eth0]":            "zone",
		"[fd00::5]x":                "only a port",
		"[fd00::5]:":                "behind the colon",
		"[fd00::5]:0":               "is not a port",
		"[fd00::zz]":                "not an IPv6 address",
		"[10.0.0.5]":                `"10.0.0.5"`,
		"https://[localhost]":       "stand for one of the characters",
		"[example.com]:8080":        "stand for one of the characters",
		"bücher.example":            "xn--",
		"example.com?":              "",
		"example.com#x":             "no host has",
		"exa_mple.com~":             "no host has",
		"a..b":                      "no page's host",
		"127.1":                     "no page's host",
		"0x7f000001":                "no page's host",
	} {
		_, err := ParsePatterns([]string{"fine.test", pattern})
		if instead == "" { // ? matches a character
			if err != nil {
				t.Errorf("%q: %v", pattern, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), instead) || !strings.Contains(err.Error(), ": ") {
			t.Errorf("%q: %v, want %s", pattern, err, instead)
		}
	}
}
