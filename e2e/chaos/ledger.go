package main

import (
	"net/http"
	"sync"
	"time"
)

// Times are since the beginning of the run, by the one clock of the process that pushes and receives.

// Push is one push, and what its publisher was told.
type Push struct {
	Message
	Worker  int // the worker that holds the connection
	Via     int // the worker that was asked
	Confirm bool
	Timeout time.Duration // within which the worker must decide

	Start, End time.Duration
	Status     int     // 0: no answer
	Connection string  // "open" or "gone" if the outcome is unknown; "" if the worker that was asked had no answer from the other
	NotSent    bool    // nobody was listening, so nothing was sent
	RTT        float64 // ms, as the worker says
	Fault      string  // what is wrong with the answer, or why there is none
}

// Outcome is the meaning of an answer.
type Outcome string

const (
	Received Outcome = "received" // by the client's WebSocket endpoint
	Written  Outcome = "written"  // to the socket
	Never    Outcome = "never"    // not one byte written
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
	case http.StatusBadGateway:
		if p.isForwarded() {
			return Never
		}
	}
	if p.NotSent {
		return Never
	}
	return Unknown
}

// isForwarded reports whether the worker that was asked had to ask another one.
func (p *Push) isForwarded() bool { return p.Via != p.Worker }

// isLost reports whether the message may still have been between two workers when its publisher knew that there was no answer. It
// may then arrive after later ones.
func (p *Push) isLost() bool {
	return p.isForwarded() && !p.NotSent && (p.Status == 0 || p.Status == http.StatusGatewayTimeout && p.Connection == "")
}

// late returns how long after its timeout the answer came.
func (p *Push) late() time.Duration { return p.End - p.Start - p.Timeout }

// Receipt is one message that a client read.
type Receipt struct {
	Message
	At    time.Duration
	Fault string // what is wrong with the message
}

// Conn is one connection of a client, with what the client read on it, in order.
type Conn struct {
	ID       string
	Receipts []Receipt
}

// Delete is a DELETE that was answered with 204.
type Delete struct {
	To  string
	End time.Duration
}

// Window is a time during which a worker may leave a request unanswered: it was told to end, or was ended, and its
// successor is not ready.
type Window struct{ From, To time.Duration }

// Resources is what a worker used before the chaos, and after all clients had gone.
type Resources struct {
	Worker        string
	Before, After Report
}

// Ledger is everything to judge.
type Ledger struct {
	Pushes  [][]Push // of each publisher, by Seq
	Deletes []Delete
	Conns   []*Conn
	Downs   [][]Window // of each worker
	Pauses  []Window   // in which publishers and clients were not running
	Workers []Resources
	Margin  time.Duration // for an answer, on top of its timeout
}

// push returns the push that a message came from, or nil.
func (l *Ledger) push(r *Receipt) *Push {
	if r.Publisher < 0 || r.Publisher >= len(l.Pushes) || r.Seq < 0 || r.Seq >= len(l.Pushes[r.Publisher]) {
		return nil
	}
	if p := &l.Pushes[r.Publisher][r.Seq]; p.Nonce == r.Nonce {
		return p
	}
	return nil
}

// Books is the ledger while it is being written: each page has one writer, which stops before anyone reads the page.
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

// closed returns the ledger, once nobody writes any longer.
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
