// Package socket is one client's WebSocket: accepting it, reading messages, writing messages, pings, and the end. It is the only
// place that knows coder/websocket and the hijacked connection.
//
// A connection has two halves here. Its Outbox has the messages for the client, and decides what becomes of each. Its Socket is the
// WebSocket, which writes them.
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
	// phaseOpen lasts until Close, Cut, Reset, or a write that fails.
	phaseOpen phase = iota
	// phaseClosing begins with Close: the messages that have begun go out, then the close frame. The outbox ends here at the latest.
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
	outbox   *Outbox         // the connection's: its lock, its clock, and what all sockets share
	feed     *Outbox         // what it writes, guarded by outbox.mu: outbox, or one of its own while it is not the connection's WebSocket
	raw      syscall.RawConn // conn's descriptor; nil if only conn itself can write. The goroutine that has the turn uses it
	traffic  *stripe
	sent     atomic.Int64 // when the last message was written, by the connection's clock
	compress bool

	received atomic.Int64 // when the last byte came in

	// outbox.mu guards what follows.

	phase        phase
	turn         turn
	noMorePongs  bool     // pongs are not read any more, or do not count
	timerPingOut bool     // Ping has been called since the last pong
	ping, pong   *Message // that wait to go out; nil if none does
	pings        uint64   // the payload of the latest ping
	answered     uint64   // the latest ping that has been answered
	pinged       uint64   // the last ping that was written in full
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

// An Owner is told what happens to a socket.
type Owner interface {
	// Failed is called, at most once, when a failed write ends the connection. It may be called on any goroutine, with no lock held. If
	// the connection is a session, the socket is detached from it by then.
	Failed(err error)
	// Answered is called when the client has answered a call of Ping, on the goroutine that reads.
	Answered()
	// Greeted is called once, when the client of a session is known to have the hello. It is called with the Outbox's lock held, unlike
	// the others: it must neither block nor call the Outbox or the Socket.
	Greeted()
}

// Now is the time by the connection's clock, which began with its handshake. Received and Sent tell the time by it.
func (s *Socket) Now() time.Duration { return s.outbox.now() }

// Received is when the last byte came in, of whatever kind. The handshake counts as one.
func (s *Socket) Received() time.Duration { return time.Duration(s.received.Load()) }

// Sent is when the last message was written. Control frames do not count.
func (s *Socket) Sent() time.Duration { return time.Duration(s.sent.Load()) }

// Subprotocol is the negotiated subprotocol, or "".
func (s *Socket) Subprotocol() string { return s.subprotocol }
