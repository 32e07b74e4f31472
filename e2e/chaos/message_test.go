package main

import (
	"slices"
	"testing"
)

func TestMessage(t *testing.T) {
	for _, m := range []Message{
		{To: "a", Publisher: 3, Seq: 5, Nonce: 1<<63 + 7, Size: 1000},
		{To: "a", Nonce: 1 << 63, Size: 0, Binary: true},
		{To: "a", Nonce: 1<<63 + 1, Size: 65537},
	} {
		data := m.encode()
		got, fault := decode(data, m.Binary)
		if got != m || fault != "" {
			t.Errorf("%+v: %+v, %s", m, got, fault)
		}
		if _, fault = decode(data, !m.Binary); fault == "" {
			t.Errorf("%+v: the wrong type is not noticed", m)
		}
		if _, fault = decode(data[:len(data)-1], m.Binary); fault == "" {
			t.Errorf("%+v: a missing byte is not noticed", m)
		}
		if _, fault = decode(append(slices.Clone(data), 'x'), m.Binary); fault == "" {
			t.Errorf("%+v: a byte too many is not noticed", m)
		}
		if m.Size > 0 {
			data[len(data)-2] ^= 1
			if _, fault = decode(data, m.Binary); fault == "" {
				t.Errorf("%+v: a wrong byte is not noticed", m)
			}
		}
	}
}

func TestMarked(t *testing.T) {
	for _, m := range []Message{
		{To: "a", Nonce: 1 << 63, Size: 200}, {To: "a", Nonce: 1<<63 + 1, Size: 200}, {To: "a", Nonce: 1 << 63, Size: 200, Binary: true},
	} {
		data := m.encodeMarked()
		isMarked := data[0] == control
		if want := m.Nonce == 1<<63 && !m.Binary; isMarked != want {
			t.Errorf("%+v: marked: %v", m, isMarked)
		}
		if got, fault := decodeMarked(data, m.Binary); got != m || fault != "" {
			t.Errorf("%+v has become %+v: %s", m, got, fault)
		}
		other := append([]byte{control}, data...)
		if isMarked {
			other = data[1:]
		}
		if _, fault := decodeMarked(other, m.Binary); fault == "" {
			t.Errorf("%+v, with its first byte lost or too much, is sound", m)
		}
	}
	// What a client makes of texts on the wire.
	for text, want := range map[string]string{"": "", "a": "a", "\x06\x06": "\x06", "\x06\x06a": "\x06a"} {
		if got, isMessage := payloadOf([]byte(text)); string(got) != want || !isMessage {
			t.Errorf("%q: %q, %v", text, got, isMessage)
		}
	}
	for _, text := range []string{"\x06", "\x06p", "\x06a\x06"} {
		if _, isMessage := payloadOf([]byte(text)); isMessage {
			t.Errorf("%q is a message", text)
		}
	}
}
