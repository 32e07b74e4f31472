// Package seal does what workers use their shared keys for: to seal the place of a connection into an ID that only they can
// open, to seal tickets, and to open links to each other.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/wire"
)

// MinKey is the least length of a key, in bytes: as many as the keys derived from it have.
const MinKey = 32

// Keys holds the keys of one worker. It is safe for concurrent use.
type Keys struct{ all []key }

// key holds the keys derived from one shared key.
type key struct {
	aead  cipher.AEAD // seals IDs
	nonce []byte      // makes their nonces
	proof []byte      // proves requests and answers
	link  []byte      // makes the keys of links

	ticket    cipher.Block // seals tickets
	ticketTag []byte       // makes their tags
}

// New derives keys from the shared secrets. The first secret seals and proves; all of them open and verify.
func New(shared [][]byte) (*Keys, error) {
	if len(shared) == 0 {
		return nil, errors.New("no keys given")
	}
	k := new(Keys)
	for i, secret := range shared {
		if err := checkSecret(secret); err != nil {
			return nil, fmt.Errorf("key %d %w", i+1, err)
		}
		var derived [6][]byte
		for j, use := range []string{"seal", "nonce", "proof", "link", "ticket", "ticket tag"} {
			var err error
			if derived[j], err = hkdf.Key(sha256.New, secret, nil, "wspush v1 "+use, sha256.Size); err != nil {
				return nil, err
			}
		}
		block, err := aes.NewCipher(derived[0])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, err
		}
		ticket, err := aes.NewCipher(derived[4])
		if err != nil {
			return nil, err
		}
		k.all = append(k.all, key{aead, derived[1], derived[2], derived[3], ticket, derived[5]})
	}
	return k, nil
}

// Place is where a connection is.
type Place struct {
	Address  string // the worker's base URL, as other workers reach it
	Instance uint64 // identifies one instance of that worker: every start makes a new one
	ID       string // the connection's ID, as canonical text
}

// ErrNoKeyFits is the error of Open for a sealed ID that none of these keys opens.
var ErrNoKeyFits = errors.New("none of the worker's keys opens the sealed ID")

const fixed = 8 + 16 // Instance and ID

var encoding = base64.RawURLEncoding.Strict() // one sealed ID has one text

// Seal makes the sealed ID for a place: the same one each time, while the first key stays the same.
//
// The nonce is derived from what is sealed, with a key of its own: so no two places share one, whatever workers there are
// and however many connections, beyond the chance of a collision in 96 bits.
func (k *Keys) Seal(p Place) (string, error) {
	raw, err := uuid.Parse(p.ID)
	if err != nil {
		return "", err
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, fixed+len(p.Address)), p.Instance)
	plain = append(append(plain, raw[:]...), p.Address...)
	first := &k.all[0]
	sealed := mac(first.nonce, plain)[:first.aead.NonceSize()]
	sealed = first.aead.Seal(sealed, sealed, plain, []byte(wire.SealedPrefix))
	id := wire.SealedPrefix + encoding.EncodeToString(sealed)
	if !wire.IsSealedID(id) {
		return "", errors.New("the address is too long to be sealed")
	}
	return id, nil
}

// Open opens a sealed ID, or returns ErrNoKeyFits.
func (k *Keys) Open(id string) (Place, error) {
	if !wire.IsSealedID(id) {
		return Place{}, ErrNoKeyFits
	}
	sealed, err := encoding.DecodeString(id[len(wire.SealedPrefix):])
	if err != nil {
		return Place{}, ErrNoKeyFits
	}
	for i := range k.all {
		aead := k.all[i].aead
		if len(sealed) < aead.NonceSize() {
			break
		}
		plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(wire.SealedPrefix))
		if err != nil || len(plain) < fixed {
			continue
		}
		return Place{
			Address:  string(plain[fixed:]),
			Instance: binary.BigEndian.Uint64(plain),
			ID:       uuid.UUID(plain[8:fixed]).String(),
		}, nil
	}
	return Place{}, ErrNoKeyFits
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}
