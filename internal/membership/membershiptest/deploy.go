package membershiptest

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/sessionfile"
)

// Deploy is a deploy of many workers in one process, without connections and links: each is replaced, one after the other, and its sessions move to
// others, whoever these are: some of them have yet to be replaced. Owners are claimed, and sessions are encoded, as workers do; what would go over
// links is counted.
type Deploy struct {
	Sessions, Workers int
	Messages          int  // of 100 bytes, that each session has buffered
	Handed            bool // nobody comes back by himself: Shutdown hands over all, in batches
	Asking            int  // how many sessions, or batches, move at a time

	// Directory returns the directory of a worker, which knows owners, and what closes it.
	Directory func() (d directory.Directory, closing func())

	Usage func() Usage
	Log   func(format string, args ...any)
}

// Deployed is what a deploy has come to.
type Deployed struct {
	Phase
	Moves     int64 // of sessions
	Questions int64 // over links
	Gone      int64 // besides: those to workers that had a session earlier, and that have ended since
	Bytes     int64 // of questions and answers, without what links add
	Claims    int64 // calls of the directory, with Claimed sessions in them
	Claimed   int64
	Lookups   int64 // calls of the directory, with LookedUp sessions
	LookedUp  int64
}

func (d Deployed) String() string {
	n := float64(d.Moves)
	return fmt.Sprintf("%d moves in %.1f s: each %.2f questions over links and %.0f B, %.3f to workers that are gone; %.3f claims in %.4f calls, %.3f lookups in %.4f calls; "+
		"CPU of the workers %.0f µs, of the engine %.0f µs; engine %+.0f B; others took %.1f s of CPU", d.Moves, d.Took.Seconds(), float64(d.Questions)/n, float64(d.Bytes)/n,
		float64(d.Gone)/n, float64(d.Claimed)/n, float64(d.Claims)/n, float64(d.LookedUp)/n, float64(d.Lookups)/n, float64(d.WorkersCPU.Microseconds())/n,
		float64(d.EngineCPU.Microseconds())/n, float64(d.EngineBytes)/n, d.OtherCPU.Seconds())
}

// deploy is one under way.
type deploy struct {
	Deploy
	workers []*deployed // those that live
	counts  struct{ moves, questions, gone, bytes, claims, claimed, lookups, lookedUp atomic.Int64 }
}

// deployed is one of its workers.
type deployed struct {
	*membership.Membership
	address string
	closing func()

	mu       sync.Mutex
	sessions []*moving // guarded by mu
}

// moving is a session.
type moving struct {
	id      [16]byte
	moves   uint64
	earlier []sessionfile.Owner
}

// errOwner means that a session is not where it should be.
var errOwner = errors.New("a session has another owner")

// maxEarlier is how many former owners a session remembers, batch how many sessions are offered at a time: as with workers.
const (
	maxEarlier = 16
	batch      = 128
)

// Run runs it. It may take minutes, and ends early with the context.
func (d Deploy) Run(ctx context.Context) (r Deployed, err error) {
	if d.Workers < 2 || d.Sessions < 1 || d.Asking < 1 {
		return r, errFew
	}
	s := &deploy{Deploy: d}
	defer func() {
		for _, w := range s.workers {
			err = errors.Join(err, w.Close(ctx))
			w.closing()
		}
	}()
	for i := range d.Workers {
		s.workers = append(s.workers, s.start(i))
	}
	for i := range d.Sessions {
		w := s.workers[i%d.Workers]
		var id [16]byte
		binary.BigEndian.PutUint64(id[8:], uint64(i)+1)
		w.sessions = append(w.sessions, &moving{id: id})
	}
	before := (&simulation{Simulation: Simulation{Usage: d.Usage}}).begin()
	for i := range d.Workers {
		s.workers = append(s.workers, s.start(d.Workers+i)) // before the other ends
		old := s.workers[0]
		s.workers = s.workers[1:]
		if err := s.leave(ctx, old); err != nil {
			return r, err
		}
	}
	r.Phase = before()
	c := &s.counts
	r.Moves, r.Questions, r.Gone, r.Bytes = c.moves.Load(), c.questions.Load(), c.gone.Load(), c.bytes.Load()
	r.Claims, r.Claimed, r.Lookups, r.LookedUp = c.claims.Load(), c.claimed.Load(), c.lookups.Load(), c.lookedUp.Load()
	d.Log("deployed: %s", r)
	return r, s.check(ctx)
}

