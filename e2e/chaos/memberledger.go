package main

import (
	"net/http"
	"sync"
	"time"
)

// Member is one connection of a client that is a user's, and in groups. Users and groups are meant by their keys: see nameOf.
type Member struct {
	ID      string // sealed
	Worker  int
	User    string
	Groups  []string // from the start
	Changes []Change

	Dialled time.Duration // when the client began its handshake
	Greeted time.Duration // when it had the greeting
	Alive   time.Duration // when it last sent a ping that the worker has answered, so that the worker had the connection
	Left    time.Duration // when the client began to leave; never if it did not

	Receipts []Receipt
}

// Change is a request for a connection to join or to leave a group. The next one of the same connection comes after its answer.
type Change struct {
	Group      string
	Join       bool
	Start, End time.Duration
	Status     int // 0: no answer
}

// Asked is what a request about a user or a group asks for.
type Asked string

const (
	pushed  Asked = "push"       // answered with the counts
	listed  Asked = "push/lines" // answered with a line for each member
	bulked  Asked = "push/bulk"  // a line of a bulk request
	got     Asked = "GET"
	headed  Asked = "HEAD"
	deleted Asked = "DELETE"
)

// Line is what the answer says of one member.
type Line struct {
	ID     string
	Status int
}

// Counts is what an answer counts.
type Counts struct {
	Written   int            `json:"written"`
	Received  int            `json:"received"`
	Buffered  int            `json:"buffered"`
	Refused   map[string]int `json:"refused"`
	Unknown   int            `json:"unknown"`
	Excepted  int            `json:"excepted"`
	Workers   int            `json:"workers"`
	Answered  int            `json:"answered"`
	Complete  bool           `json:"complete"`
	Closed    int            `json:"closed"`
	Total     int            `json:"total"`
	isCounted bool           // the answer has any of this
}

// Request is one request about a user or a group; Message.To is its key.
type Request struct {
	Message
	Asked   Asked
	Via     int // the worker that was asked
	Confirm bool
	Except  []string // IDs
	Timeout time.Duration

	Start, End time.Duration
	Status     int    // of the whole; 0: no answer, or none that ends
	Type       string // of the problem, without its prefix
	NotSent    bool   // nobody was listening
	Fault      string // what is wrong with the answer, or why there is none
	Counts     Counts
	Members    []Line // of a push with lines, or of a GET, as far as the answer came
}

// isPush reports whether it is a push, in whatever form.
func (r *Request) isPush() bool { return r.Asked == pushed || r.Asked == listed || r.Asked == bulked }

// isGone reports whether the answer says that nobody is there.
func (r *Request) isGone() bool {
	return r.Status == http.StatusGone || r.Status == http.StatusOK && r.Asked == got && r.Counts.Complete && r.Counts.Total == 0
}

// outcome is what a push has come to as a whole.
func (r *Request) outcome() Outcome {
	switch r.Status {
	case http.StatusOK:
		if r.Counts.Received > 0 {
			return Received
		}
		return Written
	case http.StatusGatewayTimeout:
		return Unknown
	}
	if r.Status == 0 && !r.NotSent {
		return Unknown
	}
	return Never
}

func (r *Request) late() time.Duration { return r.End - r.Start - r.Timeout }

// Loss is a time in which the directory, or the way to it, or the list of peers did not do what it should for one worker. Whoever
// connected then, or within a grace after it, was perhaps not known.
type Loss = Window

// MemberLedger is everything to judge about users and groups.
type MemberLedger struct {
	Requests [][]Request // of each publisher, by Seq
	Members  []*Member
	Downs    [][]Window // of each worker: told to end, or ended, and its successor is not ready
	Stopped  [][]Window // of each worker: it had SIGSTOP
	Losses   [][]Loss   // of each worker
	Pauses   []Window   // in which publishers and clients were not running
	Margin   time.Duration
	Grace    time.Duration // after a Loss
	Limit    time.Duration // how long a worker may be without the directory, and its members still be found
}

// request returns the request that a message came from, or nil.
func (l *MemberLedger) request(r *Receipt) *Request {
	if r.Publisher < 0 || r.Publisher >= len(l.Requests) || r.Seq < 0 || r.Seq >= len(l.Requests[r.Publisher]) {
		return nil
	}
	if q := &l.Requests[r.Publisher][r.Seq]; q.Nonce == r.Nonce {
		return q
	}
	return nil
}

// memberBooks are the ledger while it is being written.
type memberBooks struct {
	mu     sync.Mutex // guards what follows
	books  []*memberBook
	all    []*Member
	live   map[string]map[*Member]bool // by user and by group from the start
	losses [][]Loss
}

// memberBook is one publisher's. It has one writer.
type memberBook struct {
	publisher int
	requests  []Request
}

func (b *memberBooks) publisher() *memberBook {
	b.mu.Lock()
	defer b.mu.Unlock()
	book := &memberBook{publisher: len(b.books)}
	b.books = append(b.books, book)
	return book
}

func (b *memberBooks) add(m *Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = append(b.all, m)
	for _, key := range append([]string{m.User}, m.Groups...) {
		if b.live[key] == nil {
			b.live[key] = map[*Member]bool{}
		}
		b.live[key][m] = true
	}
}

func (b *memberBooks) remove(m *Member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range append([]string{m.User}, m.Groups...) {
		delete(b.live[key], m)
	}
}

// some returns the IDs of at most n members.
func (b *memberBooks) some(key string, n int) (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for m := range b.live[key] {
		if len(ids) == n {
			break
		}
		ids = append(ids, m.ID)
	}
	return ids
}

// lose notes that something is wrong for a worker from now on, and returns what notes the end of that.
func (b *memberBooks) lose(worker int, since func() time.Duration) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(b.losses[worker])
	b.losses[worker] = append(b.losses[worker], Loss{since(), never})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.losses[worker][i].To = since()
	}
}

// closed returns the ledger, once nobody writes any longer.
func (b *memberBooks) closed() *MemberLedger {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &MemberLedger{Members: b.all, Losses: b.losses}
	for _, book := range b.books {
		l.Requests = append(l.Requests, book.requests)
	}
	return l
}
