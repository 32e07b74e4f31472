package console

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"

	"github.com/google/uuid"
)

// handles turns IDs into names for the page's use. A handle lets its holder do only what this console allows, for as long as
// the console lives, and means nothing elsewhere. It is the ID's 16 bytes, one cipher block, encrypted with the console's own
// key, so the ID can be recovered without a table. IDs are random and never repeat, so a single block needs no mode.
type handles struct{ block cipher.Block }

func newHandles() handles {
	key := make([]byte, 16)
	rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // impossible: the key has the right length
	}
	return handles{block}
}

// of returns the handle of the connection with this ID.
func (h handles) of(id string) string {
	u := uuid.MustParse(id)
	h.block.Encrypt(u[:], u[:])
	return base64.RawURLEncoding.EncodeToString(u[:])
}

// id returns the ID behind the handle, or a string that is no connection's ID.
func (h handles) id(handle string) string {
	var u uuid.UUID
	raw, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil || len(raw) != len(u) {
		return ""
	}
	h.block.Decrypt(u[:], raw)
	return u.String()
}
