package seal

import (
	"bytes"
	"strings"
	"testing"
)

func TestSealTicket(t *testing.T) {
	a, b, other := keys(t, "a"), keys(t, "b", "a"), keys(t, "b")
	for _, plain := range []string{"", "x", "http://10.0.0.5:48775", strings.Repeat("long", 100)} {
		sealed := a.SealTicket([]byte(plain))
		if len(sealed) != len(plain)+16 || len(plain) > 1 && bytes.Contains(sealed, []byte(plain)) {
			t.Errorf("%q is sealed as %x", plain, sealed)
		}
		if again := a.SealTicket([]byte(plain)); !bytes.Equal(again, sealed) {
			t.Errorf("the same ticket is %x and %x", sealed, again)
		}
		for name, k := range map[string]*Keys{"own": a, "second": b} {
			if got, ok := k.OpenTicket(sealed); !ok || string(got) != plain {
				t.Errorf("%s key: %q, %v, want %q", name, got, ok, plain)
			}
		}
		if got, ok := other.OpenTicket(sealed); ok {
			t.Errorf("another key opens %q", got)
		}
		for i := range sealed {
			for bit := range 8 {
				changed := bytes.Clone(sealed)
				changed[i] ^= 1 << bit
				if got, ok := b.OpenTicket(changed); ok {
					t.Errorf("with bit %d of byte %d changed, %q opens as %q", bit, i, plain, got)
				}
			}
			if _, ok := a.OpenTicket(sealed[:i]); ok {
				t.Errorf("%d bytes of %q open", i, plain)
			}
		}
		if _, ok := a.OpenTicket(append(sealed, 0)); ok {
			t.Errorf("%q opens with one byte more", plain)
		}
	}
}

// Whoever has a ticket cannot make a sealed ID of it, nor a ticket of a sealed ID, which is no secret.
func TestTicketIsNoID(t *testing.T) {
	k := keys(t, "a")
	sealed, err := k.Seal(place())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := encoding.DecodeString(strings.TrimPrefix(sealed, "v1."))
	if err != nil {
		t.Fatal(err)
	}
	if plain, ok := k.OpenTicket(raw); ok {
		t.Errorf("a sealed ID opens as a ticket: %q", plain)
	}
	ticket := k.SealTicket(append(make([]byte, fixed), "http://10.0.0.5:48775"...))
	if p, err := k.Open("v1." + encoding.EncodeToString(ticket)); err == nil {
		t.Errorf("a ticket opens as a sealed ID: %+v", p)
	}
	if a, b := &k.all[0], &keys(t, "a").all[0]; bytes.Equal(a.ticketTag, a.nonce) || !bytes.Equal(a.ticketTag, b.ticketTag) {
		t.Error("the keys of tickets are not derived for tickets")
	}
}
