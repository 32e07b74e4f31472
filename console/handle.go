package console

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"

	"github.com/google/uuid"
)

// handles name connections to a page, in place of their IDs: whoever has a handle can do with it what this console lets them,
// for as long as it lives, and nothing elsewhere. A handle is the ID's 16 bytes, one block, enciphered with a key of the
// console's own, so nothing has to be remembered to find the ID again. Random IDs do not repeat, so one block needs no mode.
type handles struct{ block cipher.Block }

func newHandles() handles {
	key := make([]byte, 16)
	rand.Read(key) // does not fail
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key has the right length
	}
	return handles{block}
}

// of returns the handle of the connection with this ID.
func (h handles) of(id string) string {
	u := uuid.MustParse(id)
	h.block.Encrypt(u[:], u[:])
	return base64.RawURLEncoding.EncodeToString(u[:])
}

// id returns the ID that the handle stands for, or one that no connection has.
func (h handles) id(handle string) string {
	var u uuid.UUID
	raw, err := base64.RawURLEncoding.Strict().DecodeString(handle)
	if err != nil || len(raw) != len(u) {
		return ""
	}
	h.block.Decrypt(u[:], raw)
	return u.String()
}
