package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// client is one with a session.
type client struct {
	path    string
	conn    *net.TCPConn
	ticket  string
	offset  int // messages of the session that it has got
	retries int // how often it was told to come back later
	ended   chan struct{}

	numbers chan int // of the messages that have come; those that a client has missed, or got again, end it
	next    int      // the number that is to come
	err     error    // why it has ended; once ended is closed
	isCut   chan struct{}
}

// hello is the first message of a WebSocket.
type hello struct {
	Ticket  string `json:"ticket"`
	Resumed bool   `json:"resumed"`
	Offset  int    `json:"offset"`
	Missed  int    `json:"missed"`
	Why     string `json:"why"`
	Refused string `json:"refused"`
	After   int    `json:"after"` // seconds
}

// connect connects the client, for its session if it has one, and returns how long it was from the handshake to the hello. If it is told to come back
// later, it does, and that counts in full.
func (c *client) connect(to string) (took time.Duration, err error) {
	for again := true; again; {
		var once time.Duration
		once, again, err = c.try(to)
		if took += once; err != nil || took > limit {
			return took, err
		}
	}
	return took, nil
}

// try is one attempt of connect.
func (c *client) try(to string) (took time.Duration, again bool, err error) {
	conn, err := net.DialTimeout("tcp", to, limit)
	if err != nil {
		return 0, false, err
	}
	c.conn = conn.(*net.TCPConn)
	if err := c.conn.SetDeadline(time.Now().Add(5 * limit)); err != nil {
		return 0, false, err
	}
	offer := "wspush.v1"
	if c.ticket != "" {
		offer += ", wspush.resume." + c.ticket + "." + strconv.Itoa(c.offset)
	}
	begin := time.Now()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: %s\r\n\r\n", c.path, to, offer); err != nil {
		return 0, false, err
	}
	r := bufio.NewReaderSize(conn, 1024)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0, false, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return 0, false, errors.New(res.Status)
	}
	_, text, err := readFrame(r)
	if err != nil {
		return 0, false, err
	}
	took = time.Since(begin)
	var h hello
	if err := json.Unmarshal(text, &h); err != nil {
		return 0, false, fmt.Errorf("%q: %w", text, err)
	}
	if h.Refused == "retry" {
		c.retries++
		_ = conn.Close()
		time.Sleep(time.Duration(h.After) * time.Second)
		return time.Since(begin), true, nil
	}
	if h.Ticket == "" || h.Resumed != (c.ticket != "") || h.Offset != c.offset || h.Missed > 0 {
		return 0, false, fmt.Errorf("a client that has %d messages was told %s", c.offset, text)
	}
	c.ticket = h.Ticket
	if c.numbers == nil {
		c.numbers = make(chan int, 64)
	}
	c.ended, c.isCut = make(chan struct{}), make(chan struct{})
	go c.read(r)
	return took, false, nil
}

// read reads the messages, and answers pings, until the connection ends.
func (c *client) read(r *bufio.Reader) {
	defer close(c.ended)
	for {
		opcode, data, err := readFrame(r)
		if err != nil {
			select {
			case <-c.isCut:
			default:
				c.err = err
			}
			return
		}
		switch opcode {
		case opPing:
			pong := append([]byte{0x80 | opPong, 0x80 | byte(len(data)), 0, 0, 0, 0}, data...) // masked with zeros
			if _, err := c.conn.Write(pong); err != nil {
				continue // the next read says so as well
			}
		case opText:
			c.offset++
			if bytes.HasPrefix(data, []byte("http")) {
				continue // the greeting
			}
			text, _, _ := bytes.Cut(data, []byte{' '})
			n, err := strconv.Atoi(string(text))
			if err != nil || n != c.next {
				c.err = fmt.Errorf("message %q has come, and not %d", text, c.next)
				return
			}
			c.next++
			c.numbers <- n
		default:
			c.err = fmt.Errorf("a frame with opcode %d: %q", opcode, data)
			return
		}
	}
}

// await waits until so many messages have come in all.
func (c *client) await(n int) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for got := -1; got < n-1; {
		select {
		case got = <-c.numbers:
		case <-c.ended:
			return fmt.Errorf("%s has ended: %w", c.path, c.err)
		case <-timer.C:
			return fmt.Errorf("%s has got %d of %d messages", c.path, got+1, n)
		}
	}
	return nil
}

// cut ends the connection as a network does that is lost.
func (c *client) cut() {
	close(c.isCut)
	_ = c.conn.SetLinger(0)
	_ = c.conn.Close()
	<-c.ended
}

const (
	opText = 1
	opPing = 9
	opPong = 10
)

// readFrame reads a frame of a server, which is a whole message.
func readFrame(r *bufio.Reader) (opcode byte, data []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:2]); err != nil {
		return 0, nil, err
	}
	opcode, size := head[0]&15, int(head[1])
	switch {
	case head[0]&0xf0 != 0x80 || size > 126:
		return 0, nil, fmt.Errorf("a frame that begins with %x", head[:2])
	case size == 126:
		if _, err := io.ReadFull(r, head[:2]); err != nil {
			return 0, nil, err
		}
		size = int(binary.BigEndian.Uint16(head[:]))
	}
	data = make([]byte, size)
	_, err = io.ReadFull(r, data)
	return opcode, data, err
}
