package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
)

// Key is one of the shared keys, for what two workers say to each other with it: proofs, and the keys of one link.
type Key struct{ key *key }

// First returns the key that seals and proves.
func (k *Keys) First() Key { return Key{&k.all[0]} }

// Verified returns the key from which the proof of message was made, if it is one of these.
func (k *Keys) Verified(message, proof string) (Key, bool) {
	for i := range k.all {
		if one := (Key{&k.all[i]}); one.Verify(message, proof) {
			return one, true
		}
	}
	return Key{}, false
}

// Prove returns a proof that message comes from someone with this key.
func (k Key) Prove(message string) string {
	return encoding.EncodeToString(mac(k.key.proof, []byte(message)))
}

// Verify reports whether proof was made from message with this key.
func (k Key) Verify(message, proof string) bool {
	given, err := encoding.DecodeString(proof)
	return err == nil && hmac.Equal(given, mac(k.key.proof, []byte(message)))
}

// Derive returns a cipher for one direction of one link. The salt must be new for each link, and use differ between its
// directions: then no two ciphers share a key, and a cipher's nonces can be counted.
func (k Key) Derive(salt []byte, use string) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, k.key.link, salt, "wspush v1 link "+use, sha256.Size)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
