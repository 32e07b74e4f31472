package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// sessionClient is a client with a session: it counts what it receives, and comes back with its ticket and its count as docs/resuming.md says.
// It keeps its session for as long as the worker does.
type sessionClient struct {
	*site
	books    *sessionBooks
	number   int
	user     string
	groups   []string
	road     int // which forwarder it goes through; -1: none, from far away
	random   *rand.Rand
	compress bool
	orders   chan command
	partings sync.WaitGroup // of WebSockets that are not the page's any more

	mu      sync.Mutex // guards the fields below, and what is in session
	session *Session   // nil before the first, and after one that has ended
	have    uint64     // how many of its messages the page has
	claimed uint64     // the most that it has said to have; it may forget what came after that
	ticket  string
	former  string        // the ticket before
	renewed time.Duration // when ticket came
	wire    *wire         // the page's WebSocket; nil: it has none
}

// command is something that a client is told to do.
type command struct {
	kind eventKind
	away time.Duration
}

const (
	handshakeTimeout = 10 * time.Second       // as client/wspush.js has it
	quickReturn      = 200 * time.Millisecond // at most, before most attempts
	slowReturn       = time.Second
	// A page that is reloaded has forgotten what it got within this time, and no more than this. The session has it all for longer: see retained.go.
	forgetTime = 3 * time.Second
	forgetMost = littleUnconfirmed / 2
)

// hello is the first message of a WebSocket with a session.
type hello struct {
	Refused, Address, Ticket, Why string
	Window                        int
	Resumed                       bool
	Offset, Missed, After         uint64
}

// live comes back until ctx ends, and then ends its session.
func (c *sessionClient) live(ctx context.Context) {
	defer c.partings.Wait()
	for ctx.Err() == nil {
		w, err := c.connect(ctx)
		if err != nil {
			if ctx.Err() == nil {
				c.count("handshakes that failed", err.Error())
			}
			sleep(ctx, 20*time.Millisecond+time.Duration(c.random.Int64N(int64(quickReturn))))
			continue
		}
		pulse := time.NewTicker(pulseInterval)
		for stays := true; stays; {
			select {
			case <-pulse.C:
				w.ping(c.since())
			case <-w.ended:
				c.dropped(w)
				wait := quickReturn
				switch c.random.IntN(10) {
				case 0, 1:
					wait = slowReturn
				case 2, 3, 4:
					wait = time.Millisecond
				}
				sleep(ctx, time.Duration(c.random.Int64N(int64(wait))))
				stays = false
			case o := <-c.orders:
				c.obey(ctx, w, o)
				stays = false
			case <-ctx.Done():
				c.leave(w)
				stays = false
			}
		}
		pulse.Stop()
	}
}

// offers returns the subprotocols for the next handshake, and the session and the number of messages in them.
func (c *sessionClient) offers() (offers []string, s *Session, have uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	offers = []string{"wspush.v1"}
	if c.session != nil {
		offers = append(offers, fmt.Sprintf("wspush.resume.%s.%d", c.ticket, c.have))
		c.claimed = max(c.claimed, c.have)
	}
	return offers, c.session, c.have
}

// connect opens a WebSocket, and reads the hello.
func (c *sessionClient) connect(ctx context.Context) (*wire, error) {
	offers, s, have := c.offers()
	ws, conn, err := c.dial(ctx, offers)
	if err != nil {
		c.gaveUp(s)
		return nil, err
	}
	w := newWire(c, ws, conn)
	_, data, err := ws.ReadMessage()
	var refused *websocket.CloseError
	if errors.As(err, &refused) && s != nil && isFinal(refused.Code) {
		w.cut(byFIN)
		if refused.Code == codeReplaced {
			c.replaced(s)
		}
		c.end(s, closed, c.since(), fmt.Sprint(refused.Code))
		return nil, fmt.Errorf("the session had ended: closed with %d", refused.Code)
	}
	if err != nil {
		c.gaveUp(s)
		w.cut(byFIN)
		return nil, errors.New("no hello")
	}
	var h hello
	if err := json.Unmarshal(data, &h); err != nil {
		c.fault("the first message to a client is no hello: %.100q", data)
		w.cut(byFIN)
		return nil, errors.New("no hello")
	}
	if h.Refused != "" {
		w.cut(byFIN)
		if h.Refused != "retry" {
			c.fault("a client was refused: %s", data)
		}
		return nil, errors.New("refused: " + h.Refused)
	}
	return w, c.greeted(w, &h, s, have)
}

// gaveUp notes that a handshake has been given up that the worker may still get.
func (c *sessionClient) gaveUp(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s != nil {
		s.GaveUp = c.since()
	}
}

// lateHandshake is how much later at most such a handshake comes to the worker, whose ticket is still good then.
const lateHandshake = 15 * time.Second

