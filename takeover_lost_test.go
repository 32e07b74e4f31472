package wspush_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// losing loses what a worker is asked about sessions that move, or its answers.
type losing struct {
	mu        sync.Mutex // guards what follows
	questions []string   // that are not heard
	answers   []string   // that are not heard by the asker
}

// loses begins to lose questions and answers of some methods at a worker.
func (s *station) loses(questions, answers []string) *losing {
	l := &losing{questions: questions, answers: answers}
	wspush.Intercept(s.Worker, func(_ context.Context, method string, answer func()) bool {
		l.mu.Lock()
		isDeaf, isMute := slices.Contains(l.questions, method), slices.Contains(l.answers, method)
		l.mu.Unlock()
		if !isDeaf {
			answer()
		}
		return !isDeaf && !isMute
	})
	return l
}

func (l *losing) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.questions, l.answers = nil, nil
}

var everything = []string{"TAKE", "PIECE", "TAKEN", "MOVED", "OFFER", "HAS"}

// suspended is a session at the first worker, of which its client has got "1", and for which "2" waits.
func (f *fleet) suspended() (conn *wspush.Conn, ticket string) {
	f.t.Helper()
	a := f.stations[0]
	p := a.visitAs("ann", "")
	conn = a.conns[0]
	a.push(conn, "1", wspush.Written)
	p.Want("1")
	p.Close()
	synctest.Wait()
	a.push(conn, "2", wspush.Buffered)
	return conn, p.Ticket()
}

// comes has the client come to a worker again and again until it has its session.
func (s *station) comes(ticket string) *testutil.Page {
	s.t.Helper()
	for range 40 {
		q := s.visitAs("ann", ticket)
		if q.Hello.Resumed {
			return q
		}
		if q.Hello.Refused != "retry" && q.Hello.Raw != "" { // the page has not waited that long
			s.t.Fatalf("%s", q.Hello.Raw)
		}
		testutil.Pass(time.Second)
	}
	s.t.Fatal("the client does not get its session")
	return nil
}

// one ends the test unless only this worker serves the session.
func (f *fleet) one(s *station, id string) {
	f.t.Helper()
	synctest.Wait()
	for i, other := range f.stations {
		if _, ok := other.Conn(id); ok != (other == s) {
			f.t.Fatalf("worker %d has the session: %v", i, ok)
		}
	}
}

// allReach ends the test unless the page gets what is pushed at each of these.
func allReach(t *testing.T, q *testutil.Page, conn *wspush.Conn, at ...*station) {
	t.Helper()
	for _, s := range at {
		if _, err := s.Push(context.Background(), conn.SealedID(), wspush.Text, []byte("through"), wspush.Confirmed()); err != nil {
			t.Fatal(err)
		}
		q.Want("through")
	}
	q.WantNothing()
}

// The answer to TAKEN is lost. With a register the taker serves all the same; without one it asks again, and neither serves before that. What is
// pushed meanwhile, at the former owner, comes.
func TestLostAnswers(t *testing.T) {
	for _, method := range []string{"TAKE", "TAKEN"} {
		for name, lost := range map[string]func(s *station) *losing{
			"question": func(s *station) *losing { return s.loses([]string{method}, nil) },
			"answer":   func(s *station) *losing { return s.loses(nil, []string{method}) },
		} {
			t.Run(method+" "+name, func(t *testing.T) {
				inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
					a, b := f.stations[0], f.stations[1]
					conn, ticket := f.suspended()
					l := lost(a)
					var pushed error
					done := make(chan struct{})
					go func() {
						defer close(done)
						testutil.Pass(3 * time.Second)
						time.AfterFunc(500*time.Millisecond, l.stop)
						_, pushed = a.Push(context.Background(), conn.ID(), wspush.Text, []byte("3"))
					}()
					q := b.comes(ticket)
					<-done
					if pushed != nil {
						t.Fatal(pushed)
					}
					q.Want("2", "3")
					if f.isAlone {
						f.one(b, conn.ID())
					} else {
						testutil.Pass(20 * time.Second) // the owner learns it from the taker
						f.one(b, conn.ID())
					}
					allReach(t, q, conn, f.stations...)
				})
			})
		}
	}
}

