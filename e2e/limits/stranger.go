//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// stranger is a connection of an attacker, with a reader for what comes back.
type stranger struct {
	net.Conn
	*scene
	in *bufio.Reader
}

// dial connects an attacker. The connection is closed when the attack is over.
func (s *scene) dial(address string) (*stranger, error) { return s.dialWith(address, 0) }

// dialWith is dial for one whose kernel takes little if buffer is not 0: what is sent to it then waits where it comes from. What it sends
// never waits in its own kernel: TCP has a bound for all connections of a machine, and honest publishers suffer when it is reached.
func (s *scene) dialWith(address string, buffer int) (*stranger, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: -1}
	d.Control = func(_, _ string, raw syscall.RawConn) (err error) {
		control := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 64<<10)
			if err == nil && buffer > 0 {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, buffer)
			}
		})
		return errors.Join(control, err)
	}
	c, err := d.DialContext(s.ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s.keep(c)
	s.opened.Add(1)
	return &stranger{Conn: c, scene: s, in: bufio.NewReaderSize(c, 1<<10)}, nil
}

// sayLimit bounds how long a stranger takes to say something.
const sayLimit = 12 * time.Second

// say sends all of this, within sayLimit. Only some connections send at a time, and those that are kept waiting let others send:
// loopback loses what is too much at once, and honest publishers would wait for TCP to send theirs again.
func (c *stranger) say(parts ...[]byte) error {
	end := time.Now().Add(sayLimit)
	for _, p := range parts {
		for len(p) > 0 {
			n, err := c.sayPart(p[:min(len(p), 128<<10)])
			p = p[n:]
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(end) && c.ctx.Err() == nil:
			case err != nil:
				return err
			}
		}
	}
	return nil
}

func (c *stranger) sayPart(p []byte) (int, error) {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	n, err := c.Conn.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// answer reads the header of an answer, within 10 s.
func (c *stranger) answer() (status int, err error) {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, nil
}

// connect makes an attacker's WebSocket, with its greeting read, which is its ID. An error that matches errRefused says that the worker
// does not want it.
func (s *scene) connect(path, header string, buffer int) (*stranger, string, error) {
	c, err := s.dialWith(s.victim.App, buffer)
	if err != nil {
		return nil, "", err
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + s.victim.App + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n" + header + "\r\n"
	if err := c.say([]byte(request)); err != nil {
		return nil, "", fmt.Errorf("%w: %w", errRefused, err)
	}
	status, err := c.answer()
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", errRefused, err)
	}
	if status != http.StatusSwitchingProtocols {
		_ = c.Close()
		return nil, "", fmt.Errorf("%w: %d", errRefused, status)
	}
	var greeting [2 + 36]byte // a short frame's header, and a UUID
	if _, err := io.ReadFull(c.in, greeting[:]); err != nil {
		return nil, "", err
	}
	_ = c.SetDeadline(time.Time{})
	return c, string(greeting[2:]), nil
}

var errRefused = errors.New("refused")

// post begins a POST of a publisher that has the credential. length is that of the body; -1: it is chunked.
func (c *stranger) post(path, contentType string, length int) error {
	framing := "Transfer-Encoding: chunked"
	if length >= 0 {
		framing = fmt.Sprintf("Content-Length: %d", length)
	}
	return c.say([]byte("POST " + path + " HTTP/1.1\r\nHost: " + c.victim.Push + "\r\nAuthorization: Bearer " + c.victim.Credential +
		"\r\nContent-Type: " + contentType + "\r\n" + framing + "\r\n\r\n"))
}

// bulk begins a bulk request.
func (c *stranger) bulk(length int) error {
	return c.post("/ws/@connections", "application/x-ndjson", length)
}

// chunk sends a chunk of a chunked body.
func (c *stranger) chunk(data []byte) error {
	return c.say(fmt.Appendf(nil, "%x\r\n", len(data)), data, []byte("\r\n"))
}

// nobody is an ID that no connection has.
const nobody = "00000000-0000-4000-8000-000000000000"

// repeat repeats text up to about so many bytes, and puts it between two others.
func repeat(before, text, after string, bytes int) []byte {
	return []byte(before + strings.Repeat(text, bytes/len(text)) + after)
}
