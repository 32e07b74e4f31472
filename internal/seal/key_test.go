package seal

import (
	"bytes"

	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

func secret(b byte) []byte { return testutil.Key(string(b)) }

func mustKeys(t *testing.T, shared ...[]byte) *Keys {
	t.Helper()
	k, err := New(shared)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// While keys are being changed, two workers have different first keys. The one that made a proof is found, and what both derive
// from it is the same.
func TestVerified(t *testing.T) {
	asker, asked := mustKeys(t, secret(1)), mustKeys(t, secret(2), secret(1))
	proof := asker.First().Prove("hello")
	found, ok := asked.Verified("hello", proof)
	if !ok {
		t.Fatal("the second key does not verify")
	}
	if _, ok := asked.Verified("hallo", proof); ok {
		t.Error("another message verifies")
	}
	if _, ok := mustKeys(t, secret(3)).Verified("hello", proof); ok {
		t.Error("another key verifies")
	}
	for _, broken := range []string{"", "!", proof + "A", proof[1:]} {
		if _, ok := asked.Verified("hello", broken); ok {
			t.Errorf("%q verifies", broken)
		}
	}
	if !asker.First().Verify("back", found.Prove("back")) {
		t.Error("the answer's proof was made with another key")
	}
	if asker.First().Verify("back", asked.First().Prove("back")) {
		t.Error("a key verifies what another one proved")
	}

	seal := func(k Key, salt, use string) []byte {
		aead, err := k.Derive([]byte(salt), use)
		if err != nil {
			t.Fatal(err)
		}
		return aead.Seal(nil, make([]byte, aead.NonceSize()), []byte("text"), nil)
	}
	same := seal(asker.First(), "salt", "use")
	if !bytes.Equal(same, seal(found, "salt", "use")) {
		t.Error("the two derive different keys")
	}
	for _, other := range [][]byte{
		seal(found, "other", "use"), seal(found, "salt", "other"), seal(asked.First(), "salt", "use"),
	} {
		if bytes.Equal(same, other) {
			t.Error("another salt, use or key derives the same key")
		}
	}
}