// replaced is called when the client has lost its only WebSocket to a newer one.
func (c *sessionClient) replaced(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.since(); s.GaveUp > 0 && now-s.GaveUp < lateHandshake {
		s.Overtaken = true
	} else {
		s.broken("at %v it was closed as replaced, and its client had no other WebSocket", now)
	}
}

// greeted takes the hello.
func (c *sessionClient) greeted(w *wire, h *hello, s *Session, have uint64) error {
	now := c.since()
	id := idOf(h.Address)
	if id == "" || h.Ticket == "" || h.Window != int(resumeWindow/time.Second) {
		c.fault("a hello without a session: %+v", h)
		w.cut(byFIN)
		return errors.New("no session")
	}
	if s != nil && !h.Resumed {
		c.end(s, lost, now, h.Why)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !h.Resumed:
		s = &Session{ID: id, Client: c.number, User: c.user, Groups: c.groups, Began: now, Alive: now, Aside: map[uint64]Receipt{}}
		if c.fleet != nil {
			s.Addresses = []string{id}
		}
		c.session, c.former = s, ""
		c.books.add(s)
	case s == nil:
		c.fault("a client resumed a session for which it did not ask: %+v", h)
		return errors.New("whose session?")
	default:
		s.Resumes++
		if c.fleet != nil {
			c.books.meet(s, id)
		} else if s.ID != id {
			s.broken("at %v it had another address: %s", now, h.Address)
		}
		if h.Offset != have+h.Missed {
			s.broken("at %v it came with %d messages, and was told %d, of which %d were missed", now, have, h.Offset, h.Missed)
		}
		if h.Missed > 0 {
			s.Missed = append(s.Missed, Missed{Count: h.Missed, After: have, At: now, Had: s.hadAt(have + 1)})
		}
		for n := uint64(len(s.Log)); n < h.Offset; n++ {
			s.Log = append(s.Log, Receipt{Message: Message{Publisher: -1}})
		}
		s.Alive = now
		c.former = c.ticket
	}
	c.ticket, c.renewed, c.have = h.Ticket, now, h.Offset
	w.session, w.read = s, h.Offset
	c.wire = w
	go w.receive()
	return nil
}

// hadAt returns when the page, or an endpoint, first read a message; never if neither has.
func (s *Session) hadAt(number uint64) time.Duration {
	if r, ok := s.Aside[number]; ok {
		return r.At
	}
	if number <= uint64(len(s.Log)) {
		return s.Log[number-1].At
	}
	return never
}

// dial makes the handshake.
func (c *sessionClient) dial(ctx context.Context, offers []string) (*websocket.Conn, *valve, error) {
	var v *valve
	dialer := websocket.Dialer{
		HandshakeTimeout: handshakeTimeout, Subprotocols: offers, EnableCompression: c.compress,
		ReadBufferSize: 1 << 10, WriteBufferSize: 256,
		NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := c.reach(ctx)
			if err != nil {
				return nil, err
			}
			v = newValve(conn)
			return v, nil
		},
	}
	query := url.Values{"user": {c.user}, "group": c.groups}
	ws, answer, err := dialer.DialContext(ctx, "ws://worker/ws?"+query.Encode(), nil)
	switch {
	case answer != nil && errors.Is(err, websocket.ErrBadHandshake):
		return nil, nil, errors.New(answer.Status)
	case err != nil:
		return nil, nil, errors.New("no connection")
	case answer.StatusCode != http.StatusSwitchingProtocols || ws.Subprotocol() != "wspush.v1":
		c.fault("the subprotocol is %q", ws.Subprotocol())
	}
	return ws, v, nil
}

func (c *sessionClient) reach(ctx context.Context) (net.Conn, error) {
	worker := 0
	if c.fleet != nil {
		worker = c.fleet.forClient(c.random)
	}
	if c.road < 0 {
		return c.far.dial(ctx, worker)
	}
	return c.roads[c.road].dial(ctx, worker)
}

// isFinal reports whether a close code is the end of a session: see docs/resuming.md.
func isFinal(code int) bool {
	return !slices.Contains([]int{1001, 1005, 1006, 1012, 1013, 3000}, code)
}

// dropped is called when the page's WebSocket has ended of itself.
func (c *sessionClient) dropped(w *wire) {
	c.mu.Lock()
	c.wire = nil
	s := w.session
	c.mu.Unlock()
	_ = w.ws.Close()
	var code *websocket.CloseError
	if errors.As(w.err, &code) && isFinal(code.Code) {
		c.end(s, closed, c.since(), fmt.Sprint(code.Code))
	}
}

// end notes that the session has ended.
func (c *sessionClient) end(s *Session, how sessionEnd, at time.Duration, why string) {
	c.books.remove(s)
	c.mu.Lock()
	defer c.mu.Unlock()
	s.End, s.Ends, s.Why = how, at, why
	c.session, c.ticket, c.have, c.claimed = nil, "", 0, 0
}

