package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// Message is a message that says whom it is for and which one it is. Its first line has the fields below; filler made from
// the nonce makes up its size, so that a reader can tell whether it is whole.
type Message struct {
	To        string // the ID of a connection
	Publisher int
	Seq       int // among the publisher's messages to anyone: 0, 1, and so on
	Nonce     uint64
	Size      int
	Binary    bool
}

// encode returns the message, which is never shorter than its first line.
func (m Message) encode() []byte {
	b := make([]byte, 0, max(m.Size, 128))
	b = fmt.Appendf(b, "%s %d %d %016x %d %t\n", m.To, m.Publisher, m.Seq, m.Nonce, m.Size, m.Binary)
	for filler := m.filler(); len(b) < m.Size; {
		b = append(b, filler[:min(len(filler), m.Size-len(b))]...)
	}
	return b
}

func (m Message) filler() []byte { return strconv.AppendUint(make([]byte, 0, 16), m.Nonce|1<<63, 16) }

// decode parses a message. A fault says what is wrong with it; the fields that could be parsed are returned anyway.
func decode(data []byte, binary bool) (m Message, fault string) {
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	n, err := fmt.Sscanf(string(line), "%s %d %d %x %d %t", &m.To, &m.Publisher, &m.Seq, &m.Nonce, &m.Size, &m.Binary)
	if n != 6 || err != nil {
		return m, fmt.Sprintf("not a message: %.80q", data)
	}
	switch {
	case binary != m.Binary:
		fault = "text and binary were confused"
	case len(data) != max(m.Size, len(line)+1):
		fault = fmt.Sprintf("%d bytes of %d", len(data), m.Size)
	default:
		for filler := m.filler(); len(rest) > 0; rest = rest[min(len(filler), len(rest)):] {
			if !bytes.HasPrefix(filler, rest[:min(len(filler), len(rest))]) {
				return m, "its bytes are not those that were sent"
			}
		}
	}
	return m, fault
}

// control is what control messages of sessions begin with. An application's own text that begins with it gets another one in front on the way.
const control = 0x06

// isMarked reports whether the message is a text that begins with control, where encodeMarked makes it.
func (m Message) isMarked() bool { return !m.Binary && m.Nonce%8 == 0 }

// encodeMarked is encode, with control in front of some texts.
func (m Message) encodeMarked() []byte {
	if m.isMarked() {
		return append([]byte{control}, m.encode()...)
	}
	return m.encode()
}

// decodeMarked parses what encodeMarked has made.
func decodeMarked(data []byte, binary bool) (m Message, fault string) {
	rest, hasMark := bytes.CutPrefix(data, []byte{control})
	if m, fault = decode(rest, binary); fault == "" && hasMark != m.isMarked() {
		fault = "its first byte was lost, or is too much"
	}
	return m, fault
}
