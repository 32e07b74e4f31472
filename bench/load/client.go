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
	rest     []byte // what has been read of a frame that is not whole, or the beginning of a large one
	large    large  // a large frame that is coming in
	parts    []byte // of a message in several frames
	url      string // where to push to it
	request  []byte // the head of a push to it, if it never reads
	messages int    // after the greeting
	pings    int
}

// large is a frame of which only the beginning is kept.
type large struct {
	op   byte
	size int // of its payload
	left int // bytes that are still to come
}

// A frame is large from largeFrame bytes on. Of those, largeStart are kept: a message begins with all that there is to know.
const (
	largeFrame = 4 << 10
	largeStart = 64
)

type state int8

const (
	shaking state = iota // the answer to the handshake is awaited
	greeted              // the greeting is awaited
	open
	closing // our close frame is sent, and the server's awaited
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
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// connecting opens connections; in a storm it also closes each after its greeting, half of them with a close frame, half
// without a word.
type connecting struct {
	order   order.Order
	storm   bool
	before  int // how many connections there were
	opened  int // sockets
	waiting int // for the answer or the greeting, or in a storm for the end
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
	t := &connecting{order: o, storm: o.Do == order.Storm, before: len(l.clients), since: l.now()}
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
			return nil, fmt.Errorf("%d connections get no greeting, or no end", t.waiting)
		}
		if l.closed > 0 {
			return nil, fmt.Errorf("%d connections have ended, the first of them so: %s", l.closed, l.why)
		}
		return nil, nil
	}
	if t.storm {
		l.clients = l.clients[:t.before]
		return &order.Report{}, nil
	}
	return &order.Report{URL: l.clients[0].url}, nil
}

// open opens one connection and sends its handshake.
func (l *loop) open(index int, o order.Order) error {
	c := &l.clients[index]
	*c = client{}
	// Eight source addresses, so that ports that wait out their TIME_WAIT do not run out.
	fd, err := dial(o.Addr, [4]byte{127, 0, 0, byte(2 + index%8)}, o.Do == order.Stall && !o.Reads)
	if err != nil {
		return err
	}
	c.fd = fd
	path := o.Path
	if strings.Contains(path, "%d") {
		path = fmt.Sprintf(path, index)
	}
	if o.Push != "" {
		c.url = fmt.Sprintf(o.Push, index)
	}
	if err := writeAll(fd, fmt.Appendf(nil, handshake, path, o.Addr)); err != nil {
		return err
	}
	return l.watch(fd, isClient, index)
}

// dial connects; over loopback that takes no time. A narrow connection takes little that is not read: its buffer is as small
// as can be, and its segments are those of Ethernet, or the kernel would hold 2.5 MB for it at the server's end, as only
// over loopback.
func dial(addr string, from [4]byte, narrow bool) (fd int, err error) {
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
	if narrow {
		if err := errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096),
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1460),
		); err != nil {
			return 0, err
		}
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

// requestHead makes the head of the request of a push to address.
func requestHead(address, query string, size int) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	u.RawQuery = query
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\n%sContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n",
		u.RequestURI(), u.Host, credential(u), size), nil
}

// readClient takes what there is for a client.
func (l *loop) readClient(index int) {
	if index >= len(l.clients) || l.clients[index].state == closed {
		return // an event of the same turn, from before its end
	}
	c := &l.clients[index]
	if s, ok := l.task.(*stalling); ok && !s.order.Reads && c.state == open {
		l.ended(c, "") // it is watched for nothing else; to read is what it never does
		return
	}
	n := 0
	if c.large.left == 0 {
		n = copy(l.buf, c.rest)
	}
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
	if c.large.left > 0 {
		if data = l.takeLarge(index, data[n:]); c.large.left > 0 {
			return
		}
	}
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
			data = c.beginLarge(data)
			break
		}
		data = data[size:]
		l.takeFrame(index, op, payload, len(payload))
	}
	c.rest = append(c.rest[:0], data...)
}

