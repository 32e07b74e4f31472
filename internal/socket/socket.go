// Package socket is one client's WebSocket: accept, messages in, messages out, ping, close, cut. It is the only place that
// knows coder/websocket and the hijacked connection.
//
// coder/websocket does the handshake and reads frames, which a guard has looked at before. Writing is done here: its Write
// closes the connection when the context of one publisher ends, and allows one writer at a time. So nothing that it writes
// of its own reaches the connection.
package socket

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Outcomes of a message other than nil, which means written.
var (
	ErrFull   = errors.New("too much is waiting for the client")         // nothing was written
	ErrClosed = errors.New("the connection is closed")                   // nothing was written
	ErrLeft   = errors.New("the caller left when the message had begun") // the rest of it goes out
	ErrBroken = errors.New("the connection broke within the message")    // or after all of it was written

	// ErrUnconfirmed is the outcome of a message that was to be confirmed: its caller left when all of it was written.
	ErrUnconfirmed = errors.New("the client has not confirmed the message")
)

// ErrTimeout is why a connection failed whose client did not take a write in its time.
var ErrTimeout = errors.New("write timeout")

// Shared is what the sockets of one worker share: buffers and readers. The zero value is ready; it must not be copied.
type Shared struct {
	pending   pending
	traffic   traffic
	buffers   sync.Pool // of *[]byte, each chunkSize long
	deflaters sync.Pool // of *flate.Writer

	mu      sync.Mutex // guards readers
	readers []*reader  // that nobody has
}

// SetMaxPending bounds what may wait for all sockets together, in bytes; 0 or less is no limit. It comes before any use.
func (s *Shared) SetMaxPending(max int64) { s.pending.max = max }

func (s *Shared) buffer() *[]byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, chunkSize)
	return &b
}

func (s *Shared) release(b *[]byte) { s.buffers.Put(b) }

// A Socket is one client's connection after the handshake. One goroutine reads; everything else may be called at any
// time, from anywhere. That one goroutine ends it, too: with Finish, once Read has returned an error.
type Socket struct {
	conn         net.Conn
	raw          *direct // nil when only conn itself can write
	shared       *Shared
	traffic      *stripe
	owner        Owner
	writeTimeout time.Duration
	readLimit    int64
	subprotocol  string
	compress     bool
	input        input
	ended        ending // how Read ended

	start    time.Time
	received atomic.Int64 // when the last byte came in, as a Duration since start
	sent     atomic.Int64 // when the last message was written

	mu         sync.Mutex // guards what follows
	turn       bool       // somebody is writing
	unopened   bool       // nothing may be sent yet, but a close frame: Hold is to come
	held       bool       // the turn is Hold's
	closing    bool       // no message is taken any more
	isCut      bool       // Cut or Reset has been called
	isOver     bool       // the close frame is written or never will be
	isDeaf     bool       // no pong will be heard any more
	isTimers   bool       // Ping has been called since the last pong
	leaving    int        // messages whose callers wait to hear whether they began
	queue      queue
	ping, pong *Message // that wait to go out; nil when none does

	pings     uint64        // the payload of the latest ping
	answered  uint64        // the latest that has been answered
	wanted    uint64        // the latest that a message waits for
	early     uint64        // that has been answered before its writer has said that it is out; 0: none
	writing   time.Duration // when the write under way began; kept while a ping is to be answered
	pingedAt  time.Duration // when the first writing of the latest ping that is out began
	roundTrip time.Duration // from the latest ping that has been answered to its answer

	closeFrame *Message
	over       chan struct{} // closed when isOver; nil while nobody waits for that
	timer      *time.Timer   // cuts the connection, once it is closing

	running sync.WaitGroup // flush, and the timer while it is set
}

// An Owner is who a socket tells of what happens to it, with no lock held.
type Owner interface {
	// Failed is called, at most once, when the connection ends by a write that failed: from any goroutine.
	Failed(err error)
	// Answered is called when the client has answered a call of Ping, on the goroutine that reads.
	Answered()
}

// Now is the time since the handshake, the scale of Received and Sent.
func (s *Socket) Now() time.Duration { return time.Since(s.start) }

// Received is when the last byte came in, of whatever kind; the handshake counts as one.
func (s *Socket) Received() time.Duration { return time.Duration(s.received.Load()) }

// Sent is when the last message was written; control frames do not count.
func (s *Socket) Sent() time.Duration { return time.Duration(s.sent.Load()) }

// Subprotocol is what was negotiated, or "".
func (s *Socket) Subprotocol() string { return s.subprotocol }

// RemoteAddr is the client's end of the connection.
func (s *Socket) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Hold lets messages in, behind first, which nothing can overtake; none of them is written before Release. Until Hold,
// every message is refused with ErrFull, and no ping is sent. A nil first holds up nothing.
func (s *Socket) Hold(first *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unopened = false
	if first == nil || s.closing {
		return
	}
	s.turn, s.held = true, true
	s.queue.add(first)
}

// Release ends Hold.
func (s *Socket) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held {
		s.held = false
		s.endTurn(false)
	}
}
