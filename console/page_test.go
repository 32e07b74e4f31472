package console_test

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

// The policy allows the page its own script and style and nothing else, and lets nobody frame or store it.
func TestPagePolicy(t *testing.T) {
	s := newSite(t, nil)
	w := get(s.console, "/", "console.example", nil)
	html, policy := bodyOf(t, w), w.Header().Get("Content-Security-Policy")
	for _, element := range []string{"script", "style"} {
		found := regexp.MustCompile(`(?s)<`+element+`[^>]*>(.*?)</`+element+`>`).FindAllStringSubmatch(html, -1)
		if len(found) != 1 {
			t.Fatalf("the page has %d elements %s, but its policy allows one", len(found), element)
		}
		hash := sha256.Sum256([]byte(found[0][1]))
		if want := element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "';"; !strings.Contains(policy, want) {
			t.Errorf("the policy has no %s: %s", want, policy)
		}
	}
	// The client is a part of the script: as a file of its own, it would need a policy that allows more.
	if !strings.Contains(html, "\nexport function connect(url, options = {}) {\n") || regexp.MustCompile(`\bfrom\s*['"]`).MatchString(html) {
		t.Error("the page's script is without wspush.js")
	}
	for _, want := range []string{"default-src 'none'", "connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy has no %s: %s", want, policy)
		}
	}
	for name, want := range map[string]string{
		"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
		"Content-Type": "text/html; charset=utf-8",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	// No outside asset, and no handler or style in an attribute, which the policy would block.
	for _, bad := range []string{`(src|href)="?https?:`, `\son\w+=`, `\sstyle=`, `@import`, `innerHTML`, `url\(`} {
		if found := regexp.MustCompile(bad).FindString(html[strings.Index(html, "<body>"):]); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
}
