package main

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Session is one session, as its client knows it.
type Session struct {
	ID     string
	Client int
	User   string
	Groups []string
	Began  time.Duration // when its client had read the first hello

	// Addresses are the sealed IDs that its client was told, the first of which is ID, where there are several workers. sessionBooks.mu guards it.
	Addresses []string

	// Log has what the page has, by number: the first message is number 1. What a page forgets that is reloaded stays here, and the page must
	// get the same once more. Aside is what only an endpoint has read whose page had given it up.
	Log   []Receipt
	Aside map[uint64]Receipt

	Resumes int
	Again   int // messages that a page got once more, since it had forgotten them
	Missed  []Missed
	Faults  []string // what no client should see

	GaveUp    time.Duration // when the client last gave up a handshake for it of which it does not know what has become; 0 if it has not
	Overtaken bool          // such a handshake has come late, and has replaced the WebSocket that the client had by then

	Alive time.Duration // when the client last sent a ping that the worker has answered
	End   sessionEnd
	Ends  time.Duration // when the client began to end it, for left; otherwise when it learned of the end
	Why   string        // it was lost, or which code it was closed with
}

// Missed is that a client was told that it had missed messages.
type Missed struct {
	Count, After uint64
	At           time.Duration
	Had          time.Duration // when the first of them was read, by a page that has forgotten it or by its endpoint; never if it was not
}

// sessionEnd is how a session has ended, as the client sees it.
type sessionEnd string

const (
	lives  sessionEnd = ""       // it has not
	lost   sessionEnd = "lost"   // the client came back, and was told that this is a new session
	left   sessionEnd = "left"   // the client has ended it
	closed sessionEnd = "closed" // the worker has, with a code
)

func (s *Session) String() string {
	return fmt.Sprintf("session %s of client %d, from %v, %d messages, %s %s %v", s.ID, s.Client, s.Began, len(s.Log), s.End, s.Why, s.Ends)
}

// pushAim is whom a push is for.
type pushAim string

const (
	toOne    pushAim = "one"         // session
	toMany   pushAim = "many"        // sessions, in one line of a bulk request
	toNamed  pushAim = "named"       // a user or a group, answered with the counts
	toListed pushAim = "named/lines" // the same, answered with a line for each member
)

// SessionPush is one push, and what its publisher was told. Members are the sessions that it is for, where it says so itself, and otherwise those
// that the answer lists.
type SessionPush struct {
	Request
	Aim    pushAim
	Bulk   bool
	Keep   string // "" for the default
	Target string // the ID in the request, which may be an old one
	Moved  string // the ID in Wspush-Address; "" if there was none
	name   string // for whom it was, if To is long
	GaveUp bool   // the publisher did, and cut the request off
}

// Buffered is a message that the session has.
const Buffered Outcome = "buffered"

// outcomeOf is the meaning of an answer about one session.
func (p *SessionPush) outcomeOf(status int) Outcome {
	switch status {
	case http.StatusNoContent:
		if p.Confirm {
			return Received
		}
		return Written
	case http.StatusAccepted:
		return Buffered
	case http.StatusGatewayTimeout:
		return Unknown
	case 0:
		if !p.NotSent {
			return Unknown
		}
	}
	return Never
}

// isAccepted reports whether the message must arrive.
func (o Outcome) isAccepted() bool { return o == Received || o == Written || o == Buffered }

// isNamed reports whether the push is for a user or a group.
func (p *SessionPush) isNamed() bool { return p.Aim == toNamed || p.Aim == toListed }

// isAnswered reports whether the publisher knows that the worker has done with the push.
func (p *SessionPush) isAnswered() bool {
	return p.Status != 0 && !slices.ContainsFunc(p.Members, func(l Line) bool { return l.Status == 0 })
}

// outcomeFor is what the answer says of a session. It is Unknown where it says nothing.
func (p *SessionPush) outcomeFor(s *Session) Outcome {
	said := Outcome("")
	for _, l := range p.Members {
		if l.ID != s.ID {
			continue
		}
		o := p.outcomeOf(l.Status)
		switch {
		case o.isAccepted():
			return o
		case said == "" || o == Unknown:
			said = o
		}
	}
	switch {
	case said != "":
		return said
	case !p.isNamed():
		return Never // it is for others
	case p.Status == http.StatusOK && p.Aim == toListed && p.Counts.Complete:
		return Never
	case p.Status == http.StatusOK:
		return Unknown
	}
	return p.outcomeOf(p.Status)
}

// isFor reports whether the push is for the session.
func (p *SessionPush) isFor(s *Session) bool {
	if p.isNamed() {
		return p.To == s.User || slices.Contains(s.Groups, p.To)
	}
	return slices.ContainsFunc(p.Members, func(l Line) bool { return l.ID == s.ID })
}

