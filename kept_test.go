package wspush

import (
	"strings"
	"testing"
	"unicode/utf8"
	"unsafe"
)

func TestClip(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "0123456789": "0123456789", "01234567890": "0123456…", "01234é789": "01234é789", "012345é789": "012345…", "0123456é89": "0123456…",
		"ééééé": "ééééé", "éééééé": "ééé…", "\U0001F600\U0001F600\U0001F600": "\U0001F600…", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80": "\x80\x80\x80\x80\x80\x80\x80…",
	} {
		got := clip(s, 10)
		if got != want || utf8.ValidString(got) != utf8.ValidString(s) {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
		if s != "" && unsafe.StringData(got) == unsafe.StringData(s) {
			t.Errorf("%q: it is no copy", s)
		}
	}
	if got := clip(strings.Repeat("x", 1<<20), maxUserAgent); len(got) != maxUserAgent {
		t.Errorf("%d bytes of a long one are kept", len(got))
	}
}
