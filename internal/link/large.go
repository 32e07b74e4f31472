package link

import "slices"

// Large bodies go in pieces that take turns with each other and with small frames. The side that receives them grants credit: no
// more bytes of pieces than that are on their way, or held unread.
const (
	pieceSize = 16 << 10
	window    = 256 << 10 // credit that each direction begins with
	grantAt   = window / 4
	maxHeld   = 16 << 20 // bodies under way at a time; a larger one goes alone. Both sides know it, so the memory of the other is bounded
	minPiece  = 1 << 10  // unless it is the last
)

// body is a large body that is being sent.
type body struct {
	number uint64 // of the question; an asker's is known when it begins
	head   []byte // the body of its begin frame
	first  []byte // what precedes data in the pieces
	data   []byte
	off    int // bytes sent, of both
	begun  bool
	push   *Push // whose body it is; nil for a reply's
}

func (b *body) size() int { return len(b.first) + len(b.data) }

// appendNext appends the next n bytes.
func (b *body) appendNext(batch []byte, n int) []byte {
	from, to := b.off, b.off+n
	b.off = to
	if k := len(b.first); from < k {
		batch = append(batch, b.first[from:min(to, k)]...)
		from = k
	}
	if from < to {
		batch = append(batch, b.data[from-len(b.first):to-len(b.first)]...)
	}
	return batch
}

// bodies are the large bodies of one link that are being sent, or wait for it. Its link's lock guards it.
type bodies struct {
	waiting []*body // in order
	active  []*body // take turns
	turn    int
	held    int // bytes of the active ones
	credit  int
}

func (s *bodies) add(b *body) { s.waiting = append(s.waiting, b) }

// remove withdraws a body, and reports whether it had begun.
func (s *bodies) remove(b *body) (begun bool) {
	if i := slices.Index(s.active, b); i >= 0 {
		s.drop(i)
		return b.begun
	}
	if i := slices.Index(s.waiting, b); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
	return false
}

func (s *bodies) drop(i int) {
	s.held -= s.active[i].size()
	s.active = slices.Delete(s.active, i, i+1)
	if i < s.turn {
		s.turn--
	}
}

// admit lets bodies begin while there is room for them on the other side.
func (s *bodies) admit() {
	for len(s.waiting) > 0 && (len(s.active) == 0 || s.held+s.waiting[0].size() <= maxHeld) {
		b := s.waiting[0]
		s.waiting = slices.Delete(s.waiting, 0, 1)
		s.active, s.held = append(s.active, b), s.held+b.size()
	}
}

// ready reports whether there is something that may be sent.
func (s *bodies) ready() bool {
	s.admit()
	for _, b := range s.active {
		if !b.begun || s.credit >= min(minPiece, b.size()-b.off) {
			return true
		}
	}
	return false
}

// appendTo appends to a batch what has its turn and fits within limit. It calls begin before the first frame of a body, and ended
// after the last one.
func (s *bodies) appendTo(batch []byte, limit int, begin, ended func(*body)) []byte {
	s.admit()
	for passed := 0; passed < len(s.active); {
		s.turn %= len(s.active)
		b := s.active[s.turn]
		if !b.begun {
			if len(batch)+frameHead+len(b.head) > limit {
				return batch
			}
			begin(b)
			b.begun = true
			batch = append(appendHead(batch, kindBegin, b.number, len(b.head)), b.head...)
		}
		left := b.size() - b.off
		n := min(left, pieceSize, s.credit, limit-len(batch)-frameHead)
		if n < min(left, minPiece) {
			s.turn++
			passed++
			continue
		}
		batch = b.appendNext(appendHead(batch, kindPiece, b.number, n), n)
		s.credit -= n
		if b.off < b.size() {
			s.turn++
			passed = 0
			continue
		}
		s.drop(s.turn)
		passed = 0
		ended(b)
		s.admit()
	}
	return batch
}

// partial is a large body that is being received.
type partial struct {
	size  int64
	got   int64
	data  []byte
	drop  bool      // nobody wants it any more: its pieces are ignored
	in    *Incoming // the push whose body it is, or
	reply *Reply    // the reply
}

// append takes up what has come. A claim alone takes no more than 1 MiB, and nothing takes more than the claim.
func (p *partial) append(data []byte) {
	if have := len(p.data); cap(p.data)-have < len(data) {
		p.data = append(make([]byte, 0, min(p.size, max(1<<20, 2*int64(have)))), p.data...)
	}
	p.data = append(p.data, data...)
}

// partials are the large bodies of one link that are being received. Only its reader uses it.
type partials struct {
	all  map[uint64]*partial // by the question's number
	held int64               // bytes that the bodies will have, without those that are dropped
	owed int                 // credit that has not been granted yet
}

// begin takes note of a body of which pieces will come.
func (a *partials) begin(number uint64, p *partial) error {
	if _, twice := a.all[number]; twice || p.size <= 0 {
		return errFrame
	}
	if !p.drop {
		if a.held > 0 && p.size > maxHeld-a.held {
			return errFrame
		}
		a.held += p.size
	}
	if a.all == nil {
		a.all = make(map[uint64]*partial)
	}
	a.all[number] = p
	return nil
}

// piece takes a piece up. It returns the body if this was its last one.
func (a *partials) piece(number uint64, data []byte) (whole *partial, err error) {
	p := a.all[number]
	if p == nil || len(data) == 0 || int64(len(data)) > p.size-p.got {
		return nil, errFrame
	}
	a.owed += len(data)
	p.got += int64(len(data))
	if !p.drop {
		p.append(data)
	}
	if p.got < p.size {
		return nil, nil
	}
	a.forget(number)
	return p, nil
}

// forget drops a body of which no more pieces will come.
func (a *partials) forget(number uint64) *partial {
	p := a.all[number]
	if p == nil {
		return nil
	}
	delete(a.all, number)
	if !p.drop {
		a.held -= p.size
	}
	return p
}

// grant returns how much credit is to be granted now, if any.
func (a *partials) grant() int {
	if a.owed < grantAt {
		return 0
	}
	n := a.owed
	a.owed = 0
	return n
}
