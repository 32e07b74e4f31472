// Package wire is what both sides of a push have in common, so that a publisher needs none of what a worker is made of:
// message types, the errors of a push, and IDs.
package wire

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// MessageType is the type of a WebSocket message (RFC 6455 section 5.6).
type MessageType int

const (
	Text   MessageType = iota + 1 // valid UTF-8
	Binary                        // any bytes
)

// String returns "text" or "binary".
func (t MessageType) String() string {
	switch t {
	case Text:
		return "text"
	case Binary:
		return "binary"
	}
	return fmt.Sprintf("MessageType(%d)", int(t))
}

// The errors of a push. Packages wspush and publisher export and document them under the same names.
var (
	ErrGone        = errors.New("wspush: no such connection")
	ErrBusy        = errors.New("wspush: busy, try again later")
	ErrTooLarge    = errors.New("wspush: the message is too large")
	ErrInvalidUTF8 = errors.New("wspush: the text message is not valid UTF-8")
	ErrShutdown    = errors.New("wspush: the worker is shutting down")
	ErrUnknown     = errors.New("wspush: the message may have been written")
	ErrSuspended   = errors.New("wspush: the client is away, and the push was not to wait for it")
	ErrForbidden   = errors.New("wspush: forbidden")
	ErrUnreachable = errors.New("wspush: the worker cannot be reached")

	ErrUnauthorized = errors.New("wspush: unauthorized")
	ErrUnavailable  = errors.New("wspush: temporarily unavailable")
	ErrInvalidID    = errors.New("wspush: neither an ID nor a sealed ID")
	ErrDirectory    = errors.New("wspush: it cannot be known who is there")

	ErrTooManyGroups = errors.New("wspush: the connection is in as many groups as it may be")
)

// ErrMessageType is for a message that is neither Text nor Binary.
var ErrMessageType = errors.New("wspush: the message type is neither Text nor Binary")

// CheckMessage refuses messages that must not be sent to any client, and those of more than limit bytes. If limit is negative,
// there is none.
func CheckMessage(typ MessageType, data []byte, limit int64) error {
	switch {
	case typ != Text && typ != Binary:
		return ErrMessageType
	case limit >= 0 && int64(len(data)) > limit:
		return TooLarge(limit)
	case typ == Text && !utf8.Valid(data):
		return ErrInvalidUTF8
	}
	return nil
}

// TooLarge is the ErrTooLarge of a message of more than so many bytes, which is what WorkerOptions.MaxPushBytes allows.
type TooLarge int64

func (limit TooLarge) Error() string {
	return fmt.Sprintf("%v: WorkerOptions.MaxPushBytes is %d", ErrTooLarge, int64(limit))
}
func (TooLarge) Unwrap() error { return ErrTooLarge }

// WithoutPackage returns the text of an error without the name of the package: for the inside of another error's text, which begins with it, and
// for a publisher, who need not know it.
func WithoutPackage(err error) string { return strings.TrimPrefix(err.Error(), "wspush: ") }

// Inside returns err for the inside of another error's text: it matches what err matches.
func Inside(err error) error { return inside{err} }

type inside struct{ error }

func (e inside) Error() string { return WithoutPackage(e.error) }
func (e inside) Unwrap() error { return e.error }

// Marker is the segment before the ID in the path form of an address, as API Gateway has it, and the last one in the path of
// a bulk request.
const Marker = "@connections"

// NDJSON is the media type of bulk requests and their answers.
const NDJSON = "application/x-ndjson"

// SealedPrefix begins every sealed ID, and no ID.
const SealedPrefix = "v1."

// IsID reports whether s has the form of a UUID (RFC 9562), in any letter case.
func IsID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}

// maxSealedID is the length in bytes of the longest sealed ID. It contains the URL of a worker.
const maxSealedID = 1024

// IsSealedID reports whether s has the form of a sealed ID. It does not say whether any worker can open it.
func IsSealedID(s string) bool {
	if len(s) <= len(SealedPrefix) || len(s) > maxSealedID || s[:len(SealedPrefix)] != SealedPrefix {
		return false
	}
	for i := len(SealedPrefix); i < len(s); i++ {
		if !isBase64[s[i]] {
			return false
		}
	}
	return true
}

// isBase64 has the characters of base64url (RFC 4648 section 5). A table, since every push by a sealed ID looks at up to a
// thousand of them.
var isBase64 = func() (is [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		is[c] = true
	}
	return is
}()
