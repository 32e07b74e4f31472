package link

import (
	"crypto/rand"
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/wspush/wspush/internal/seal"
)

// An opening is a GET request with a nonce in its path. Its header says who opens, to whom, and what for, sealed, and proves it
// with the opener's first key. The answer's header says how it went, and proves it with the same key. Neither tells the time: an
// opening that is sent again by someone else gets an answer with another nonce, so that someone else has no keys.
const (
	header      = "Wspush-Link"
	subprotocol = "wspush-link.1"
	nilID       = "00000000-0000-0000-0000-000000000000" // a place is sealed with an ID: here, one that no connection has
)

// What an opening is for.
const (
	forLink  = "link"
	forProbe = "probe" // to learn who answers
)

// How an opening went.
const (
	isOpen    = "open"
	isProbed  = "probed"
	isWrong   = "wrong"   // the request is for a worker with another address
	isPlain   = "plain"   // the request came without its Upgrade header: something in between does not let WebSockets through
	isEnding  = "ending"  // the worker is shutting down
	isVersion = "version" // the worker speaks another version
)

func newNonce() string {
	var raw [18]byte
	_, _ = rand.Read(raw[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// opening is what a worker says that opens a link.
type opening struct {
	nonce string
	use   string // forLink or forProbe
	from  string // the sealed place of the opener
	to    string // the sealed address of the worker that it wants
}

func (o *opening) message() string {
	return strings.Join([]string{"opening", subprotocol, o.nonce, o.use, o.from, o.to}, "\n")
}

// newOpening makes an opening to the worker with the address.
func newOpening(c *Config, address, use string) (*opening, error) {
	from, err := c.Keys.Seal(seal.Place{Address: c.Address, Instance: c.Instance, ID: nilID})
	if err != nil {
		return nil, err
	}
	to, err := c.Keys.Seal(seal.Place{Address: address, ID: nilID})
	if err != nil {
		return nil, err
	}
	return &opening{nonce: newNonce(), use: use, from: from, to: to}, nil
}

// header returns the opening's header.
func (o *opening) header(proof string) string {
	return strings.Join([]string{o.use, o.from, o.to, proof}, " ")
}

// readOpening reads an opening, and returns the key that proves it. False means that no worker with these keys made it.
func readOpening(keys *seal.Keys, nonce, header string) (o *opening, key seal.Key, proof string, ok bool) {
	fields := strings.Split(header, " ")
	if len(fields) != 4 {
		return nil, seal.Key{}, "", false
	}
	o = &opening{nonce: nonce, use: fields[0], from: fields[1], to: fields[2]}
	key, ok = keys.Verified(o.message(), fields[3])
	return o, key, fields[3], ok
}

// reception is what the other worker says to an opening.
type reception struct {
	word     string // how it went
	instance uint64 // who answers
	nonce    string
}

func (r *reception) message(o *opening, proof string) string {
	return strings.Join([]string{"reception", subprotocol, r.word, strconv.FormatUint(r.instance, 16), r.nonce, o.nonce, proof}, "\n")
}

// header returns the reception's header: the proof of the opening is a part of its own.
func (r *reception) header(o *opening, key seal.Key, proof string) string {
	return strings.Join([]string{r.word, strconv.FormatUint(r.instance, 16), r.nonce, key.Prove(r.message(o, proof))}, " ")
}

// readReception reads the answer to the opening with this proof. False means that no worker with the key gave it.
func readReception(key seal.Key, o *opening, proof, header string) (*reception, bool) {
	fields := strings.Split(header, " ")
	if len(fields) != 4 {
		return nil, false
	}
	instance, err := strconv.ParseUint(fields[1], 16, 64)
	if err != nil {
		return nil, false
	}
	r := &reception{word: fields[0], instance: instance, nonce: fields[2]}
	return r, key.Verify(r.message(o, proof), fields[3])
}

// ciphers returns the ciphers of the link that an opening and its reception make: for what the opener writes, and for what it
// reads. Both nonces and both workers are in the keys.
func ciphers(key seal.Key, o *opening, proof string, r *reception) (opener, accepter counted, err error) {
	salt := []byte(r.message(o, proof) + "\n" + o.message())
	for direction, c := range map[string]*counted{"from the opener": &opener, "to the opener": &accepter} {
		if c.aead, err = key.Derive(salt, direction); err != nil {
			return counted{}, counted{}, err
		}
	}
	return opener, accepter, nil
}
