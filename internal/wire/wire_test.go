package wire

import (
	"strings"
	"testing"

	"github.com/google/uuid"
)

func TestIsID(t *testing.T) {
	for _, id := range []string{uuid.NewString(), strings.ToUpper(uuid.NewString()), uuid.Nil.String()} {
		if !IsID(id) {
			t.Errorf("%q is no ID", id)
		}
	}
	for _, s := range []string{
		"", "-", "{1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed}", "urn:uuid:1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
		"1b9d6bcdbbfd4b2d9b5dab8dfbbd4bed", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bee0", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4be",
		"1b9d6bcd-bbfd-4b2d-9b5d+ab8dfbbd4bed", "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4beg", "1b9d6bcd-bbfd-4b2d-9b5dab8dfbbd4bed-",
	} {
		if IsID(s) {
			t.Errorf("%q is an ID", s)
		}
	}
}

// Whatever the library takes for a UUID in the form with hyphens is an ID, and nothing else.
func FuzzIsID(f *testing.F) {
	f.Add("1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed")
	f.Add("{b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4be}")
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := IsID(s), len(s) == 36 && uuid.Validate(s) == nil; got != want {
			t.Errorf("IsID(%q) = %v, uuid.Validate says %v", s, got, want)
		}
	})
}

func TestIsSealedID(t *testing.T) {
	for s, want := range map[string]bool{
		"v1.AZaz09-_": true, "v1." + strings.Repeat("a", maxSealedID-3): true,
		"": false, "v1.": false, "v2.aaaa": false, "v1.a.b": false, "v1.a=": false, "v1.a/b": false, "V1.a": false,
		"v1." + strings.Repeat("a", maxSealedID-2): false, "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed": false,
	} {
		if IsSealedID(s) != want {
			t.Errorf("IsSealedID(%q) = %v", s, !want)
		}
	}
}
