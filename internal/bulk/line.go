package bulk

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/wire"
)

// Line is one push of a bulk request.
type Line struct {
	To      []string         // IDs or sealed IDs, of which there must be one; a single one is written as a string, more as an array
	Type    wire.MessageType // Text is written as "text", Binary as "binary" in base64
	Data    []byte
	Ref     string        // left out if empty; at most 256 bytes of UTF-8
	Confirm bool          // written as "received"
	Timeout time.Duration // left out if 0
	Keep    wire.Keep     // left out if it does not say
}

// Targets is what Send is to be told of the line.
func (l Line) Targets() int {
	if len(l.To) == 1 {
		return 0
	}
	return len(l.To)
}

const maxRef = 256

var errTo = errors.New("wspush: a line needs at least one target, and each must be an ID or a sealed ID")

// AppendEnd appends what comes after the targets in a line, for Address: the same for whomever the line goes to. It refuses what a
// worker would: wire.ErrMessageType, wire.ErrInvalidUTF8, a ref that is too long, a negative timeout.
func AppendEnd(dst []byte, l Line) ([]byte, error) {
	if err := wire.CheckMessage(l.Type, l.Data, -1); err != nil {
		return dst, err
	}
	switch {
	case len(l.Ref) > maxRef || !utf8.ValidString(l.Ref):
		return dst, fmt.Errorf("wspush: a ref has at most %d bytes of UTF-8", maxRef)
	case l.Timeout < 0:
		return dst, errors.New("wspush: a timeout is not negative")
	}
	if l.Type == wire.Text {
		dst = append(dst, `,"text":"`...)
		dst = appendEscaped(dst, l.Data)
	} else {
		dst = append(dst, `,"binary":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, l.Data)
	}
	dst = append(dst, '"')
	if l.Ref != "" {
		dst = append(dst, `,"ref":"`...)
		dst = appendEscaped(dst, []byte(l.Ref))
		dst = append(dst, '"')
	}
	if l.Confirm {
		dst = append(dst, `,"confirm":"received"`...)
	}
	if l.Timeout > 0 {
		dst = append(dst, `,"timeout":"`...)
		dst = append(dst, l.Timeout.String()...)
		dst = append(dst, '"')
	}
	if l.Keep.Asked {
		dst = append(dst, `,"keep":"`...)
		dst = append(dst, l.Keep.For.String()...)
		dst = append(dst, '"')
	}
	return append(dst, '}'), nil
}

// Address appends the whole line, without its line feed, that goes to these targets and ends with what AppendEnd has made. It
// refuses no targets, and one that is neither an ID nor a sealed ID.
func Address(dst []byte, to []string, end []byte) ([]byte, error) {
	if len(to) == 0 {
		return dst, errTo
	}
	line, err := appendTargets(append(dst, `{"to":`...), to)
	if err != nil {
		return dst, err
	}
	return append(line, end...), nil
}

// AddressMembers appends the whole line that goes to a user or a group but for some connections, as Address does. It refuses what is no
// name, and what is neither an ID nor a sealed ID.
func AddressMembers(dst []byte, isGroup bool, name string, except []string, end []byte) ([]byte, error) {
	if err := wire.CheckName(name); err != nil {
		return dst, err
	}
	line := append(dst, `{"user":"`...)
	if isGroup {
		line = append(dst, `{"group":"`...)
	}
	line = append(appendEscaped(line, []byte(name)), '"')
	if len(except) > 0 {
		line = append(line, `,"except":`...)
		var err error
		if line, err = appendTargets(line, except); err != nil {
			return dst, err
		}
	}
	return append(line, end...), nil
}

// appendTargets appends IDs and sealed IDs as JSON: a single one as a string, and more as an array.
func appendTargets(dst []byte, to []string) ([]byte, error) {
	line := dst
	if len(to) > 1 {
		line = append(line, '[')
	}
	for i, id := range to {
		if !wire.IsID(id) && !wire.IsSealedID(id) { // neither of which needs an escape
			return dst, errTo
		}
		if i > 0 {
			line = append(line, ',')
		}
		line = append(append(append(line, '"'), id...), '"')
	}
	if len(to) > 1 {
		line = append(line, ']')
	}
	return line, nil
}

// MaxEscape is how many bytes of a JSON string a byte of a message takes at most.
const MaxEscape = len(`\u0000`)

// appendEscaped appends valid UTF-8 as the inside of a JSON string, as briefly as JSON allows. Package json would also escape what only
// matters in HTML.
func appendEscaped(dst, text []byte) []byte {
	done := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[done:i]...)
		done = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, `\u00`...)
			if c < 0x10 {
				dst = append(dst, '0')
			}
			dst = strconv.AppendUint(dst, uint64(c), 16)
		}
	}
	return append(dst, text[done:]...)
}
