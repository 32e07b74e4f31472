//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// deafClients pushes messages of 1 MiB to 500 clients that do not read: each message once for all of them, in a bulk request.
func (s *scene) deafClients() error {
	ids := make([]string, 500)
	_, err := parallel(len(ids), 8, func(i int) (err error) {
		_, ids[i], err = s.connect("/ws", "", 4<<10)
		return err
	})
	if err != nil {
		return err
	}
	transport := new(http.Transport)
	s.keep(closer(transport.CloseIdleConnections))
	for i := range 3 + 125 {
		if i > 3 { // what the kernel takes is full, and the others wait for the first four targets of each
			ids = append(ids[4:], ids[:4]...)
		}
		line := repeat(`{"to":["`+strings.Join(ids, `","`)+`"],"text":"`, "x", "\"}\n", 1<<20)
		go s.pushTo(transport, line) // ends with the attack
		if i < 3 {
			s.hold(time.Second)
		}
	}
	s.settle()
	return nil
}

// pushTo sends a bulk request and waits for its answers.
func (s *scene) pushTo(transport *http.Transport, line []byte) {
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.victim.url()+"/ws/@connections", io.MultiReader(bytes.NewReader(line)))
	if err != nil {
		return
	}
	r.Header.Set("Authorization", "Bearer "+s.victim.Credential)
	r.Header.Set("Content-Type", "application/x-ndjson")
	s.sent.Add(int64(len(line)))
	if resp, err := transport.RoundTrip(r); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
}

type closer func()

func (f closer) Close() error { f(); return nil }

// Opcodes and bits of RFC 6455 section 5.2 and RFC 7692 section 6.
const (
	opContinuation = 0
	opText         = 1
	fin            = 0x80
	rsv1           = 0x40
)

// frame returns a client's frame. Its mask is of zeros, so that the payload is itself.
func frame(first byte, payload []byte) []byte {
	f := []byte{first}
	switch n := len(payload); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n <= 0xffff:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	return append(append(f, 0, 0, 0, 0), payload...)
}

const deflate = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; server_no_context_takeover\r\n"

// endlessMessage sends a compressed message that has nothing in it, and no end. The worker must have enough of it before it has taken
// endlessTaken bytes.
func (s *scene) endlessMessage() error {
	nothing := bytes.Repeat([]byte{0, 0, 0, 0xff, 0xff}, 6000) // blocks of DEFLATE without a byte (RFC 1951 section 3.2.4)
	c, _, err := s.connect("/ws", deflate, 0)
	if err != nil {
		return err
	}
	closed := make(chan []byte, 1)
	go func() { // ends with the connection
		said := make([]byte, 4) // a close frame's header, and its code
		n, _ := io.ReadFull(c.in, said)
		closed <- said[:n]
	}()
	next := byte(opText | rsv1)
	var said []byte
	for end := time.Now().Add(10 * time.Second); said == nil && time.Now().Before(end) && s.sent.Load() < 2*endlessTaken; {
		select {
		case said = <-closed: // what comes after it is dropped, for a while
		default:
			if c.say(frame(next, nothing)) != nil {
				said = <-closed
			}
			next = opContinuation
		}
	}
	switch sent := s.sent.Load(); {
	case sent > endlessTaken:
		return fmt.Errorf("%s of one message have been taken", size(sent))
	case len(said) < 4 || binary.BigEndian.Uint16(said[2:]) != 1009:
		return fmt.Errorf("the connection was closed with %q", said)
	}
	s.hold(time.Second)
	return nil
}

// endlessTaken is a multiple of the default of ReadLimit, with what the kernel takes on both sides.
const endlessTaken = 32 << 20

// halfMessages has many clients begin a message, compressed or not, and not end it. Each costs as much as it may say, but not for ever.
func (s *scene) halfMessages() error {
	const clients, within = 4000, 75 * time.Second
	plain := frame(opText, repeat("", "x", "", 64<<10))
	plain = plain[:len(plain)-1]
	compressed := frame(opText|rsv1, append([]byte{0, 0xff, 0xf0, 0, 0x0f}, repeat("", "x", "", 0xf000)...)) // a block of 61,695 bytes
	var ended atomic.Int64
	begun, err := parallel(clients, 8, func(i int) error {
		message, extension := plain, ""
		if i%2 > 0 {
			message, extension = compressed, deflate
		}
		c, _, err := s.connect("/ws", extension, 0)
		if err != nil {
			return err
		}
		if err := c.say(message); err != nil {
			return err
		}
		go func() { // ends with the connection
			_, _ = io.Copy(io.Discard, c.in)
			ended.Add(1)
		}()
		return nil
	})
	if err != nil {
		return fmt.Errorf("%d have begun a message, and then: %w", begun, err)
	}
	s.noted = fmt.Sprintf("%s for each", size((s.victim.resident()-s.before)/clients))
	if !await(s.ctx, within, func() bool { return ended.Load() == clients }) {
		return fmt.Errorf("%d of %d clients are still in the middle of a message after %v", clients-ended.Load(), clients, within)
	}
	return nil
}
