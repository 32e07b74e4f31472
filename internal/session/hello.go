package session

import (
	"bytes"
	"encoding/json"
)

// Why a client that has asked for its session has got a new one.
const (
	WhyExpired     = "expired"     // it was away for longer than the session waits
	WhyUnknown     = "unknown"     // there is no session of that ticket, or no telling which
	WhyUnreachable = "unreachable" // the worker that holds the session cannot be reached
)

// Hello is the first message of every WebSocket that speaks Subprotocol and is not refused. It is not counted.
type Hello struct {
	Address  string // the connection's addresses, as in a greeting; "" if the client is not told
	Ticket   string // by which the client can come back; it is left out where Window is 0
	Window   int    // for how many seconds a session waits for its client, rounded up; 0: this is no session
	Protocol string // the application's subprotocol, or ""

	Resumed bool   // the session is the one that was asked for
	Offset  uint64 // if Resumed: the next message is the one after so many
	Missed  uint64 // if Resumed: how many of those the client does not have, and will not get
	Why     string // if not Resumed: why not, unless this is what was asked for
}

// JSON returns the text of the message.
func (h Hello) JSON() []byte {
	text := struct {
		Address  string  `json:"address"`
		Ticket   string  `json:"ticket,omitempty"`
		Window   int     `json:"window"`
		Protocol string  `json:"protocol"`
		Resumed  bool    `json:"resumed"`
		Offset   *uint64 `json:"offset,omitempty"`
		Missed   uint64  `json:"missed,omitempty"`
		Why      string  `json:"why,omitempty"`
	}{Address: h.Address, Window: h.Window, Protocol: h.Protocol, Resumed: h.Resumed}
	if h.Window > 0 {
		text.Ticket = h.Ticket
	}
	if h.Resumed {
		text.Offset, text.Missed = &h.Offset, h.Missed
	} else {
		text.Why = h.Why
	}
	return encode(text)
}

// What a refusal is for.
const (
	Unauthorized = "unauthorized" // who the client is: CodeUnauthorized follows
	Forbidden    = "forbidden"    // that it may not: CodeForbidden follows
	Retry        = "retry"        // the moment; 1013 follows
)

// Refused returns the text of the only message to a client that is refused, since a browser cannot see the status of a handshake. After is
// how many seconds it should wait, or 0 if nobody has said so.
func Refused(kind string, after int) []byte {
	return encode(struct {
		Refused string `json:"refused"`
		After   int    `json:"after,omitempty"`
	}{kind, max(after, 0)})
}

// encode returns JSON without the escaping of &, < and > that is only for pages, and addresses need not have.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // impossible: there are only strings and numbers
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
