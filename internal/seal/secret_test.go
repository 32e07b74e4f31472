package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// Secrets that can only be a mistake are refused, whichever of the keys they are.
func TestSecretsRefused(t *testing.T) {
	fine := make([]byte, MinKey)
	_, _ = rand.Read(fine)
	copied := func(text string) []byte {
		key := make([]byte, MinKey)
		copy(key, text)
		return key
	}
	counted := func(first, step byte) []byte {
		key := make([]byte, MinKey)
		for i := range key {
			key[i] = first + byte(i)*step
		}
		return key
	}
	for name, tc := range map[string]struct {
		secret []byte
		says   string
	}{
		"none":                    {nil, "has 0 bytes"},
		"short":                   {fine[1:], "has 31 bytes"},
		"an unset variable":       {copied(""), "only zero bytes"},
		"64 zero bytes":           {make([]byte, 64), "only zero bytes"},
		"a short password":        {copied("correct horse"), "19 zero bytes in a row"},
		"a password of 24":        {copied(strings.Repeat("abcdefgh", 3)), "8 zero bytes in a row"},
		"one byte":                {bytes.Repeat([]byte("k"), 32), "repeats its first 1 bytes"},
		"0xff":                    {bytes.Repeat([]byte{0xff}, 33), "repeats its first 1 bytes"},
		"zeros as text":           {[]byte(strings.Repeat("0", 64)), "repeats its first 1 bytes"},
		"zeros as Base64":         {[]byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), "2 different bytes"},
		"a word again and again":  {bytes.Repeat([]byte("secret"), 6), "repeats its first 6 bytes"},
		"a password, filled up":   {[]byte(strings.Repeat("changeme", 4) + "chan"), "repeats its first 8 bytes"},
		"16 random bytes, twice":  {append(bytes.Clone(fine[:16]), fine[:16]...), "repeats its first 16 bytes"},
		"hardly different":        {append(bytes.Repeat([]byte("k"), 31), 'l'), "2 different bytes"},
		"zero bytes but for one":  {append(make([]byte, 31), 1), "31 zero bytes in a row"},
		"a password behind zeros": {append(make([]byte, 28), "pass"...), "28 zero bytes in a row"},
		"one amid zeros":          {append(append(make([]byte, 12), "a longer password"...), make([]byte, 12)...), "12 zero bytes in a row"},
		"0, 1, 2":                 {counted(0, 1), "counted"},
		"letters":                 {counted('A', 1), "counted"},
		"down by 3":               {counted(200, 253), "counted"},
	} {
		for i, secrets := range [][][]byte{{tc.secret}, {fine, tc.secret}} {
			want := fmt.Sprintf("key %d ", i+1)
			if _, err := New(secrets); err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s: %v, want %s… %s", name, err, want, tc.says)
			}
		}
	}
}

// Random secrets are never refused, in whatever way they are written.
func TestSecretsAccepted(t *testing.T) {
	for range 10_000 {
		raw := make([]byte, MinKey)
		_, _ = rand.Read(raw)
		for _, secret := range [][]byte{raw, []byte(hex.EncodeToString(raw)), []byte(hex.EncodeToString(raw[:16])), []byte(base64.StdEncoding.EncodeToString(raw)), []byte(rand.Text() + rand.Text())} {
			if err := checkSecret(secret); err != nil {
				t.Fatalf("%x %v", secret, err)
			}
		}
	}
}
