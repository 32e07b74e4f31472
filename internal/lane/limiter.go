package lane

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/sendbuffer"
)

// limiter counts the connections of publishers. Where there are as many as its limit, the one that has rested for the longest time
// makes room for another. If none rests, another is turned away, unless it opens a link.
type limiter struct {
	config    *Config
	n         atomic.Int64   // publishers
	refused   atomic.Uint64  // so far
	displaced atomic.Uint64  // publishers that rested, and made room for others, so far
	berths    berths         // of publishers
	silent    row            // connections beyond the limit that have not sent the header of a request
	openers   row            // those that have, and open links: until they have proved themselves, or are closed
	running   sync.WaitGroup // a goroutine for each of them, until it is refused or let in
	ctx       context.Context
	stop      context.CancelFunc // closes the connections that are still being refused

	mu       sync.Mutex // guards hijacked
	hijacked map[*counted]struct{}
}

const (
	// Connections beyond the limit that are listened to, and that have been let in to open a link. One more closes the first of them,
	// so that nobody can keep others out by waiting.
	maxSilent  = 32
	maxOpeners = 32

	// sendBuffer is what the system takes of answers for a publisher that does not read them. It would take 4 MiB.
	sendBuffer = 64 << 10

	refuseTime  = 500 * time.Millisecond // for each of them to be refused, or to have sent the header of an opening
	openingTime = 3 * time.Second        // for an opener to prove itself
)

func newLimiter(config *Config) *limiter {
	l := &limiter{config: config, berths: berths{start: time.Now()}, hijacked: make(map[*counted]struct{})}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// enter gives a connection a place, or returns nil: then the connection is beyond the limit. If it turns out to open a link, it
// gets an opener's place, and letIn gets it for net/http. Otherwise it is refused.
func (l *limiter) enter(raw net.Conn, letIn func(net.Conn)) *counted {
	sendbuffer.Set(raw, sendBuffer)
	c := &counted{Conn: raw, limiter: l}
	for {
		if l.n.Add(1) <= int64(l.config.MaxConns) || l.config.MaxConns < 0 {
			c.place = publisherPlace
			if l.config.MaxConns >= 0 {
				l.berths.enter(c)
			}
			return c
		}
		l.n.Add(-1)
		longest := l.berths.takeLongest()
		if longest == nil {
			break
		}
		longest.cut()
		l.displaced.Add(1)
	}
	c.place = silentPlace
	if first := l.silent.add(c, maxSilent); first != nil {
		first.cut()
	}
	l.running.Go(func() { l.listen(c, letIn) })
	return nil
}

// listen reads the header of a request on a connection beyond the limit. It lets an opener in, and refuses anyone else. No write
// of it has to wait: cut ends those of TLS too, which has deadlines of its own for its goodbye.
func (l *limiter) listen(c *counted, letIn func(net.Conn)) {
	isOpener := false
	defer func() {
		if !isOpener {
			c.cut()
		}
	}()
	defer context.AfterFunc(l.ctx, c.cut)()
	defer time.AfterFunc(refuseTime, c.cut).Stop()
	var raw net.Conn = c
	var state *tls.ConnectionState
	if secure := l.config.secure(c); secure != nil {
		if state = l.agree(secure); state == nil {
			l.refused.Add(1)
			return
		}
		if c.Conn != secure {
			raw = secure
		}
	}
	var buf [4 << 10]byte
	n, err := raw.Read(buf[:])
	for err == nil && n < len(buf) && isPartOfOpening(buf[:n]) {
		var more int
		more, err = raw.Read(buf[n:])
		n += more
	}
	switch {
	case n == 0:
		l.refused.Add(1)
	case err == nil && OpensLink(buf[:n]) && hasHeader(buf[:n]):
		if isOpener = c.becomeOpener(); !isOpener {
			return
		}
		c.waitFor(openingTime)
		letIn(handedOverWith(raw, state, bytes.Clone(buf[:n])))
	default:
		l.refused.Add(1)
		l.refuse(raw, buf[:], n)
	}
}

// agree shakes hands with a publisher that will be refused, or with an opener. It returns nil if they do not agree on HTTP/1.1.
func (l *limiter) agree(secure *tls.Conn) *tls.ConnectionState {
	if err := shakeHands(l.config.Context, secure); err != nil {
		return nil
	}
	state := secure.ConnectionState()
	if !isHTTP1(&state) {
		return nil
	}
	return &state
}

// refuse answers the request that begins with buf[:n] with what Full writes, so that the publisher knows that it was not carried
// out.
func (l *limiter) refuse(c net.Conn, buf []byte, n int) {
	var answer response
	l.config.Full(&answer)
	out := answer.render(true)
	if bytes.HasPrefix(buf[:n], []byte("HEAD ")) { // the answer to HEAD has no body (RFC 9110 section 9.3.2)
		out = out[:bytes.Index(out, []byte("\r\n\r\n"))+4]
	}
	_, err := c.Write(out)
	// Closing the connection while the publisher is still sending would reset it: the publisher might never see the answer.
	_ = closeWrite(c)
	for err == nil {
		_, err = c.Read(buf)
	}
}

// hijack notes that net/http has given a connection away. Whoever has it closes it, or gives it a link's place.
func (l *limiter) hijack(c *counted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hijacked[c] = struct{}{}
	if !c.hasPlace() { // it has been closed already, and nobody would forget it
		delete(l.hijacked, c)
	}
}

func (l *limiter) forget(c *counted) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.hijacked, c)
}

// closeHijacked closes the connections that have been hijacked, and neither closed nor made links.
func (l *limiter) closeHijacked() {
	l.mu.Lock()
	left := make([]*counted, 0, len(l.hijacked))
	for c := range l.hijacked {
		left = append(left, c)
	}
	l.mu.Unlock()
	for _, c := range left {
		c.cut()
	}
}

// wait waits for the connections that are being refused. When ctx ends, it closes them.
func (l *limiter) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, l.stop)()
	l.running.Wait()
	l.stop()
}
