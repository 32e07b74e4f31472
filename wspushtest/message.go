package wspushtest

import (
	"fmt"

	"github.com/wspush/wspush"
)

// Message is a message received by a client.
type Message struct {
	Type wspush.MessageType // Text or Binary
	Data []byte             // the whole message
}

// String describes the message, with its first 200 bytes.
func (m Message) String() string {
	return fmt.Sprintf("the %v message %s", m.Type, quote(m.Data))
}

// quote formats data for a failure report.
func quote(data []byte) string {
	const shown = 200
	if len(data) > shown {
		return fmt.Sprintf("%q… (%d bytes)", data[:shown], len(data))
	}
	return fmt.Sprintf("%q", data)
}

// CloseError is how a connection ended, as its client sees it.
type CloseError struct {
	// Code and Reason are those of the server's close frame. Code is 1005 if the frame had none, and 1006 if there was no frame
	// (RFC 6455 section 7.4.1): the connection was lost, or the client dropped it. After the client's own Close, the server
	// repeats the code, and Reason may be either side's.
	Code   int
	Reason string
}

// Error describes how the connection ended.
func (e *CloseError) Error() string {
	if e.Code == codeAbnormal {
		return "the connection ended without a close frame (1006)"
	}
	return fmt.Sprintf("the connection was closed with %d %q", e.Code, e.Reason)
}

const codeAbnormal = 1006