func (p *SessionPush) String() string {
	how := string(p.Aim)
	if p.Bulk {
		how += " in bulk"
	}
	if p.Confirm {
		how = "confirmed, " + how
	}
	if p.Keep != "" {
		how += ", keep=" + p.Keep
	}
	answer := p.answer()
	if len(p.Members) > 0 && (p.Aim == toMany || p.Aim == toListed) {
		answer += fmt.Sprint(" ", p.Members)
	}
	if p.Aim == toNamed {
		answer += fmt.Sprintf(" %+v", p.Counts)
	}
	if p.Fault != "" {
		answer += " (" + p.Fault + ")"
	}
	return fmt.Sprintf("push %d/%d (%s) of %d bytes to %s, %v to %v, timeout %v: %s",
		p.Publisher, p.Seq, how, p.Size, cmp.Or(p.name, p.To), p.Start, p.End, p.Timeout, answer)
}

// answer names the answer to the push.
func (p *SessionPush) answer() string {
	switch {
	case p.NotSent:
		return answerNobody
	case p.GaveUp && p.Status == 0:
		return answerGaveUp
	case p.Status == 0:
		return answerNone
	case p.Status == http.StatusNoContent && p.Confirm:
		return answerReceived
	case p.Status == http.StatusNoContent:
		return answerWritten
	}
	return fmt.Sprint(p.Status, " ", p.Type)
}

// Stop is the end of a worker's process, until its successor is ready. The processes end one after the other.
type Stop struct {
	Window
	Kind eventKind // kill, restart or finish
}

// SessionLedger is everything to judge about sessions.
type SessionLedger struct {
	Pushes   [][]SessionPush // of each publisher, by Seq
	Sessions []*Session
	Notes    [][]Note // of each process
	Stops    []Stop   // of each process
	Fleet    *History // nil if the processes were there one after the other
	Deletes  []Delete // End is when the request was begun
	Pauses   []Window
	Margin   time.Duration
}

// push returns the push that a message came from, or nil.
func (l *SessionLedger) push(m Message) *SessionPush {
	if m.Publisher < 0 || m.Publisher >= len(l.Pushes) || m.Seq < 0 || m.Seq >= len(l.Pushes[m.Publisher]) {
		return nil
	}
	if p := &l.Pushes[m.Publisher][m.Seq]; p.Nonce == m.Nonce {
		return p
	}
	return nil
}

// sessionBooks are the ledger while it is being written.
type sessionBooks struct {
	mu       sync.Mutex // guards what follows
	books    []*sessionBook
	sessions []*Session
	live     []*Session // whose end their clients do not know of
	gone     []*Session // some others
	stops    []Stop
}

// sessionBook is one publisher's. It has one writer.
type sessionBook struct {
	publisher int
	pushes    []SessionPush
	deletes   []Delete
}

func (b *sessionBooks) publisher() *sessionBook {
	b.mu.Lock()
	defer b.mu.Unlock()
	book := &sessionBook{publisher: len(b.books)}
	b.books = append(b.books, book)
	return book
}

func (b *sessionBooks) add(s *Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions, b.live = append(b.sessions, s), append(b.live, s)
}

func (b *sessionBooks) remove(s *Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.live, s); i >= 0 {
		b.live = slices.Delete(b.live, i, i+1)
		b.gone = append(b.gone, s)
	}
}

// meet notes an address that a client was told.
func (b *sessionBooks) meet(s *Session, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(s.Addresses, id) {
		s.Addresses = append(s.Addresses, id)
	}
}

// addresses returns those of a session, the oldest first.
func (b *sessionBooks) addresses(s *Session) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(s.Addresses)
}

// addressee is a session to push to, and the ID in the request.
type addressee struct{ id, target string }

// addresseeOf is the session at the address that its client was told last.
func (b *sessionBooks) addresseeOf(s *Session) addressee {
	if all := b.addresses(s); len(all) > 0 {
		return addressee{s.ID, all[len(all)-1]}
	}
	return addressee{s.ID, s.ID}
}

// pick returns a session to push to: any, a popular one, or, seldom, one that has ended; none if there is none. Some publishers
// know only an old address of it.
func (b *sessionBooks) pick(r *rand.Rand) (to addressee) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := b.live
	switch n := r.IntN(60); {
	case n < 1:
		from = b.gone
	case n < 12:
		from = from[:min(popular, len(from))]
	}
	if len(from) == 0 {
		return addressee{}
	}
	s := from[r.IntN(len(from))]
	to = addressee{s.ID, s.ID}
	if n := len(s.Addresses); n > 0 {
		if to.target = s.Addresses[n-1]; r.IntN(3) == 0 {
			to.target = s.Addresses[r.IntN(n)]
		}
	}
	return to
}

// stop notes that the process is about to end, and returns what notes that its successor is ready.
func (b *sessionBooks) stop(kind eventKind, since func() time.Duration) (ready func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(b.stops)
	b.stops = append(b.stops, Stop{Window{since(), never}, kind})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.stops[i].To = since()
	}
}

// closed returns the ledger, once nobody writes any longer.
func (b *sessionBooks) closed() *SessionLedger {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := &SessionLedger{Sessions: b.sessions, Stops: b.stops}
	for _, book := range b.books {
		l.Pushes = append(l.Pushes, book.pushes)
		l.Deletes = append(l.Deletes, book.deletes...)
	}
	return l
}
