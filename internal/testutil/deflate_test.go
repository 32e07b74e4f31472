package testutil

import (
	"testing"
)

// The examples of RFC 7692, section 7.2.3, for a message that stands alone.
func TestInflateRFC(t *testing.T) {
	for name, raw := range map[string]string{
		"one block":      "\xf2\x48\xcd\xc9\xc9\x07\x00",
		"no compression": "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
		"final block":    "\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
		"two blocks":     "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
		"our own":        string(Deflate([]byte("Hello"))),
	} {
		if got, err := Inflate([]byte(raw)); err != nil || string(got) != "Hello" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestInflateRefuses(t *testing.T) {
	for name, raw := range map[string][]byte{
		"garbage": []byte("\xff\xff\xff"),
		// "Hello" again, as a reference to the message before (RFC 7692, section 7.2.3.2).
		"context takeover": []byte("\xf2\x00\x11\x00\x00"),
	} {
		if got, err := Inflate(raw); err == nil {
			t.Errorf("%s: got %s", name, quote(got))
		}
	}
}
