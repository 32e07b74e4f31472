package sessionfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"reflect"
	"testing"
	"time"
)

// records returns a file that has these bytes after a start.
func records(b ...byte) []byte {
	all := append([]byte(magic), byte(startKind), 0)
	return signed(append(all, b...))
}

// A record of a version that knows fewer fields has zero in the others, and what one has that knows more is left.
func TestFields(t *testing.T) {
	var whole form
	s := example().Sessions[0]
	s.Messages = s.Messages[:1]
	s.Released, s.Confirmed, s.Begun = 0, 0, 1
	whole.session(&s)
	var again Session
	later := form{b: append(bytes.Clone(whole.b), "what a later version has"...), isReading: true}
	if later.session(&again); later.err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("of a later version: %v\n%+v\n%+v", later.err, again, s)
	}
	f, err := Decode(records(byte(sessionKind), 3, 2, 'i', 'd'))
	if err != nil || !reflect.DeepEqual(f.Sessions, []Session{{ID: "id"}}) {
		t.Errorf("of an earlier version: %+v, %v", f, err)
	}
	early := 0
	for n := range whole.b { // cut between two fields, it is one of an earlier version; elsewhere it is none
		cut := form{b: whole.b[:n:n], isReading: true}
		again = Session{}
		if cut.session(&again); cut.err == nil {
			early++
		}
	}
	// Lost has four.
	if fields := reflect.TypeFor[Session]().NumField() + 3; early != fields {
		t.Errorf("%d of %d places are between fields, of which there are %d", early, len(whole.b), fields)
	}
}

// What is no record is an error, and takes no more memory than it has.
func TestNoRecord(t *testing.T) {
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}
	for name, b := range map[string][]byte{
		"unknown":                 {9, 0},
		"none":                    {0, 0},
		"a second start":          {byte(startKind), 0},
		"cut":                     {byte(sharedKind), 2, 'x'},
		"no size":                 {byte(sharedKind)},
		"a size without an end":   bytes.Repeat([]byte{0xff}, 12),
		"a huge size":             append([]byte{byte(sharedKind)}, huge...),
		"a huge text":             append([]byte{byte(sessionKind), byte(len(huge))}, huge...),
		"more tickets than bytes": {byte(sessionKind), 5, 0, 0, 0, 1, 7},
		"a time that is none":     append([]byte{byte(sessionKind), 13}, make([]byte, 11)...),
	} {
		if name == "a time that is none" {
			b = append(b, 1, 9)
		}
		if _, err := Decode(records(b...)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Decode(signed(append([]byte(magic), byte(sharedKind), 0))); !errors.Is(err, ErrDamaged) {
		t.Errorf("no start: %v", err)
	}
}

// ordinary is a session as there are many, with three messages of 100 bytes.
func ordinary() Session {
	now := time.Now().Round(0)
	s := Session{
		ID: "0f1e2d3c-89ab-4def-8123-456789abcdef", Path: "/ws", Tickets: make([][16]byte, 2), User: "user-12345", Groups: []string{"room"},
		RemoteAddr: "192.0.2.1:12345", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0", ConnectedAt: now, LastActive: now,
		Window: 2 * time.Minute, Remaining: time.Minute, MaxUnconfirmed: 256 << 10, Lost: Lost{Cause: "lost", Code: 1006}, Begun: 3, Confirmed: 3, Released: 3,
	}
	for range 3 {
		s.Messages = append(s.Messages, Message{Data: make([]byte, 100), Mark: 1 << 60})
	}
	return s
}

// BenchmarkMove is what a session costs that moves to another worker, by itself and with others.
func BenchmarkMove(b *testing.B) {
	for name, n := range map[string]int{"1": 1, "128": 128} {
		f := new(File)
		for range n {
			f.Sessions = append(f.Sessions, ordinary())
		}
		encoded, err := Encode(f)
		if err != nil {
			b.Fatal(err)
		}
		b.Run("encode "+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Encode(f); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(encoded)-sha256.Size)/float64(n), "B/session")
		})
		b.Run("decode "+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(encoded); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
