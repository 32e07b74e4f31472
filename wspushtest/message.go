package wspushtest

import (
	"fmt"

	"github.com/wspush/wspush"
)

// Message is a message that a client has received.
type Message struct {
	Type wspush.MessageType // Text or Binary
	Data []byte             // the whole message
}

// String describes the message, with its first 200 bytes.
func (m Message) String() string {
	return fmt.Sprintf("the %v message %s", m.Type, quote(m.Data))
}

// quote is data as it stands in the reports of failures.
func quote(data []byte) string {
	const shown = 200
	if len(data) > shown {
		return fmt.Sprintf("%q… (%d bytes)", data[:shown], len(data))
	}
	return fmt.Sprintf("%q", data)
}

// CloseError is how a connection ended, as its client sees it.
type CloseError struct {
	// Code and Reason are those of the server's close frame. Code is 1005 for one without a code, and 1006 where there was none
	// (RFC 6455 section 7.4.1): the connection was lost, or the client dropped it. After the client's own Close, whose code the
	// server repeats, Reason is that of either.
	Code   int
	Reason string
}

// Error says how it ended.
func (e *CloseError) Error() string {
	if e.Code == codeAbnormal {
		return "the connection ended without a close frame (1006)"
	}
	return fmt.Sprintf("the connection was closed with %d %q", e.Code, e.Reason)
}

const codeAbnormal = 1006
