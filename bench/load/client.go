package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/wspush/wspush/bench/internal/order"
)

// client is one WebSocket.
type client struct {
	fd       int
	state    state
	rest     []byte // what has been read of a frame that is not whole
	parts    []byte // of a message in several frames
	url      string // where to push to it
	request  []byte // the head of such a push
	messages int    // after the greeting
	pings    int
}

type state int8

const (
	shaking state = iota // the answer to the handshake is awaited
	greeted              // the greeting is awaited
	open
	closed
)

// The handshake of RFC 6455 section 1.3: the key need not be random where there is no proxy to be fooled.
const (
	handshake = "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
	accepted = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

const (
	opContinuation = 0

	opText   = 1
	opBinary = 2
	opPing   = 9
	opPong   = 10
)

// connecting opens connections.
type connecting struct {
	order   order.Order
	before  int // how many connections there were
	opened  int // sockets
	waiting int // for the answer or the greeting
	since   time.Duration
}

// window is how many handshakes are under way at a time, which is fewer than any server's backlog.
const window = 64

// stall is how long an order may make no progress.
const stall = 20 * time.Second

func (l *loop) newConnecting(o order.Order) (*connecting, error) {
	if _, err := netip.ParseAddrPort(o.Addr); err != nil {
		return nil, err
	}
	t := &connecting{order: o, before: len(l.clients), since: l.now()}
	l.clients = append(l.clients, make([]client, o.N)...)
	return t, nil
}

func (t *connecting) step(l *loop) (*order.Report, error) {
	for t.opened < t.order.N && t.waiting < window {
		if err := l.open(t.before+t.opened, t.order); err != nil {
			return nil, fmt.Errorf("connection %d: %w", t.opened, err)
		}
		t.opened++
		t.waiting++
		t.since = l.now()
	}
	if t.waiting > 0 {
		if l.now()-t.since > stall {
			return nil, fmt.Errorf("%d connections get no greeting", t.waiting)
		}
		if l.closed > 0 {
			return nil, fmt.Errorf("%d connections have ended, the first of them so: %s", l.closed, l.why)
		}
		return nil, nil
	}
	return &order.Report{URL: l.clients[0].url}, nil
}

// open opens one connection and sends its handshake.
func (l *loop) open(index int, o order.Order) error {
	c := &l.clients[index]
	*c = client{}
	// Eight source addresses, so that ports that wait out their TIME_WAIT do not run out.
	fd, err := dial(o.Addr, [4]byte{127, 0, 0, byte(2 + index%8)})
	if err != nil {
		return err
	}
	c.fd = fd
	path := o.Path
	if strings.Contains(path, "%d") {
		path = fmt.Sprintf(path, index)
	}
	if o.Push != "" {
		if err := c.pushedAt(fmt.Sprintf(o.Push, index)); err != nil {
			return err
		}
	}
	if err := writeAll(fd, fmt.Appendf(nil, handshake, path, o.Addr)); err != nil {
		return err
	}
	return l.watch(fd, isClient, index)
}

// dial connects; over loopback that takes no time.
func dial(addr string, from [4]byte) (fd int, err error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return 0, err
	}
	if !to.Addr().Is4() || !to.Addr().IsLoopback() {
		return 0, fmt.Errorf("%s is not on loopback", addr)
	}
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	// The port is chosen in connect, where only the pair of addresses must be unique.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return 0, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from}); err != nil {
		return 0, err
	}
	server := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	err = unix.Connect(fd, server)
	for err == unix.EINTR { // by the Go runtime, which interrupts its threads; the kernel goes on connecting
		err = unix.Connect(fd, server)
	}
	if err != nil && err != unix.EISCONN {
		return 0, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return fd, unix.SetNonblock(fd, true)
}

// writeAll writes what is so short that it always fits in the socket's buffer.
func writeAll(fd int, data []byte) error {
	n, err := unix.Write(fd, data)
	for err == unix.EINTR {
		n, err = unix.Write(fd, data)
	}
	if err == unix.EAGAIN || err == nil && n < len(data) {
		return errors.New("the server does not read")
	}
	return err
}

// pushedAt notes where to push to the client.
func (c *client) pushedAt(address string) error {
	c.url = address
	var err error
	c.request, err = requestHead(address)
	return err
}