// The owner cannot be asked any more once it has given a copy. With a register the taker has the session, and the owner, which lives nevertheless,
// finds that out. Without one the taker cannot know, gives its copy up, and tells the application; and the owner, which has
// not agreed, has the session.
func TestLostOwner(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		conn, ticket := f.suspended()
		l := a.loses(everything[1:], nil)
		if f.isAlone {
			go b.visitAs("ann", ticket)
			testutil.Pass(20 * time.Second)
			f.one(a, conn.ID())
			b.want("disconnect lost 2:false") // it may have been its
			l.stop()
			q := b.comes(ticket)
			q.Want("2")
			f.one(b, conn.ID())
			allReach(t, q, conn, f.stations...)
		} else {
			q := b.comes(ticket)
			q.Want("2")
			testutil.Pass(20 * time.Second)
			f.one(b, conn.ID())
			l.stop()
			allReach(t, q, conn, f.stations...)
		}
		for _, s := range f.stations {
			s.events = nil
		}
	})
}

// The taker has the session, and the owner neither hears so nor gets an answer when it asks: it waits, and serves nothing. It
// is in the way of the client that comes back to it, too, until it knows.
func TestLostTaker(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		if f.isAlone {
			return
		}
		a, b := f.stations[0], f.stations[1]
		conn, ticket := f.suspended()
		a.loses([]string{"TAKEN"}, nil)
		l := b.loses([]string{"HAS"}, nil)
		q := b.comes(ticket)
		q.Want("2")
		testutil.Pass(20 * time.Second)
		if n := a.Stats().Connections; n != 1 {
			t.Fatalf("%d connections at the former owner", n)
		}
		q.Close()
		synctest.Wait()
		if q = a.visitAs("ann", q.Ticket()); q.Hello.Refused != "retry" { // what is left of it here is in the way
			t.Fatalf("%s", q.Hello.Raw)
		}
		l.stop()
		a.loses(nil, nil)
		testutil.Pass(20 * time.Second)
		f.one(b, conn.ID())
	})
}

// Two takers at once: one of them gets the session, and the client gets each message once wherever it comes.
func TestTwoTakers(t *testing.T) {
	for _, method := range everything[:4] {
		t.Run(method, func(t *testing.T) {
			inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
				a, b, c := f.stations[0], f.stations[1], f.stations[2]
				conn, ticket := f.suspended()
				l := a.loses(nil, []string{method})
				p := make(chan *testutil.Page, 1)
				go func() { p <- testutil.Visit(t, b.line(), testutil.Options{Header: asUser("ann")}, ticket) }()
				testutil.Pass(500 * time.Millisecond)
				go func() { p <- testutil.Visit(t, c.line(), testutil.Options{Header: asUser("ann")}, ticket) }()
				testutil.Pass(500 * time.Millisecond)
				l.stop()
				for range 2 {
					q := <-p
					q.Close()
				}
				testutil.Pass(time.Second)
				q := b.comes(ticket)
				q.Want("2")
				testutil.Pass(20 * time.Second)
				f.one(b, conn.ID())
				allReach(t, q, conn, f.stations...)
			})
		})
	}
}

// The directory fails while a session is taken. Nobody serves it, and nothing is lost; when it works again, the client gets it.
func TestTakeOverWithoutDirectory(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		if f.isAlone {
			return
		}
		a, b := f.stations[0], f.stations[1]
		conn, ticket := f.suspended()
		wspush.Intercept(a.Worker, func(_ context.Context, method string, answer func()) bool {
			answer()
			if method == "TAKE" {
				f.cluster.StopDirectory()
			}
			return true
		})
		if q := b.visitAs("ann", ticket); q.Hello.Refused != "retry" {
			t.Fatalf("%s", q.Hello.Raw)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := a.Push(ctx, conn.ID(), wspush.Text, []byte("3")); err == nil {
			t.Fatal("a frozen session has accepted a message")
		}
		wspush.Intercept(a.Worker, func(_ context.Context, _ string, answer func()) bool {
			answer()
			return true
		})
		f.cluster.StartDirectory()
		q := b.comes(ticket)
		q.Want("2")
		f.one(b, conn.ID())
		allReach(t, q, conn, a, b)
	})
}
