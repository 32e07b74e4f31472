package testutil

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"unicode/utf8"
)

// Message is a message sent by a client.
type Message struct {
	Op   Opcode // Text or Binary
	Data []byte
}

// Verdict is how a server must treat the bytes that a client sent, up to the end of the stream.
type Verdict struct {
	Messages []Message

	// Code is the close code that answers a violation (RFC 6455, section 7.4.1), at its first byte; 0 if there is none. Closed
	// is the client's own close frame, if that came first. Bytes after either do not count.
	Code   int
	Closed *CloseError

	// Maybe is another acceptable Code, or 0: a server need not detect a fault in a compressed message before it has received
	// all of it.
	Maybe int
}

// Judge reads the bytes that a client sent, by the letter of RFC 6455 and RFC 7692, without context takeover. A message longer
// than limit bytes is a violation, and so is one that takes more than eight times as many on the wire, and 1024. It is written for clarity and takes quadratic time.
func Judge(raw []byte, limit int, compression bool) Verdict {
	j := judge{limit: limit, compression: compression}
	for len(raw) > 0 && j.Code == 0 && j.Closed == nil {
		raw = j.frame(raw)
	}
	return j.Verdict
}

// judge is the state of one [Judge].
type judge struct {
	Verdict
	limit       int
	compression bool

	open       bool // in the middle of a message
	op         Opcode
	compressed bool
	size       uint64 // according to the frame headers
	wire       uint64 // of its frames with their headers, and the control frames between them
	payload    []byte // of the message, as received so far
}

// wireLimit is how many bytes a message may take with all its frames.
func (j *judge) wireLimit() uint64 { return 8*uint64(j.limit) + 1024 }

// frame reads one frame and returns the bytes after it.
func (j *judge) frame(raw []byte) (rest []byte) {
	fin, rsv, op := raw[0]&0x80 != 0, raw[0]>>4&0x7, Opcode(raw[0]&0xF)
	message := op == Text || op == Binary
	switch {
	case rsv&3 != 0, rsv != 0 && !(j.compression && message),
		!slices.Contains([]Opcode{Continuation, Text, Binary, Close, Ping, Pong}, op),
		op.control() && !fin, op == Continuation && !j.open, message && j.open:
		j.Code = 1002
		return nil
	case len(raw) == 1:
		return nil
	}
	masked, short := raw[1]&0x80 != 0, raw[1]&0x7F
	if !masked || op.control() && short > 125 || op == Close && short == 1 {
		j.Code = 1002
		return nil
	}
	raw = raw[2:]
	length, least, n := uint64(short), uint64(0), 0
	switch short {
	case 126:
		least, n = 126, 2
	case 127:
		least, n = 1<<16, 8
	}
	if n == 8 && len(raw) > 0 && raw[0]&0x80 != 0 {
		j.Code = 1002
		return nil
	}
	if len(raw) < n {
		return nil
	}
	if n > 0 {
		length = binary.BigEndian.Uint64(append(make([]byte, 8-n), raw[:n]...))
		raw = raw[n:]
	}
	if length < least {
		j.Code = 1002
		return nil
	}
	if message {
		j.op, j.compressed, j.size, j.wire, j.payload = op, rsv == 4, 0, 0, nil
	}
	if !op.control() {
		j.open = !fin
		header := uint64(2 + n + 4)
		if j.size += length; !j.compressed && j.size > uint64(j.limit) || j.wire+header+length > j.wireLimit() {
			j.Code = 1009
			return nil
		}
		j.wire += header + length
	}
	if len(raw) < 4 {
		return nil
	}
	mask, raw := raw[:4], raw[4:]
	whole := uint64(len(raw)) >= length
	payload := slices.Clone(raw[:min(length, uint64(len(raw)))])
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	switch {
	case !op.control():
		j.payload = append(j.payload, payload...)
		j.message(whole && fin)
	case whole && op == Close:
		j.close(payload)
	case whole && j.open:
		if j.wire += 2 + 4 + length; j.wire > j.wireLimit() {
			j.Code = 1009
			return nil
		}
	}
	return raw[len(payload):]
}

// message judges a message as received so far.
func (j *judge) message(whole bool) {
	data, code := j.judge(j.payload, whole)
	switch {
	case j.compressed && !whole:
		if j.Maybe == 0 {
			j.Maybe = code
		}
	case code != 0:
		j.Code = code
	case whole:
		j.Messages = append(j.Messages, Message{j.op, data})
	}
}

// judge returns the data that the payload encodes, and the code of any fault in it.
func (j *judge) judge(payload []byte, whole bool) (data []byte, code int) {
	data = payload
	var err error
	if j.compressed {
		data, err = InflateRaw(payload, whole, int(min(int64(j.limit)+1, math.MaxInt32)))
	}
	text := data[:min(len(data), j.limit)]
	switch {
	case j.op == Text && (!utf8Begins(text) || whole && len(data) <= j.limit && err == nil && !utf8.Valid(text)):
		return nil, 1007
	case len(data) > j.limit:
		return nil, 1009
	case err != nil && (whole || !errors.Is(err, io.ErrUnexpectedEOF)):
		return nil, 1002
	}
	return data, 0
}

func (j *judge) close(payload []byte) {
	code := 1005
	if len(payload) > 0 {
		code = int(binary.BigEndian.Uint16(payload))
		payload = payload[2:]
		if defined := code >= 1000 && code <= 1014 && (code < 1004 || code > 1006); !defined && (code < 3000 || code > 4999) {
			j.Code = 1002
			return
		}
	}
	if !utf8.Valid(payload) {
		j.Code = 1007
		return
	}
	j.Closed = &CloseError{code, string(payload)}
}

// utf8Begins reports whether p is the beginning of some valid text.
func utf8Begins(p []byte) bool {
	for len(p) > 0 && utf8.FullRune(p) {
		r, size := utf8.DecodeRune(p)
		if r == utf8.RuneError && size == 1 {
			return false
		}
		p = p[size:]
	}
	return true
}
