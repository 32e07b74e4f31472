package publisher_test

import (
	"strings"
	"testing"

	"github.com/wspush/wspush/publisher"
)

func TestScrub(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "",
		"plain words, 8080 [::1]:48775": "plain words, 8080 [::1]:48775",
		"x" + id + "y":                  "…",
		strings.ToUpper(id):             "…",
		"a-" + id[:20] + "!":            "…!",
		sealedID:                        "v1.…",
		"v1.abc/v1.d":                   "v1.…/v1.…",
		"the secret: s3cr3t":            "the secret: …",
		"\x1b[31m\r\nred\x00":           "[31m  red",
		"\xff" + id:                     "�…",
		"deadbeef-2026-11-25":           "deadbeef-2026-11-25"[:0] + "…",
		"2026-11-25T10:00:00":           "2026-11-25T10:00:00",
		strings.Repeat("é ", 300):       strings.TrimSpace(strings.Repeat("é ", publisher.MaxText/3)) + "…",
	} {
		got := publisher.Scrub(text, "s3cr3t")
		if len(text) > publisher.MaxText {
			if !strings.HasPrefix(text, strings.TrimSuffix(got, "…")) || len(got) > publisher.MaxText+3 {
				t.Errorf("got %q", got)
			}
			continue
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
