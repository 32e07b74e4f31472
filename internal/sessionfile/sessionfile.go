// Package sessionfile is the file in which a worker that is shut down leaves its sessions to the worker that is started after it.
//
// It is written once and as a whole, and read once. It holds what clients and publishers trust in, tickets above all, so that only its owner
// can read it.
package sessionfile

import "time"

// File is what is in a session file.
type File struct {
	Start      Start
	Shared     [][]byte // the data of messages that several sessions have
	Sessions   []Session
	Tombstones []Tombstone
}

// Start is what the next start of the worker takes over from the last one, so that addresses, sealed IDs and tickets stay good.
type Start struct {
	Port      int    // of the push listener; 0: it had none
	Instance  uint64 // by which sealed IDs name the start; 0: there was no Cluster
	TicketKey []byte // seals tickets; nil: the keys of the Cluster do
}

// A Session is what is left of one: it is suspended.
type Session struct {
	ID      string
	Handler string // HandlerOptions.Name
	Path    string // of its addresses
	Tickets [][16]byte
	User    string
	Groups  []string

	Value    []byte // what HandlerOptions.SaveValue made of it, if HasValue is set
	HasValue bool

	RemoteAddr, UserAgent, Protocol string
	ConnectedAt, LastActive         time.Time
	RoundTrip                       time.Duration

	Window, Remaining time.Duration // how long it waits for its client in all, and from the next start on
	MaxUnconfirmed    int
	Lost              Lost // why it is suspended

	// The numbers of messages, as package socket counts them.
	Released, Confirmed, Begun uint64
	Messages                   []Message // those after Released, in order

	Moves   uint64  // how often it has moved from one worker to another
	Earlier []Owner // who had it before, the first one first
	Marks   []uint64
}

// An Owner is a worker that had a session.
type Owner struct {
	Address  string
	Instance uint64
}

// A Message is one that the client of a session has not received for certain.
type Message struct {
	Binary  bool
	Written bool   // all of it, once at least
	Data    []byte // nil if it is shared
	Shared  int    // its data is File.Shared[Shared-1]; 0: it is Data
	Mark    uint64

	// Only of a session that moves to a worker that runs: its sender waits for the outcome.
	Waits, Confirm, Hasty, Patient bool
}

// Lost is why a session has no WebSocket.
type Lost struct {
	Cause  string
	Code   int
	Reason string
	Err    string // "": none
}

// A Tombstone is what is left of a session that has ended while its client may still come back.
type Tombstone struct {
	ID, Handler, Path string
	Tickets           [][16]byte
	Expired           bool
	Code              int
	Reason            string
	Remaining         time.Duration
}
