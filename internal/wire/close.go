package wire

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxCloseReason is the size in bytes of the longest reason that fits into a close frame (RFC 6455 section 5.5).
const MaxCloseReason = 123

// CloseCodes names the codes that CheckClose accepts, for error texts.
const CloseCodes = "1000 to 1003, 1007 to 1009, 1011 to 1014, or 3000 to 4999"

// CheckClose reports why a server must not send a close frame with this code and reason, or nil. It accepts every code that
// RFC 6455 section 7.4 and its registry let a server send; 1010 is for clients alone.
func CheckClose(code int, reason string) error {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1009, code >= 1011 && code <= 1014, code >= 3000 && code <= 4999:
	default:
		return fmt.Errorf("wspush: close code %d cannot be sent: it must be %s", code, CloseCodes)
	}
	if len(reason) > MaxCloseReason {
		return fmt.Errorf("wspush: the close reason is %d bytes long; at most %d fit into a close frame", len(reason), MaxCloseReason)
	}
	if !utf8.ValidString(reason) {
		return errors.New("wspush: the close reason is not valid UTF-8")
	}
	return nil
}
