package publisher

import (
	"strings"
	"unicode"
)

const (
	maxText = 200 // bytes of a server's text that an error keeps

	hidden     = "…"
	manyDigits = 12 // hex digits in a row that may be a good part of an ID
	longWord   = 32 // characters in a row that may be an ID, or a good part of a sealed ID
)

// scrub makes a text that others can influence fit for an error: it removes anything that may be an ID, a sealed ID or the secret,
// replaces control characters, and shortens the text. A server may repeat what it was sent, and package net/http quotes servers.
func scrub(text, secret string) string {
	if secret != "" {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	text = strings.ToValidUTF8(text, "�")
	var b strings.Builder
	for text != "" && b.Len() <= maxText {
		n := strings.IndexFunc(text, func(r rune) bool { return !isWord(r) })
		if n < 0 {
			n = len(text)
		}
		if word := text[:n]; isSecret(word, b.String()) {
			b.WriteString(hidden)
		} else {
			b.WriteString(word)
		}
		text = text[n:]
		for i, r := range text {
			if isWord(r) {
				text = text[i:]
				break
			}
			if unicode.IsPrint(r) {
				b.WriteRune(r)
			} else {
				b.WriteByte(' ')
			}
			if i+len(string(r)) == len(text) {
				text = ""
			}
		}
	}
	out := strings.TrimSpace(b.String())
	if len(out) > maxText {
		out = strings.ToValidUTF8(out[:maxText], "") + hidden
	}
	return out
}

func isWord(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// isSecret reports whether a word may be (part of) an ID, or of a sealed ID, which begins with "v1.".
func isSecret(word, before string) bool {
	switch {
	case word == "":
		return false
	case len(word) >= longWord, strings.HasSuffix(before, "v1."), strings.HasSuffix(before, "V1."):
		return true
	}
	digits := 0
	for _, c := range []byte(strings.ToLower(word)) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
			digits++
		} else if c != '-' {
			digits = 0
		}
		if digits >= manyDigits {
			return true
		}
	}
	return false
}