func (s *deploy) start(i int) *deployed {
	address := "http://worker-" + strconv.Itoa(i)
	dir, closing := s.Directory()
	return &deployed{address: address, closing: closing, Membership: membership.New(membership.Config{
		Directory: &countedOwners{dir, dir.(directory.Owners), s},
		Address:   address,
		Seal:      func(number uint64) string { return fmt.Sprintf("%0180d|%s", number, address) },
		Open: func(name string) (uint64, string, error) {
			number, address, _ := strings.Cut(name, "|")
			n, err := strconv.ParseUint(number, 10, 64)
			return n, address, err
		},
	})}
}

// leave has a worker end, once its sessions are elsewhere.
func (s *deploy) leave(ctx context.Context, old *deployed) error {
	size := 1
	if s.Handed {
		size = batch
	}
	work := make(chan []*moving)
	errs := make([]error, s.Asking)
	var all sync.WaitGroup
	for i := range s.Asking {
		all.Go(func() {
			for some := range work {
				to := s.workers[rand.IntN(len(s.workers))]
				if errs[i] == nil && s.Handed {
					errs[i] = s.offer(ctx, old, to, some)
				} else if errs[i] == nil {
					errs[i] = s.take(ctx, old, to, some[0])
				}
			}
		})
	}
	for rest := old.sessions; len(rest) > 0; {
		n := min(size, len(rest))
		work <- rest[:n]
		rest = rest[n:]
	}
	close(work)
	all.Wait()
	old.sessions = nil
	defer old.closing()
	return errors.Join(append(errs, old.Close(ctx))...)
}

// ask counts a question over a link.
func (s *deploy) ask(method, path, query string, answer int) {
	s.counts.questions.Add(1)
	s.counts.bytes.Add(int64(16 + len(method) + len(path) + len(query) + answer))
}

// take is what happens when a client comes back to another worker.
func (s *deploy) take(ctx context.Context, from, to *deployed, m *moving) error {
	owner, err := to.Owners(ctx, m.id)
	if err != nil {
		return err
	}
	if owner.Moves != m.moves || m.moves > 0 && owner.Address != from.address {
		return errOwner
	}
	copied, err := s.copy(m)
	if err != nil {
		return err
	}
	q := workerQuery(to)
	q.Set("secret", base64.RawURLEncoding.EncodeToString(m.id[:]))
	q.Set("name", "")
	q.Set("user", "user-12345")
	q.Set("offset", "3")
	s.ask("TAKE", "/ws", q.Encode(), len(copied)+len("Number1Size1000"))
	if err := s.claim(ctx, from, to, []*moving{m}, copied); err != nil {
		return err
	}
	s.ask("TAKEN", "/ws", s.taken(to, m).Encode(), 0)
	return nil
}

// offer is what happens when sessions are handed over.
func (s *deploy) offer(ctx context.Context, from, to *deployed, some []*moving) error {
	copied, err := s.copy(some...)
	if err != nil {
		return err
	}
	q := workerQuery(from)
	q.Set("number", "1")
	q.Set("size", strconv.Itoa(len(copied)))
	accepted := len(`{"ID":"0f1e2d3c-89ab-4def-8123-456789abcdef","Sealed":""},`) + sealedSize
	s.ask("OFFER", "", q.Encode(), len(some)*accepted)
	s.ask("PIECE", "", "from=0&number=1", len(copied))
	return s.claim(ctx, from, to, some, copied)
}

