package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// answers reads the answers on one connection, one after the other, as they come in.
type answers struct {
	part    func(body []byte) error // takes a part of a body, which is not kept
	end     func() error            // is called after each answer
	status  int                     // of the answer under way
	rest    []byte                  // what is not taken yet, since it is not whole
	state   answerState
	left    int // of the body, or of its chunk
	chunked bool
	closes  bool // the server closes the connection after it
}

type answerState int8

const (
	inHead answerState = iota
	inSize             // of a chunk
	inBody             // or in a chunk
	afterChunk
	inTrailer
)

// feed takes what has come in.
func (a *answers) feed(data []byte) error {
	if len(a.rest) > 0 {
		a.rest = append(a.rest, data...)
		data = a.rest
	}
	for {
		n, err := a.take(data)
		if err != nil {
			return err
		}
		if n == 0 {
			a.rest = append(a.rest[:0], data...)
			return nil
		}
		data = data[n:]
	}
}

// take takes the next thing there is; n is its length, and 0 if it is not whole.
func (a *answers) take(data []byte) (n int, err error) {
	if a.state == inBody {
		if n = min(a.left, len(data)); n == 0 {
			return 0, nil
		}
		if err := a.part(data[:n]); err != nil {
			return n, err
		}
		if a.left -= n; a.left > 0 {
			return n, nil
		}
		if a.chunked {
			a.state = afterChunk
			return n, nil
		}
		return n, a.ended()
	}
	last := "\r\n"
	if a.state == inHead {
		last = "\r\n\r\n"
	}
	i := bytes.Index(data, []byte(last))
	if i < 0 {
		return 0, nil
	}
	n = i + len(last)
	switch a.state {
	case inHead:
		return n, a.head(data[:i])
	case inSize:
		size, err := strconv.ParseUint(string(data[:i]), 16, 31)
		if err != nil {
			return n, fmt.Errorf("not the size of a chunk: %q", data[:i])
		}
		if a.left, a.state = int(size), inBody; size == 0 {
			a.state = inTrailer
		}
	case afterChunk:
		a.state = inSize
	case inTrailer:
		if i == 0 {
			return n, a.ended()
		}
	}
	return n, nil
}

func (a *answers) ended() error {
	a.state = inHead
	return a.end()
}

func (a *answers) head(head []byte) (err error) {
	if len(head) < 12 {
		return fmt.Errorf("not an answer: %q", head)
	}
	if a.status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return fmt.Errorf("not an answer: %q", head)
	}
	a.left, a.chunked, a.closes = 0, false, false
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if a.left, err = strconv.Atoi(string(value)); err != nil {
				return fmt.Errorf("not an answer: %q", head)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			a.chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			a.closes = bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case a.chunked:
		a.state = inSize
	case a.left > 0:
		a.state = inBody
	default:
		return a.ended()
	}
	return nil
}
