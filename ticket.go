package wspush

import "github.com/wspush/wspush/internal/session"

// tickets are the secrets of the tickets that are good for one session, the oldest first.
//
// Each hello has a new one. Its predecessor stays good until the client has confirmed that hello and been there for ticketGrace since, or has come
// back with the new one, which proves as much. A client that never gets as far leaves more of them behind. Kept are the first, which the client
// has for certain; the last one that it had confirmed before it came with an older one, since that may have been a handshake which the client had
// long given up; and the latest.
type tickets struct {
	secrets [3][16]byte
	n       uint8
	seen    uint8 // the place of the last one that was confirmed; 0: the first, or none
}

// find returns which of the tickets it is, or -1. How long it takes does not depend on the secret.
func (t *tickets) find(ticket session.Ticket) int {
	found := -1
	for i := range int(t.n) {
		if ticket.Matches(t.secrets[i]) {
			found = i
		}
	}
	return found
}

// add adds a new one, and returns its secret.
func (t *tickets) add() [16]byte {
	if int(t.n) == len(t.secrets) {
		if t.seen != 1 {
			t.secrets[1] = t.secrets[2]
			t.seen = min(t.seen, 1)
		}
		t.n--
	}
	t.secrets[t.n] = session.NewSecret()
	t.n++
	return t.secrets[t.n-1]
}

// prove says that the client has the ticket at i: the older ones are not good any more.
func (t *tickets) prove(i int) {
	n := copy(t.secrets[:], t.secrets[i:t.n])
	t.n = uint8(n)
	t.seen -= min(t.seen, uint8(i))
	clear(t.secrets[n:])
}

// see says that the client's endpoint has the latest. Its page may have it, or not.
func (t *tickets) see() {
	if t.n > 0 {
		t.seen = t.n - 1
	}
}

// confirm is prove for the latest.
func (t *tickets) confirm() {
	if t.n > 0 {
		t.prove(int(t.n) - 1)
	}
}