// beginLarge looks whether data, which is no whole frame, is the beginning of a large one, and returns what is to be kept of it.
func (c *client) beginLarge(data []byte) []byte {
	head, size := frameHead(data)
	if head == 0 || size < largeFrame || len(data) < head+largeStart {
		return data
	}
	c.large = large{op: data[0], size: size, left: head + size - len(data)}
	return data[head : head+largeStart]
}

// takeLarge takes more of a large frame, and returns what comes after it.
func (l *loop) takeLarge(index int, data []byte) []byte {
	c := &l.clients[index]
	n := min(c.large.left, len(data))
	if c.large.left -= n; c.large.left == 0 {
		l.takeFrame(index, c.large.op, c.rest, c.large.size)
		c.rest = c.rest[:0]
	}
	return data[n:]
}

// frame reads one whole frame; size 0 means that there is none.
func frame(data []byte) (op byte, payload []byte, size int) {
	head, length := frameHead(data)
	if head == 0 || len(data)-head < length {
		return 0, nil, 0
	}
	return data[0], data[head : head+length], head + length
}

// frameHead reads the head of a frame: its own size, which is 0 if it is not whole, and that of the payload.
func frameHead(data []byte) (head, length int) {
	if len(data) < 2 {
		return 0, 0
	}
	head, length = 2, int(data[1])
	switch length {
	case 126:
		if head = 4; len(data) < head {
			return 0, 0
		}
		length = int(binary.BigEndian.Uint16(data[2:]))
	case 127:
		if head = 10; len(data) < head {
			return 0, 0
		}
		length = int(binary.BigEndian.Uint64(data[2:]))
	}
	return head, length
}

// takeFrame takes a frame; op is its first byte, whose top bit says that it ends a message. Most are a whole one. Of a large one,
// payload is only the beginning.
func (l *loop) takeFrame(index int, op byte, payload []byte, size int) {
	c := &l.clients[index]
	switch op {
	case 0x80 | opText, 0x80 | opBinary:
		if c.state == greeted {
			if c.url == "" {
				c.url = string(payload)
			}
			l.ready(index)
			return
		}
		c.messages++
		if t, ok := l.task.(interface {
			arrived(l *loop, index int, message []byte, size int)
		}); ok {
			t.arrived(l, index, payload, size)
		}
	case opText, opBinary, opContinuation:
		if size > len(payload) {
			l.ended(c, "a large message in several frames")
			return
		}
		c.parts = append(c.parts, payload...)
	case 0x80 | opContinuation:
		message := append(c.parts, payload...)
		c.parts = nil
		l.takeFrame(index, 0x80|opText, message, len(message))
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

// ready says that a client has all that it was to get.
func (l *loop) ready(index int) {
	c := &l.clients[index]
	c.state = open
	if s, ok := l.task.(*stalling); ok {
		s.stall(l, index)
		return
	}
	t, ok := l.task.(*connecting)
	switch {
	case !ok:
	case !t.storm:
		t.waiting--
	case index%2 == 0 && writeAll(c.fd, masked(opClose, []byte{3, 232})) == nil: // 1000
		c.state = closing
	default:
		c.state = closing
		l.ended(c, "by us")
	}
}

// ended ends a connection, which is as it should be only in a storm, and when its client is stalled; why is for when it is not.
func (l *loop) ended(c *client, why string) {
	t, _ := l.task.(*connecting)
	s, _ := l.task.(*stalling)
	switch {
	case t != nil && t.storm && c.state == closing:
		t.waiting--
	case s != nil && (c.state == open && !s.order.Reads || c.state == closing):
		s.cut(l)
	default:
		if l.closed == 0 {
			l.why = why
		}
		l.closed++
	}
	c.state = closed
	reset(c.fd)
}

// reset closes a connection with a reset, which leaves no TIME_WAIT.
func reset(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}
