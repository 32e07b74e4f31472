package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{
		"42", " ", ".", "..", "a b", "a%2Fb", "a,b", "a?b#c", `a\b`, "@users", "@connections", "Zoë", "房间", "a\u2028b",
		strings.Repeat("x", MaxName), strings.Repeat("é", MaxName/2),
	} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"":                                      "empty",
		strings.Repeat("x", MaxName+1):          "257 bytes",
		strings.Repeat("é", MaxName/2) + "x":    "257 bytes",
		"\xff":                                  "UTF-8",
		"a\xc3":                                 "UTF-8",
		"a/b":                                   "slash",
		"/":                                     "slash",
		"a\nb":                                  "control",
		"a\x00":                                 "control",
		"\x7f":                                  "control",
		"a\u0085b":                              "control",
		strings.Repeat("secret", 2) + "\r\n":    "control",
		"secret" + strings.Repeat("/", MaxName): "262 bytes",
	} {
		err := CheckName(name)
		if !errors.Is(err, ErrName) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
	}
}
