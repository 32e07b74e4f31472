package seal

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
)

func keys(t testing.TB, secrets ...string) *Keys {
	t.Helper()
	var shared [][]byte
	for _, s := range secrets {
		shared = append(shared, testutil.Key(s))
	}
	k, err := New(shared)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func place() Place {
	return Place{Address: "https://10.0.0.5:48775/workers", Instance: 1<<63 | 7, ID: uuid.NewString()}
}

func TestSealOpen(t *testing.T) {
	a, b := keys(t, "a"), keys(t, "a")
	p := place()
	sealed, err := a.Seal(p)
	if err != nil || !wire.IsSealedID(sealed) {
		t.Fatal(sealed, err)
	}
	if again, _ := b.Seal(p); again != sealed {
		t.Errorf("the same place has two sealed IDs: %s and %s", sealed, again)
	}
	if got, err := b.Open(sealed); got != p || err != nil {
		t.Errorf("%+v %v", got, err)
	}
	if strings.Contains(sealed, "10.0") || len(sealed) > 160 {
		t.Errorf("sealed ID %s", sealed)
	}
	for _, other := range []Place{{p.Address, p.Instance + 1, p.ID}, {p.Address + "x", p.Instance, p.ID}, {p.Address, p.Instance, uuid.NewString()}} {
		if different, _ := a.Seal(other); different[:len(wire.SealedPrefix)+16] == sealed[:len(wire.SealedPrefix)+16] {
			t.Errorf("%+v and %+v share a nonce", p, other)
		}
	}
}

// The first key seals, and all open, so that keys can be rotated: the new one is added last, then moved to the front, and
// then the old one goes.
func TestRotation(t *testing.T) {
	steps := []*Keys{keys(t, "o"), keys(t, "o", "n"), keys(t, "n", "o"), keys(t, "n")}
	for i, sealer := range steps {
		for j, opener := range steps {
			p := place()
			sealed, err := sealer.Seal(p)
			if err != nil {
				t.Fatal(err)
			}
			got, err := opener.Open(sealed)
			_, proof := opener.Verified("m", sealer.First().Prove("m"))
			if apart := max(i, j) - min(i, j); apart <= 1 {
				if err != nil || got != p || !proof {
					t.Errorf("step %d does not open what step %d has sealed: %v %v", j, i, err, proof)
				}
			} else if apart == 3 && (err != ErrNoKeyFits || proof) {
				t.Errorf("step %d opens what step %d has sealed: %v %v", j, i, err, proof)
			}
		}
	}
}

// Whatever is changed in a sealed ID, it does not open.
func TestChanged(t *testing.T) {
	k := keys(t, "a")
	sealed, err := k.Seal(place())
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		for _, c := range []byte("A_9v.") {
			if changed := sealed[:i] + string(c) + sealed[i+1:]; changed != sealed {
				if _, err := k.Open(changed); err != ErrNoKeyFits {
					t.Errorf("changed at %d: %v", i, err)
				}
			}
		}
	}
	for _, s := range []string{"", "v1.", "v1.AAAA", sealed[:len(sealed)-1], sealed + "A", "v2." + sealed[3:], uuid.NewString(), strings.Repeat(sealed, 10)} {
		if _, err := k.Open(s); err != ErrNoKeyFits {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestProof(t *testing.T) {
	k := keys(t, "a")
	proof := k.First().Prove("message")
	verifies := func(k *Keys, message, proof string) bool {
		_, ok := k.Verified(message, proof)
		return ok
	}
	if !verifies(k, "message", proof) || verifies(k, "massage", proof) || verifies(k, "message", proof[:10]) || verifies(k, "message", "") ||
		verifies(keys(t, "b"), "message", proof) {
		t.Error("proofs are not what they should be")
	}
}

func TestBadKeys(t *testing.T) {
	for _, shared := range [][][]byte{nil, {}, {nil}, {make([]byte, MinKey-1)}, {make([]byte, MinKey), []byte("short")}} {
		if _, err := New(shared); err == nil {
			t.Errorf("%v makes keys", shared)
		}
	}
}

func TestTooLong(t *testing.T) {
	p := place()
	p.Address = "http://" + strings.Repeat("a", 1000)
	if sealed, err := keys(t, "a").Seal(p); err == nil {
		t.Errorf("%d bytes are a sealed ID", len(sealed))
	}
}

func FuzzOpen(f *testing.F) {
	k := keys(f, "a")
	fixed := place()
	fixed.ID = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed" // the same in each of the fuzzer's processes
	sealed, _ := k.Seal(fixed)
	f.Add(sealed)
	f.Add("v1.AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := k.Open(s); err == nil && s != sealed {
			t.Errorf("%q opens: %+v", s, p)
		}
	})
}
