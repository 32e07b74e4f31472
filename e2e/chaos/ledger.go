package main

import (
	"net/http"
	"sync"
	"time"
)

// Times are since the beginning of the run, by the one clock of the process that pushes and receives.

// Push is one push, and what the publisher has been told of it.
type Push struct {
	Message
	Worker  int // whose address it went to
	Confirm bool
	Timeout time.Duration // within which the worker has to decide

	Start, End time.Duration
	Status     int     // 0: there was no answer
	Connection string  // "open" or "gone", where the outcome is unknown
	NotSent    bool    // nobody listened, so there was nothing to write to
	RTT        float64 // ms, as the worker says
	Fault      string  // what is wrong about the answer, or why there is none
}

// Outcome is what an answer says.
type Outcome string

const (
	Received Outcome = "received" // by the client's WebSocket endpoint
	Written  Outcome = "written"  // to the socket
	Never    Outcome = "never"    // written: not one byte
	Unknown  Outcome = "unknown"  // perhaps written
)

func (p *Push) outcome() Outcome {
	switch p.Status {
	case http.StatusNoContent:
		if p.Confirm {
			return Received
		}
		return Written
	case http.StatusGone, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusRequestEntityTooLarge,
		http.StatusBadRequest, http.StatusRequestTimeout:
		return Never
	}
	if p.NotSent {
		return Never
	}
	return Unknown
}

// late is how long after its timeout the answer came.
func (p *Push) late() time.Duration { return p.End - p.Start - p.Timeout }

// Receipt is one message that a client has read.
type Receipt struct {
	Message
	At    time.Duration
	Fault string // what is wrong about the message
}

// Conn is one connection of a client, and what it has read on it, in order.
type Conn struct {
	ID       string
	Receipts []Receipt
}

// Delete is a DELETE that was answered with 204.
type Delete struct {
	To  string
	End time.Duration
}

// Window is a time during which a worker may leave a request without an answer: it has been told to end, or has been ended,
// and its successor is not ready.
type Window struct{ From, To time.Duration }

// Resources is what a worker used before all began, and when all were gone.
type Resources struct {
	Worker        string
	Before, After Report
}

// Ledger is all there is to judge.
type Ledger struct {
	Pushes  [][]Push // of each publisher, by Seq
	Deletes []Delete
	Conns   []*Conn
	Downs   [][]Window // of each worker
	Pauses  []Window   // in which publishers and clients themselves did not run
	Workers []Resources
	Margin  time.Duration // that an answer may take on top of its timeout
}

// push finds the push that a message came from: nil if there is none.
func (l *Ledger) push(r *Receipt) *Push {
	if r.Publisher < 0 || r.Publisher >= len(l.Pushes) || r.Seq < 0 || r.Seq >= len(l.Pushes[r.Publisher]) {
		return nil
	}
	if p := &l.Pushes[r.Publisher][r.Seq]; p.Nonce == r.Nonce {
		return p
	}
	return nil
}

// Books are the ledger while it is being written: each page has one writer, who has stopped before anyone reads it.
type Books struct {
	mu         sync.Mutex // guards what follows
	publishers []*Book
	conns      []*Conn
}

// Book is one publisher's.
type Book struct {
	Publisher int
	Pushes    []Push
	Deletes   []Delete
}

func (b *Books) publisher() *Book {
	b.mu.Lock()
	defer b.mu.Unlock()
	book := &Book{Publisher: len(b.publishers)}
	b.publishers = append(b.publishers, book)
	return book
}

func (b *Books) conn(id string) *Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &Conn{ID: id}
	b.conns = append(b.conns, c)
	return c
}

// closed returns the ledger when nobody writes any more.
func (b *Books) closed() *Ledger {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &Ledger{Conns: b.conns}
	for _, book := range b.publishers {
		l.Pushes = append(l.Pushes, book.Pushes)
		l.Deletes = append(l.Deletes, book.Deletes...)
	}
	return l
}