// claim makes sessions the worker's to which a copy of them has come.
func (s *deploy) claim(ctx context.Context, from, to *deployed, some []*moving, copied []byte) error {
	file, err := sessionfile.Decode(copied)
	if err != nil {
		return err
	}
	claims := make([]membership.Claim, len(some))
	for i, m := range some {
		claims[i] = membership.Claim{Session: m.id, Moves: file.Sessions[i].Moves + 1}
	}
	owners, err := to.Claim(ctx, claims)
	if err != nil {
		return err
	}
	for i, m := range some {
		if !owners[i].Mine || owners[i].Moves != claims[i].Moves {
			return errOwner
		}
		m.moves++
		for range m.earlier { // in a deploy, all of them have been replaced
			s.counts.gone.Add(1)
		}
		m.earlier = append(m.earlier, sessionfile.Owner{Address: from.address, Instance: 1 << 62})
		m.earlier = m.earlier[max(0, len(m.earlier)-maxEarlier):]
	}
	s.counts.moves.Add(int64(len(some)))
	to.mu.Lock()
	defer to.mu.Unlock()
	to.sessions = append(to.sessions, some...)
	return nil
}

// sealedSize is about how long a sealed address is.
const sealedSize = 140

func (s *deploy) taken(by *deployed, m *moving) url.Values {
	q := workerQuery(by)
	q.Set("number", "1")
	q.Set("claimed", "true")
	q.Set("moves", strconv.FormatUint(m.moves, 10))
	q.Set("addresses", "")
	q.Set("sealed", strings.Repeat("s", sealedSize))
	return q
}

func workerQuery(by *deployed) url.Values {
	return url.Values{"address": {by.address}, "instance": {strconv.FormatUint(1<<62, 16)}}
}

// copy encodes sessions as they are encoded that move.
func (s *deploy) copy(some ...*moving) ([]byte, error) {
	now := time.Now().Round(0)
	file := new(sessionfile.File)
	for _, m := range some {
		session := sessionfile.Session{
			ID: "0f1e2d3c-89ab-4def-8123-456789abcdef", Path: "/ws", Tickets: make([][16]byte, 2), User: "user-12345", Groups: []string{"room"},
			RemoteAddr: "192.0.2.1:12345", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
			ConnectedAt: now, LastActive: now, Window: 2 * time.Minute, Remaining: time.Minute, MaxUnconfirmed: 256 << 10,
			Lost: sessionfile.Lost{Cause: "lost", Code: 1012}, Moves: m.moves, Earlier: m.earlier,
		}
		for range s.Messages {
			session.Messages = append(session.Messages, sessionfile.Message{Data: make([]byte, 100), Mark: 1 << 63})
		}
		file.Sessions = append(file.Sessions, session)
	}
	return sessionfile.Encode(file)
}

// check looks up some of the sessions at all workers.
func (s *deploy) check(ctx context.Context) error {
	for i, w := range s.workers {
		for _, m := range w.sessions[:min(10, len(w.sessions))] {
			other := s.workers[(i+1)%len(s.workers)]
			owner, err := other.Owners(ctx, m.id)
			if err != nil {
				return err
			}
			if owner.Moves != m.moves || owner.Address != w.address {
				return errOwner
			}
		}
	}
	return nil
}

// countedOwners is the directory of a worker, whose calls are counted.
type countedOwners struct {
	directory.Directory
	owners directory.Owners
	s      *deploy
}

func (c *countedOwners) Claim(ctx context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
	c.s.counts.claims.Add(1)
	c.s.counts.claimed.Add(int64(len(claims)))
	return c.owners.Claim(ctx, claims)
}

func (c *countedOwners) Owners(ctx context.Context, sessions []string) ([]directory.Ownership, error) {
	c.s.counts.lookups.Add(1)
	c.s.counts.lookedUp.Add(int64(len(sessions)))
	return c.owners.Owners(ctx, sessions)
}

func (c *countedOwners) Disclaim(ctx context.Context, claims []directory.Ownership) error {
	return c.owners.Disclaim(ctx, claims)
}