// leave ends the session. If the worker does not hear of it, it waits for the client until its window is over.
func (c *sessionClient) leave(w *wire) {
	s := c.giveUp(w)
	c.end(s, left, c.since(), "")
	w.cut(byNormalEnd)
}

// giveUp takes the WebSocket from the page: what comes from now on is not for it.
func (c *sessionClient) giveUp(w *wire) *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wire == w {
		c.wire = nil
	}
	return w.session
}

// obey does what the client is told to.
func (c *sessionClient) obey(ctx context.Context, w *wire, o command) {
	how := farewells[c.random.IntN(len(farewells))]
	switch o.kind {
	case replace: // by another WebSocket, while this one is there
		c.giveUp(w)
		// Its endpoint reads on, or does not.
		if c.random.IntN(2) == 0 {
			w.conn.stall()
		}
		lasts := time.Duration(c.random.Int64N(int64(3 * time.Second)))
		c.partings.Go(func() {
			sleep(ctx, lasts)
			w.cut(how)
		})
		if c.random.IntN(2) == 0 {
			c.tryInVain(ctx)
		}
	case reload:
		c.giveUp(w)
		c.forget()
		if c.random.IntN(2) == 0 {
			w.conn.stall() // what its endpoint has not read by now is lost
		}
		c.partings.Go(func() { w.cut(how) })
	case depart:
		c.giveUp(w)
		w.cut(how)
		sleep(ctx, o.away)
	case leave:
		c.leave(w)
	}
}

// tryInVain makes a handshake, and does not wait for the hello.
func (c *sessionClient) tryInVain(ctx context.Context) {
	offers, s, _ := c.offers()
	ws, _, err := c.dial(ctx, offers)
	if c.gaveUp(s); err == nil {
		_ = ws.Close()
	}
}

// forget makes the page forget some of what it has got of late, and perhaps its latest ticket, as one does that is reloaded before it has stored
// them.
func (c *sessionClient) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, now := c.session, c.since()
	if s == nil {
		return
	}
	most, size := c.random.IntN(100), 0
	for n := c.have; n > c.claimed && most > 0; n-- {
		r := &s.Log[n-1]
		size += r.Size + 512
		if r.Publisher < 0 || now-r.At > forgetTime || size > forgetMost {
			break
		}
		c.have--
		most--
	}
	if now-c.renewed < forgetTime && c.former != "" && c.random.IntN(2) == 0 {
		c.ticket = c.former
	}
}

// take notes a message that came over a WebSocket.
func (c *sessionClient) take(w *wire, r Receipt) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := w.session
	w.read++
	n := w.read
	switch {
	case n <= uint64(len(s.Log)):
		if was := &s.Log[n-1]; was.Message != r.Message {
			s.broken("number %d was %+v, and then %+v, at %v", n, was.Message, r.Message, r.At)
		} else if c.wire == w {
			s.Again++
		}
	case c.wire != w:
		if _, ok := s.Aside[n]; !ok {
			s.Aside[n] = r
		}
	case n > uint64(len(s.Log))+1:
		s.broken("number %d came after %d, at %v", n, len(s.Log), r.At)
		return
	default:
		if was, ok := s.Aside[n]; ok {
			if delete(s.Aside, n); was.Message != r.Message {
				s.broken("number %d was %+v, and then %+v, at %v", n, was.Message, r.Message, r.At)
			}
			r.At = was.At
		}
		s.Log = append(s.Log, r)
	}
	if c.wire == w {
		c.have = n
	}
}

func (s *Session) broken(format string, args ...any) {
	s.Faults = append(s.Faults, fmt.Sprintf(format, args...))
}

// present returns the page's WebSocket, or nil.
func (c *sessionClient) present() *wire {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wire
}

// state tells what a client is doing that has no WebSocket, or has not heard from its worker for a while.
func (c *sessionClient) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.wire == nil && c.session == nil:
		return fmt.Sprintf("client %d has no session", c.number)
	case c.wire == nil:
		return fmt.Sprintf("client %d has no WebSocket, and last heard from a worker at %v", c.number, c.session.Alive)
	case c.since()-c.wire.session.Alive > clientSilence:
		return fmt.Sprintf("client %d has a WebSocket, by %v, and last heard from a worker at %v", c.number, c.wire.conn.RemoteAddr(), c.wire.session.Alive)
	}
	return ""
}

// payloadOf returns the message that a text message stands for, and false if it is control.
func payloadOf(data []byte) ([]byte, bool) {
	if len(data) == 0 || data[0] != control {
		return data, true
	}
	return data[1:], strings.HasPrefix(string(data[:min(2, len(data))]), "\x06\x06")
}
