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
