package session

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"github.com/google/uuid"

	"github.com/wspush/wspush/internal/seal"
)

// secretSize is the size in bytes of the secret in a ticket. All of it is random.
const secretSize = 16

// Ticket is that by which a client comes back to its session: the right to receive what is pushed to it. The session's ID is not: that is
// the right to push.
type Ticket struct {
	Session string           // the ID of the session, as canonical text
	Secret  [secretSize]byte // new in each hello
	Owner   string           // the base URL of the worker that has made it, as in sealed IDs; "" without a Cluster
}

// NewSecret returns the secret of a new ticket.
func NewSecret() (secret [secretSize]byte) {
	_, _ = rand.Read(secret[:]) // never fails
	return secret
}

// Matches reports whether the ticket has this secret. How long that takes says nothing about either.
func (t Ticket) Matches(secret [secretSize]byte) bool {
	return subtle.ConstantTimeCompare(t.Secret[:], secret[:]) == 1
}

// Opener makes the texts of tickets, and opens them. The zero value does so without keys: then the text hides nothing, and a ticket is
// only as good as its secret. It is safe for concurrent use.
type Opener struct{ keys *seal.Keys }

// NewOpener returns an Opener that seals tickets with the keys of a Cluster; nil stands for none.
func NewOpener(keys *seal.Keys) Opener { return Opener{keys} }

// maxTicket is the length in bytes of the longest ticket that is opened. With every address that a sealed ID has room for, a ticket is
// shorter.
const maxTicket = 1024

const ticketFixed = 16 + secretSize // before the address of the owner

var encoding = base64.RawURLEncoding.Strict() // one ticket has one text

// Text returns the text of a ticket: characters that a subprotocol may have (RFC 7230 section 3.2.6), without a dot. There are 43 of them,
// or with keys 64 and four for every three bytes of the owner's address. The Session must be canonical, and without keys there can be
// no Owner.
//
// Browsers take a subprotocol of 300 characters: that is room for an offset and an address of 150 bytes.
func (o Opener) Text(t Ticket) string {
	id := uuid.MustParse(t.Session)
	raw := make([]byte, 0, ticketFixed+len(t.Owner))
	raw = append(append(append(raw, id[:]...), t.Secret[:]...), t.Owner...)
	if o.keys != nil {
		raw = o.keys.SealTicket(raw)
	}
	return encoding.EncodeToString(raw)
}

// Open returns the ticket that has this text, and whether there is one. It says nothing about whether the session lives, and whether
// this is its ticket.
func (o Opener) Open(text string) (Ticket, bool) {
	if len(text) > maxTicket || strings.ContainsAny(text, "\r\n") { // package base64 skips line breaks, even if it is strict
		return Ticket{}, false
	}
	raw, err := encoding.DecodeString(text)
	if err != nil {
		return Ticket{}, false
	}
	if o.keys != nil {
		var ok bool
		if raw, ok = o.keys.OpenTicket(raw); !ok || len(raw) < ticketFixed {
			return Ticket{}, false
		}
	} else if len(raw) != ticketFixed {
		return Ticket{}, false
	}
	return Ticket{
		Session: uuid.UUID(raw[:16]).String(),
		Secret:  [secretSize]byte(raw[16:ticketFixed]),
		Owner:   string(raw[ticketFixed:]),
	}, true
}
