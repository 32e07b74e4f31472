package seal

import (
	"crypto/cipher"
	"crypto/hmac"
)

// ticketTag is the size in bytes of what a sealed ticket has besides the ticket.
const ticketTag = 16

// SealTicket seals what the ticket of a session says, with the first key: the same result each time. Its length tells that of plain, and
// nothing else can be learnt from it without the key.
//
// The construction is that of RFC 5297, with HMAC in place of CMAC: the tag is a MAC of plain, and is also the nonce of the cipher. So a
// ticket is shorter than with AES-GCM, by a nonce, and no nonce can be used for two. The keys are derived for tickets alone, so that
// no ticket opens as a sealed ID, and no sealed ID as a ticket.
func (k *Keys) SealTicket(plain []byte) []byte {
	first := &k.all[0]
	sealed := make([]byte, ticketTag+len(plain))
	copy(sealed, mac(first.ticketTag, plain)[:ticketTag])
	cipher.NewCTR(first.ticket, sealed[:ticketTag]).XORKeyStream(sealed[ticketTag:], plain)
	return sealed
}

// OpenTicket returns what was sealed, and whether any of the keys opens it.
func (k *Keys) OpenTicket(sealed []byte) (plain []byte, ok bool) {
	if len(sealed) < ticketTag {
		return nil, false
	}
	tag := sealed[:ticketTag]
	plain = make([]byte, len(sealed)-ticketTag)
	for i := range k.all {
		cipher.NewCTR(k.all[i].ticket, tag).XORKeyStream(plain, sealed[ticketTag:])
		if hmac.Equal(tag, mac(k.all[i].ticketTag, plain)[:ticketTag]) {
			return plain, true
		}
	}
	return nil, false
}
