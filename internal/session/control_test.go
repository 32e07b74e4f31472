package session_test

import (
	"bytes"
	"testing"

	"github.com/wspush/wspush/internal/session"
)

func TestControl(t *testing.T) {
	for data, word := range map[string]string{
		"\x06p": "p", "\x06": "", "\x06P": "P", "\x06pp": "pp", "\x06p\x06": "p\x06", "\x06p ": "p ", "\x06{}": "{}", "\x06\x00": "\x00", "\x06é": "é",
	} {
		isControl, got, payload := session.Control([]byte(data))
		if !isControl || string(got) != word || payload != nil {
			t.Errorf("%q: %v, %q, %q, want the word %q", data, isControl, got, payload, word)
		}
		if isProbe := string(got) == session.ProbeWord; isProbe != (data == session.Probe) {
			t.Errorf("%q is a probe: %v", data, isProbe)
		}
	}
	for data, message := range map[string]string{
		"": "", "p": "p", "hello": "hello", "\x05p": "\x05p", "\x07p": "\x07p", " \x06p": " \x06p", "p\x06": "p\x06", "p\x06\x06": "p\x06\x06",
		"\x06\x06": "\x06", "\x06\x06p": "\x06p", "\x06\x06\x06": "\x06\x06", "\x06\x06\x06\x06p": "\x06\x06\x06p",
	} {
		isControl, word, got := session.Control([]byte(data))
		if isControl || word != nil || string(got) != message {
			t.Errorf("%q: %v, %q, %q, want the message %q", data, isControl, word, got, message)
		}
		if got := session.Unescape([]byte(data)); string(got) != message {
			t.Errorf("%q stands for %q, want %q", data, got, message)
		}
		if got := session.Escape([]byte(message)); string(got) != data {
			t.Errorf("%q is written as %q, want %q", message, got, data)
		}
	}
}

// Nothing is copied on the way in, and nothing written over on the way out.
func TestEscapeCopies(t *testing.T) {
	for _, data := range [][]byte{nil, []byte("hello"), []byte("\x06\x06hello"), []byte("\x06p")} {
		if n := testing.AllocsPerRun(10, func() { session.Control(data) }); n > 0 {
			t.Errorf("%q: %v allocations", data, n)
		}
	}
	whole := []byte("\x06message and more")
	if got := session.Escape(whole[:8]); string(got) != "\x06\x06message" || string(whole) != "\x06message and more" {
		t.Errorf("%q, and of %q", got, whole)
	}
}

// FuzzControl: a message arrives as it was sent and is never control; control is never a message; and no two texts are the same message.
func FuzzControl(f *testing.F) {
	for _, data := range []string{"", "p", "\x06", "\x06p", "\x06\x06", "\x06\x06p", "\x06\x06\x06", "\x00\x06", "é\x06"} {
		f.Add([]byte(data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		original := bytes.Clone(data)
		escaped := session.Escape(data)
		isControl, _, got := session.Control(escaped)
		if isControl || !bytes.Equal(got, data) || !bytes.Equal(session.Unescape(escaped), data) {
			t.Errorf("%q arrives as %q, control: %v", data, got, isControl)
		}
		isControl, word, payload := session.Control(data)
		switch {
		case isControl && (payload != nil || !bytes.Equal(append([]byte{6}, word...), data)):
			t.Errorf("control %q: %q, %q", data, word, payload)
		case !isControl && (word != nil || !bytes.Equal(session.Escape(payload), data)):
			t.Errorf("message %q: %q, %q", data, word, payload)
		}
		if !bytes.Equal(data, original) {
			t.Errorf("%q has become %q", original, data)
		}
	})
}
