// Package socket is one client's WebSocket: accepting it, reading messages, writing messages, pings, and the end. It is the only
// place that knows coder/websocket and the hijacked connection.
//
// coder/websocket decides about the handshake. Frames are read and written here. Its Conn would close the connection when the
// context of one publisher ends, let one writer in at a time, and keep buffers for a client that is silent.
package socket

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Outcomes of a message other than nil, which means that it has been written.
var (
	ErrFull   = errors.New("too much is waiting for the client")               // nothing was written
	ErrClosed = errors.New("the connection is closed")                         // nothing was written
	ErrLeft   = errors.New("the caller left after the message had begun")      // the rest of it goes out
	ErrBroken = errors.New("the connection broke before the message was done") // some or all of it was written

	// ErrUnconfirmed is the outcome of a message that was to be confirmed, and whose caller left after it was written.
	ErrUnconfirmed = errors.New("the client has not confirmed the message")
)

// ErrTimeout is why a connection failed whose client did not take a write within WriteTimeout.
var ErrTimeout = errors.New("write timeout")

// Shared is what the sockets of one worker share. The zero value is ready for use; it must not be copied.
type Shared struct {
	pendingAll pendingAll
	traffic    traffic
	buffers    sync.Pool // of *[]byte, each chunkSize long
	gathers    sync.Pool // of *gather
	kernel     kernel    // nil, except in tests: the system's
	deflaters  sync.Pool // of *deflater
	inflaters  sync.Pool // of *inflater
	deflations atomic.Uint64
}

// SetMaxPending bounds what may wait for all sockets together, in bytes; 0 or less is no limit. It must be called before any
// socket exists.
func (s *Shared) SetMaxPending(max int64) { s.pendingAll.max = max }

func (s *Shared) buffer() *[]byte {
	if b, ok := s.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, chunkSize)
	return &b
}

func (s *Shared) release(b *[]byte) { s.buffers.Put(b) }

// A phase is how far a Socket has come in its life. A Socket may skip phases, and never goes back.
type phase uint8

const (
	// phaseGreeting lasts until Hold: nothing may be sent but a close frame.
	phaseGreeting phase = iota
	// phaseOpen lasts until Close, Cut, Reset, or a write that fails.
	phaseOpen
	// phaseClosing begins with Close: the messages that have begun go out, then the close frame. No message is accepted
	// from here on.
	phaseClosing
	// phaseCut begins with Cut or Reset while somebody is writing, and lasts until that write ends.
	phaseCut
	// phaseOver begins when the close frame is written or never will be: no other write will begin.
	phaseOver
)

// A turn is who may write. Only one goroutine at a time does.
type turn uint8

const (
	turnFree  turn = iota // nobody is writing, and nothing waits
	turnTaken             // a caller of Start or StartAll is writing, or flush is
	turnHeld              // nobody is writing before Release, whatever waits
)

// A Socket is one client's connection after the handshake. One goroutine reads. Everything else may be called at any time,
// from any goroutine. The goroutine that reads also ends the Socket: it calls Finish after Read has returned an error.
type Socket struct {
	in reader // owned by the goroutine that reads

	// Set once by Accept, then read without a lock.
	conn         net.Conn
	owner        Owner
	writeTimeout time.Duration
	readLimit    int64         // negative: none
	readTimeout  time.Duration // 0 or less: none
	subprotocol  string

	// The fields from here to closeFrame are those that a push needs. They lie together, in as few cache lines as possible, because a
	// broadcast finds most sockets out of the processor's caches.
	raw      syscall.RawConn // conn's descriptor; nil if only conn itself can write. The goroutine that has the turn uses it
	shared   *Shared
	traffic  *stripe
	start    time.Time    // the zero of the socket's clock
	sent     atomic.Int64 // when the last message was written, by that clock
	compress bool

	received atomic.Int64 // when the last byte came in

	mu           sync.Mutex // guards what follows
	phase        phase
	turn         turn
	noMorePongs  bool // pongs are not read any more, or do not count
	timerPingOut bool // Ping has been called since the last pong
	queue        queue
	ping, pong   *Message // that wait to go out; nil if none does
	pings        uint64   // the payload of the latest ping
	answered     uint64   // the latest ping that has been answered
	closeFrame   *Message

	pingWanted bool          // a message waits for a ping after the latest
	early      uint64        // a ping that was answered before its writer reported that it is out; 0: none
	writing    time.Duration // when the write under way began; kept only while a ping is to be answered
	pingedAt   time.Duration // when the first write of the latest ping that is out began
	roundTrip  time.Duration // of the latest ping that has been answered

	over  chan struct{} // closed in phaseOver; nil while nobody waits for that
	timer *time.Timer   // cuts the connection, once it is closing

	running sync.WaitGroup // flush, and the timer while it is set
}

// An Owner is told what happens to a socket. No lock is held then.
type Owner interface {
	// Failed is called, at most once, when a failed write ends the connection. It may be called on any goroutine.
	Failed(err error)
	// Answered is called when the client has answered a call of Ping, on the goroutine that reads.
	Answered()
}

// Now is the time since the handshake: the clock by which Received and Sent tell the time.
func (s *Socket) Now() time.Duration { return time.Since(s.start) }

// Received is when the last byte came in, of whatever kind. The handshake counts as one.
func (s *Socket) Received() time.Duration { return time.Duration(s.received.Load()) }

// Sent is when the last message was written. Control frames do not count.
func (s *Socket) Sent() time.Duration { return time.Duration(s.sent.Load()) }

// Subprotocol is the negotiated subprotocol, or "".
func (s *Socket) Subprotocol() string { return s.subprotocol }

// Hold lets messages in behind first, which none of them can overtake; nothing is written before Release. Before Hold, every
// message is refused with ErrFull, and no ping is sent. If first is nil, Hold only lets messages in. No limit refuses first, but it
// counts in what waits for all sockets.
func (s *Socket) Hold(first *Message) {
	if first != nil && first.squeeze && s.compress {
		first.compress(s.shared)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase != phaseGreeting {
		return
	}
	s.phase = phaseOpen
	if first != nil {
		s.turn = turnHeld
		s.queue.addLocked(first)
		s.queue.countLocked(first)
	}
}

// Release ends Hold.
func (s *Socket) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turn == turnHeld {
		s.endTurnLocked(false)
	}
}
