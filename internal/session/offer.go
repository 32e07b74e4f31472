// Package session is what a client and a worker say to each other about sessions, in the subprotocol wspush.v1: what a client offers,
// tickets, the hello, control, and close codes. All of it is without I/O; it knows no connection.
package session

import (
	"net/http"
	"strings"
)

// Subprotocol is what a client offers that speaks of sessions, and what is chosen then.
const Subprotocol = "wspush.v1"

// resumePrefix begins the subprotocol that a client offers besides to come back: resumePrefix TICKET "." OFFSET. Subprotocols, and not
// the URL, since proxies log URLs.
const resumePrefix = "wspush.resume."

// Offer is what a handshake asks for. It is the zero value for every client that does not offer Subprotocol.
type Offer struct {
	V1     bool // Subprotocol is offered
	Resume bool // the client wants its session back

	// Of a client that wants its session back. Bad means that there is no telling which session, or after which message: then there
	// is no Ticket and no Offset, and the answer is a new session, with WhyUnknown.
	Ticket Ticket
	Offset uint64 // how many messages of the session the client has
	Bad    bool
}

// ParseOffers returns what the subprotocols in a handshake's header ask for. Names are compared in their very letters, as are those of
// all subprotocols. A header of any size costs linear time, and next to no memory.
func (o Opener) ParseOffers(header http.Header) Offer {
	v1, resumes, resume := false, 0, ""
	for _, line := range header.Values("Sec-Websocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			if name == Subprotocol {
				v1 = true
			} else if rest, ok := strings.CutPrefix(name, resumePrefix); ok {
				resumes++
				resume = rest
			}
		}
	}
	if !v1 || resumes == 0 {
		return Offer{V1: v1}
	}
	text, count, _ := strings.Cut(resume, ".") // no ticket has a dot
	offset, isCount := parseOffset(count)
	// Of several, whichever was taken would be the wrong one for somebody. Only one is opened: it takes the most time.
	if resumes > 1 || !isCount {
		return Offer{V1: true, Resume: true, Bad: true}
	}
	ticket, ok := o.Open(text)
	if !ok {
		return Offer{V1: true, Resume: true, Bad: true}
	}
	return Offer{V1: true, Resume: true, Ticket: ticket, Offset: offset}
}

// parseOffset reads a count. It is stricter than strconv.ParseUint, so that one count has one text.
func parseOffset(s string) (n uint64, ok bool) {
	if s == "" || s[0] == '0' && s != "0" {
		return 0, false
	}
	for i := range len(s) {
		digit := uint64(s[i] - '0')
		if digit > 9 || n > (1<<64-1-digit)/10 {
			return 0, false
		}
		n = 10*n + digit
	}
	return n, true
}
