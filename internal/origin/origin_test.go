package origin

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// A port that is the scheme's own need not be named (RFC 6454 section 5), neither by the page nor by Host, which a proxy may have
// written.
func TestIsSame(t *testing.T) {
	for _, tc := range []struct {
		origin, host string
		want         bool
	}{
		{"https://example.com", "example.com", true},
		{"http://example.com", "example.com", true},
		{"https://example.com", "example.com:443", true},
		{"http://example.com", "example.com:80", true},
		{"https://example.com:443", "example.com", true},
		{"http://example.com:80", "example.com:80", true},
		{"https://example.com", "example.com:", true},
		{"HTTPS://EXAMPLE.com", "Example.COM:443", true},
		{"http://example.com:8080", "example.com:8080", true},
		{"https://[fd00::5]", "[fd00::5]:443", true},
		{"https://[fd00::5]", "[FD00:0::5]", true},
		{"http://[::1]:3000", "[::1]:3000", true},
		{"capacitor://localhost", "localhost", true},

		{"https://example.com", "example.com:80", false},
		{"http://example.com", "example.com:443", false},
		{"http://example.com:443", "example.com", false},
		{"https://example.com:80", "example.com", false},
		{"https://example.com", "example.com:8443", false},
		{"https://example.com:8443", "example.com", false},
		{"http://example.com:8080", "example.com:8081", false},
		{"capacitor://localhost", "localhost:443", false},
		{"https://example.com.evil.test", "example.com", false},
		{"https://example.com:443@evil.test", "example.com:443", false},
		{"https://example.com.", "example.com", false},
		{"https://[fd00::5]", "[fd00::6]", false},
		{"https://[fd00::5]:443", "fd00::5", false},
		{"null", "", false},
		{"null", "null", false},
		{"", "", false},
		{"https://", "", false},
		{"://", "", false},
		{"file://", "", false},
		{"https:example.com", "", false},
		{"http://[", "[", false},
	} {
		if got := IsSame(tc.origin, tc.host); got != tc.want {
			t.Errorf("a page of %q at the host %q: %v", tc.origin, tc.host, got)
		}
	}
}

func TestIsForeign(t *testing.T) {
	allowed := func(origin string) bool { return origin == "https://admin.test" }
	for _, tc := range []struct {
		method, host, origin, site string
		want                       bool
	}{
		{"POST", "h.test", "", "", false},
		{"POST", "h.test:443", "https://h.test", "", false},
		{"POST", "h.test:80", "https://h.test", "", true},
		{"POST", "H.test", "http://h.test", "", false},
		{"POST", "h.test", "https://evil.test", "", true},
		{"DELETE", "h.test", "https://evil.test", "", true},
		{"PUT", "h.test", "https://evil.test", "", true},
		{"GET", "h.test", "https://evil.test", "cross-site", false},
		{"HEAD", "h.test", "https://evil.test", "", false},
		{"OPTIONS", "h.test", "https://evil.test", "", false},
		{"POST", "h.test", "https://admin.test", "cross-site", false},
		{"POST", "h.test", "https://admin.test", "", false},
		{"POST", "h.test", "https://x.test", "same-origin", false},
		{"POST", "h.test", "", "none", false},
		{"POST", "h.test", "", "cross-site", true},
		{"POST", "h.test", "https://h.test", "same-site", true},
		{"POST", "h.test", "https://h.test", "nonsense", true},
		{"POST", "", "null", "", true},
		{"POST", "h.test", "null", "", true},
	} {
		r := httptest.NewRequest(tc.method, "/", nil)
		r.Host = tc.host
		for name, value := range map[string]string{"Origin": tc.origin, "Sec-Fetch-Site": tc.site} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if got := IsForeign(r, allowed); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

// What is refused comes with what to write instead, wherever that can be told.
func TestCheckName(t *testing.T) {
	for s, instead := range map[string]string{
		"https://admin.example.com": "", "http://localhost:3000": "", "http://[::1]:3000": "", "http://10.0.0.5:8080": "", "chrome-extension://abcdef": "",
		"https://Admin.example.com":     "https://admin.example.com",
		"https://admin.example.com:443": "https://admin.example.com",
		"http://admin.example.com:80/":  "http://admin.example.com",
		"https://admin.example.com/x?y": "https://admin.example.com",
		"https://user@admin.example":    "an origin is",
		"http://[0:0::1]:3000":          "http://[::1]:3000",
		"wss://admin.example.com":       "https://admin.example.com",
		"http://localhost:03000":        "is not a port",
		"http://localhost:99999":        "is not a port",
		"http://localhost:0":            "is not a port",
		"http://127.1":                  "no page's host has that name",
		"http://a..b":                   "no page's host has that name",
		"http://fd00::5":                "http://[fd00::5]",
		"https://*.example.com":         "an origin is",
		"null":                          "an origin is",
		"admin.example.com":             "an origin is",
		"":                              "an origin is",
	} {
		err := CheckName(s)
		if instead == "" && err != nil || instead != "" && (err == nil || !strings.Contains(err.Error(), instead)) {
			t.Errorf("%q: %v, want %q", s, err, instead)
		}
	}
}