// requestHead makes the head of the request of a push to address.
func requestHead(address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n",
		u.RequestURI(), u.Host, credential(u), order.Size), nil
}

// readClient takes what there is for a client.
func (l *loop) readClient(index int) {
	if index >= len(l.clients) || l.clients[index].state == closed {
		return // an event of the same turn, from before its end
	}
	c := &l.clients[index]
	n := copy(l.buf, c.rest)
	m, err := unix.Read(c.fd, l.buf[n:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return
	case err != nil:
		l.ended(c, err.Error())
		return
	case m == 0:
		l.ended(c, "closed without a close frame")
		return
	}
	data := l.buf[:n+m]
	if c.state == shaking {
		end := bytes.Index(data, []byte("\r\n\r\n"))
		if end < 0 {
			c.rest = append(c.rest[:0], data...)
			return
		}
		if !bytes.HasPrefix(data, []byte("HTTP/1.1 101 ")) || !bytes.Contains(data[:end], []byte(accepted)) {
			l.ended(c, fmt.Sprintf("the handshake was answered with %q", data[:min(len(data), 200)]))
			return
		}
		data = data[end+4:]
		if c.state = greeted; c.url != "" {
			l.ready(index)
		}
	}
	for len(data) > 0 && c.state != closed {
		op, payload, size := frame(data)
		if size == 0 {
			break
		}
		data = data[size:]
		l.takeFrame(index, op, payload)
	}
	c.rest = append(c.rest[:0], data...)
}

// frame reads one whole frame; size 0 means that there is none.
func frame(data []byte) (op byte, payload []byte, size int) {
	if len(data) < 2 {
		return 0, nil, 0
	}
	head, length := 2, int(data[1])
	switch length {
	case 126:
		if head = 4; len(data) < head {
			return 0, nil, 0
		}
		length = int(binary.BigEndian.Uint16(data[2:]))
	case 127:
		if head = 10; len(data) < head {
			return 0, nil, 0
		}
		length = int(binary.BigEndian.Uint64(data[2:]))
	}
	if len(data)-head < length {
		return 0, nil, 0
	}
	return data[0], data[head : head+length], head + length
}

// takeFrame takes a frame; op is its first byte, whose top bit says that it ends a message. Most are a whole one.
func (l *loop) takeFrame(index int, op byte, payload []byte) {
	c := &l.clients[index]
	switch op {
	case 0x80 | opText, 0x80 | opBinary:
		if c.state == greeted {
			if c.url == "" {
				if err := c.pushedAt(string(payload)); err != nil {
					l.ended(c, fmt.Sprintf("the greeting is no URL: %v", err))
					return
				}
			}
			l.ready(index)
			return
		}
		c.messages++
		if t, ok := l.task.(interface {
			arrived(l *loop, index int, message []byte)
		}); ok {
			t.arrived(l, index, payload)
		}
	case opText, opBinary, opContinuation:
		c.parts = append(c.parts, payload...)
	case 0x80 | opContinuation:
		message := append(c.parts, payload...)
		c.parts = nil
		l.takeFrame(index, 0x80|opText, message)
	case 0x80 | opPing:
		c.pings++
		if err := writeAll(c.fd, masked(opPong, payload)); err != nil {
			l.ended(c, fmt.Sprintf("pong: %v", err))
		}
	case 0x80 | opPong:
	default: // a close frame, or what no server here should send
		l.ended(c, fmt.Sprintf("a frame %#x with %q", op, payload[:min(len(payload), 100)]))
	}
}

// masked makes a short frame from a client.
func masked(op byte, payload []byte) []byte {
	mask := [4]byte{0x6d, 0x61, 0x73, 0x6b}
	f := append([]byte{0x80 | op, 0x80 | byte(len(payload))}, mask[:]...)
	for i, b := range payload {
		f = append(f, b^mask[i%4])
	}
	return f
}

// ready notes that a client has got its greeting.
func (l *loop) ready(index int) {
	l.clients[index].state = open
	if t, ok := l.task.(*connecting); ok {
		t.waiting--
	}
}

// ended notes why a connection has ended, which none should.
func (l *loop) ended(c *client, why string) {
	if l.closed == 0 {
		l.why = why
	}
	l.closed++
	c.state = closed
	reset(c.fd)
}

// reset closes a connection with a reset, which leaves no TIME_WAIT.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}
