package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/wspushtest"
)

// fleet is some workers of one Cluster, in a bubble.
type fleet struct {
	t        *testing.T
	cluster  *wspushtest.Cluster
	stations []*station
	opts     wspush.HandlerOptions
	isAlone  bool // the workers have no register of owners
}

// inFleet runs a test with so many workers, with and without a register of owners.
func inFleet(t *testing.T, n int, opts *wspush.HandlerOptions, test func(t *testing.T, f *fleet)) {
	t.Helper()
	for name, isAlone := range map[string]bool{"owners": false, "no owners": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fleet{t: t, cluster: wspushtest.NewCluster(t), isAlone: isAlone}
				if opts != nil {
					f.opts = *opts
				}
				for range n {
					f.add(wspush.WorkerOptions{})
				}
				test(t, f)
			})
		})
	}
}

// add starts another worker.
func (f *fleet) add(opts wspush.WorkerOptions) *station {
	if opts.Logger == nil {
		opts.Logger = noLog
	}
	opts.NoListen = true
	w := f.cluster.NewWorker(&opts)
	if f.isAlone {
		wspush.IgnoreOwners(w)
	}
	s := stationOf(f.t, w, &f.opts)
	f.stations = append(f.stations, s)
	return s
}

// forget forgets the callbacks that there have been.
func (f *fleet) forget() {
	synctest.Wait()
	for _, s := range f.stations {
		s.mu.Lock()
		s.events = nil
		s.mu.Unlock()
	}
}

// asUser says whose page it is.
func asUser(user string) http.Header { return http.Header{"X-User": {user}} }

func userOpts() *wspush.HandlerOptions {
	return &wspush.HandlerOptions{
		User:   func(r *http.Request, _ any) string { return r.Header.Get("X-User") },
		Groups: func(*wspush.Conn) []string { return []string{"room"} },
		Accept: func(r *http.Request) (any, error) { return r.Header.Get("X-User") + "'s", nil },
	}
}

func (s *station) visitAs(user, resume string) *testutil.Page {
	s.t.Helper()
	p := testutil.Visit(s.t, s.line(), testutil.Options{Header: asUser(user)}, resume)
	synctest.Wait()
	return p
}

// A client comes back to another worker: everything that was accepted comes, once and in order; the connection is the same one; and whoever still
// pushes to where it was reaches it.
func TestTakeOver(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		a, b, c := f.stations[0], f.stations[1], f.stations[2]
		ctx := context.Background()
		p := a.visitAs("ann", "")
		conn := a.conns[0]
		address, sealed, since := p.Hello.Address, conn.SealedID(), conn.Info().ConnectedAt
		a.push(conn, "1", wspush.Written)
		p.Want("1")
		p.Close()
		a.want("connect", "suspend lost")
		a.push(conn, "2", wspush.Buffered)
		a.push(conn, "3", wspush.Buffered)

		q := b.visitAs("ann", p.Ticket())
		if h := q.Hello; !h.Resumed || h.Offset != 1 || h.Missed != 0 || h.Address == address {
			t.Fatalf("%s", h.Raw)
		}
		q.Want("2", "3")
		a.want("disconnect moved")
		b.want("resume")
		moved, ok := b.Conn(conn.ID())
		if !ok {
			t.Fatal("the connection has another ID")
		}
		if i := moved.Info(); moved.User() != "ann" || !slices.Equal(moved.Groups(), []string{"room"}) || !i.ConnectedAt.Equal(since) || !moved.Resumed() || moved.Value() != "ann's" {
			t.Fatalf("%+v, %v, %v", i, moved.Resumed(), moved.Value())
		}
		if conn.Resumed() || a.Len() != 0 || b.Len() != 1 {
			t.Fatalf("%d connections at the former worker, %d at the new one", a.Len(), b.Len())
		}
		a.push(conn, "4", wspush.Written)
		for i, push := range []func(string) (wspush.Receipt, error){
			func(m string) (wspush.Receipt, error) { return a.Push(ctx, conn.ID(), wspush.Text, []byte(m)) },
			func(m string) (wspush.Receipt, error) { return a.Push(ctx, sealed, wspush.Text, []byte(m)) },
			func(m string) (wspush.Receipt, error) {
				return c.Push(ctx, sealed, wspush.Text, []byte(m), wspush.Confirmed())
			},
			func(m string) (wspush.Receipt, error) { return b.Push(ctx, sealed, wspush.Text, []byte(m)) },
			func(m string) (wspush.Receipt, error) {
				return conn.Push(ctx, wspush.Text, []byte(m), wspush.Confirmed())
			},
		} {
			if r, err := push(fmt.Sprint("push ", i)); err != nil || r.State == wspush.Buffered {
				t.Fatalf("%d: %+v, %v", i, r, err)
			}
		}
		q.Want("4", "push 0", "push 1", "push 2", "push 3", "push 4")
		for i, s := range f.stations {
			for _, r := range []*wspush.Recipients{s.User("ann"), s.Group("room")} {
				if o, err := r.Push(ctx, wspush.Text, []byte(fmt.Sprint("to her ", i))); err != nil || o.Written != 1 {
					t.Fatalf("%d: %+v, %v", i, o, err)
				}
				q.Want(fmt.Sprint("to her ", i))
			}
		}
		// On and on, and back.
		for i, s := range []*station{c, a, b, a, c} {
			q.Close()
			synctest.Wait()
			if _, err := a.Push(ctx, sealed, wspush.Text, []byte(fmt.Sprint("away ", i))); err != nil {
				t.Fatal(err)
			}
			q2 := s.visitAs("ann", q.Ticket())
			if !q2.Hello.Resumed {
				t.Fatalf("%d: %s", i, q2.Hello.Raw)
			}
			q = q2
			q.Want(fmt.Sprint("away ", i))
			for _, other := range f.stations {
				if _, err := other.Push(ctx, sealed, wspush.Text, []byte("there")); err != nil {
					t.Fatalf("%d: %v", i, err)
				}
				q.Want("there")
			}
		}
		q.WantNothing()
		f.forget()
	})
}

// A client is back before anybody has noticed that it was gone.
func TestTakeOverConnected(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("ann", "")
		a.push(a.conns[0], "1", wspush.Written)
		q := b.visitAs("ann", p.Hello.Ticket+".0")
		if h := q.Hello; !h.Resumed || h.Offset != 0 {
			t.Fatalf("%s", h.Raw)
		}
		q.Want("1")
		if code, _ := p.End(); code != 3909 {
			t.Fatalf("closed with %d", code)
		}
		a.want("connect", "disconnect moved")
		b.want("resume")
	})
}

// Nobody gets somebody else's session, and Accept is asked first.
func TestTakeOverRefused(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("ann", "")
		q := b.visitAs("bob", p.Ticket())
		if q.Hello.Refused != "forbidden" {
			t.Fatalf("%s", q.Hello.Raw)
		}
		a.want("connect")
		if q = b.visitAs("ann", p.Hello.Ticket+".5"); q.Hello.Raw != "" {
			t.Fatalf("%s", q.Hello.Raw)
		}
		if code, _ := q.End(); code != 1002 {
			t.Fatalf("closed with %d", code)
		}
		if r := b.Stats().Sessions.Resumes; r.Ahead != 1 || r.Ended != 0 {
			t.Errorf("%+v", r)
		}
		a.push(a.conns[0], "still here", wspush.Written)
		p.Want("still here")
		_ = a.conns[0].Close(4000, "enough")
		synctest.Wait()
		if code, reason := b.visitAs("ann", p.Ticket()).End(); code != 4000 || reason != "enough" {
			t.Fatalf("closed with %d %q", code, reason)
		}
		if r := b.Stats().Sessions.Resumes; r.Ahead != 1 || r.Ended != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// A worker that is shut down leaves its sessions to the others: those whose clients come back are taken, and the rest is handed over.
func TestLeavingInOrder(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		a, b, c := f.stations[0], f.stations[1], f.stations[2]
		var pages []*testutil.Page
		for i := range 4 {
			p := a.visitAs(fmt.Sprint("user ", i), "")
			a.push(a.conns[i], "1", wspush.Written)
			pages = append(pages, p)
		}
		sealed := make([]string, len(pages))
		for i, conn := range a.conns {
			sealed[i] = conn.SealedID()
		}
		pages[3].Close()
		synctest.Wait()
		a.push(a.conns[3], "2", wspush.Buffered)
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		done := make(chan error, 1)
		begun := time.Now()
		go func() { done <- a.Shutdown(ctx) }()
		for _, p := range pages[:3] {
			if code, _ := p.End(); code != 1012 {
				t.Fatalf("closed with %d", code)
			}
		}
		synctest.Wait()
		a.push(a.conns[0], "2", wspush.Buffered)
		q := b.visitAs("user 0", pages[0].Hello.Ticket+".0")
		q.Want("1", "2")
		pages[0] = q
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		took := time.Since(begun)
		if !f.isAlone {
			if took < 19*time.Second || took > 21*time.Second {
				t.Errorf("it took %v", took)
			}
			for i := 1; i < 4; i++ { // suspended somewhere, and found through anybody
				if r, err := c.Push(context.Background(), sealed[i], wspush.Text, []byte("3")); err != nil || r.State != wspush.Buffered {
					t.Fatalf("%d: %+v, %v", i, r, err)
				}
				if o, err := b.User(fmt.Sprint("user ", i)).Push(context.Background(), wspush.Text, []byte("4")); err != nil || o.Buffered != 1 {
					t.Fatalf("%d: %+v, %v", i, o, err)
				}
				q := f.stations[1+i%2].visitAs(fmt.Sprint("user ", i), pages[i].Hello.Ticket+".0")
				if !q.Hello.Resumed {
					t.Fatalf("%d: %s", i, q.Hello.Raw)
				}
				q.Want("1")
				if i == 3 {
					q.Want("2")
				}
				q.Want("3", "4")
			}
		}
		if r, err := c.Push(context.Background(), sealed[0], wspush.Text, []byte("5")); f.isAlone == (err == nil) {
			t.Fatalf("%+v, %v", r, err)
		} else if err == nil {
			q.Want("5")
		}
		unconfirmed := 0
		for _, e := range a.events {
			if e == "disconnect shutdown 1:true" || e == "disconnect shutdown 1:true 2:false" {
				unconfirmed++
			}
		}
		if want := map[bool]int{false: 0, true: 3}[f.isAlone]; unconfirmed != want {
			t.Fatalf("%d sessions ended: %q", unconfirmed, a.events)
		}
		f.forget()
	})
}

// Clients are closed in time for the last of them to come to another worker, whatever DrainOver is; those that have no session have all of it.
func TestLastToLeave(t *testing.T) {
	for _, tt := range []struct {
		deadline, last time.Duration
	}{{24 * time.Second, 6 * time.Second}, {36 * time.Second, 10500 * time.Millisecond}, {2 * time.Minute, 15 * time.Second}} {
		inFleet(t, 1, userOpts(), func(t *testing.T, f *fleet) {
			a, b := f.add(wspush.WorkerOptions{DrainOver: 20 * time.Second}), f.stations[0]
			var pages []*testutil.Page
			for i := range 4 {
				pages = append(pages, a.visitAs(fmt.Sprint("user ", i), ""))
			}
			ctx, cancel := context.WithTimeout(context.Background(), tt.deadline)
			defer cancel()
			done := make(chan error, 1)
			begun := time.Now()
			go func() { done <- a.Shutdown(ctx) }()
			ended := make(chan time.Time)
			var last time.Duration
			for _, p := range pages {
				go func() { p.End(); ended <- time.Now() }()
			}
			for range pages {
				last = (<-ended).Sub(begun)
			}
			if last.Round(time.Millisecond) != tt.last {
				t.Errorf("within %v, the last client is closed after %v, want %v", tt.deadline, last, tt.last)
			}
			testutil.Pass(5 * time.Second) // while it tries
			for i, p := range pages {
				a.push(a.conns[i], "1", wspush.Buffered)
				q := b.visitAs(fmt.Sprint("user ", i), p.Ticket())
				if !q.Hello.Resumed {
					t.Fatalf("within %v: %s", tt.deadline, q.Hello.Raw)
				}
				q.Want("1")
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			f.forget()
		})
	}
}

// Constant pushes of every kind, through any worker, to a client that comes back here and there: each that was accepted comes once, and those of one publisher in
// their order; nobody is told that the client is gone, or that the outcome is unknown.
func TestTakeOverUnderPush(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		p := f.stations[0].visitAs("ann", "")
		conn := f.stations[0].conns[0]
		id, sealed := conn.ID(), conn.SealedID()
		ctx := context.Background()
		over := make(chan struct{})
		var publishers sync.WaitGroup
		var mu sync.Mutex
		accepted := make(map[string][]string)
		publish := func(name string, push func(w *wspush.Worker, data []byte) error) {
			publishers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-over:
						return
					default:
					}
					data := fmt.Sprint(name, " ", i)
					err := push(f.stations[rand.IntN(3)].Worker, []byte(data))
					mu.Lock()
					if err == nil {
						accepted[name] = append(accepted[name], data)
					} else if !errors.Is(err, wspush.ErrSuspended) && !errors.Is(err, context.DeadlineExceeded) && !(errors.Is(err, wspush.ErrBusy) && strings.HasSuffix(name, "patient")) {
						t.Errorf("%s: %v", data, err)
					}
					mu.Unlock()
					testutil.Pass(time.Duration(1+rand.IntN(3)) * time.Millisecond)
				}
			})
		}
		one := func(opts ...wspush.PushOption) func(*wspush.Worker, []byte) error {
			return func(w *wspush.Worker, data []byte) error {
				_, err := w.Push(ctx, sealed, wspush.Text, data, opts...)
				return err
			}
		}
		publish("plain", one())
		publish("confirmed", one(wspush.Confirmed()))
		publish("hasty", one(wspush.Keep(0)))
		publish("patient", one(wspush.Keep(20*time.Millisecond)))
		publish("confirmed and patient", one(wspush.Keep(20*time.Millisecond), wspush.Confirmed()))
		publish("brief", func(w *wspush.Worker, data []byte) error {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Microsecond)
			defer cancel()
			_, err := w.Push(ctx, sealed, wspush.Text, data)
			if errors.Is(err, wspush.ErrUnknown) {
				err = wspush.ErrSuspended // it may come, or not
			}
			return err
		})
		publish("old conn", func(_ *wspush.Worker, data []byte) error {
			_, err := conn.Push(ctx, wspush.Text, data)
			return err
		})
		publish("each", func(w *wspush.Worker, data []byte) (err error) {
			for _, e := range w.PushEachID(ctx, slices.Values([]string{sealed}), wspush.Text, data) {
				err = e
			}
			return err
		})
		for name, of := range map[string]func(*wspush.Worker) *wspush.Recipients{
			"user":  func(w *wspush.Worker) *wspush.Recipients { return w.User("ann") },
			"group": func(w *wspush.Worker) *wspush.Recipients { return w.Group("room") },
		} {
			publish(name, func(w *wspush.Worker, data []byte) error {
				o, err := of(w).Push(ctx, wspush.Text, data)
				if n := o.Written + o.Buffered; err == nil && n != 1 {
					return fmt.Errorf("%+v", o)
				}
				return err
			})
			publish("confirmed "+name, func(w *wspush.Worker, data []byte) error {
				_, err := of(w).Push(ctx, wspush.Text, data, wspush.Confirmed())
				return err
			})
		}
		var got []string
		drain := func(p *testutil.Page) {
			for {
				text, ok := p.TryNext()
				if !ok {
					return
				}
				got = append(got, text)
			}
		}
		for i := range 60 {
			testutil.Pass(time.Duration(rand.IntN(10)) * time.Millisecond)
			drain(p)
			if rand.IntN(2) == 0 {
				p.Close()
				testutil.Pass(time.Duration(rand.IntN(10)) * time.Millisecond)
			}
			ticket := p.Ticket()
			q := testutil.Visit(t, f.stations[rand.IntN(3)].line(), testutil.Options{Header: asUser("ann")}, ticket)
			if !q.Hello.Resumed {
				t.Fatalf("%d: %s", i, q.Hello.Raw)
			}
			p = q
		}
		testutil.Pass(100 * time.Millisecond)
		close(over)
		publishers.Wait()
		testutil.Pass(time.Second)
		synctest.Wait()
		drain(p)
		seen := make(map[string]bool)
		last := make(map[string]int)
		for _, m := range got {
			if seen[m] {
				t.Errorf("%q has come twice", m)
			}
			seen[m] = true
			at := strings.LastIndexByte(m, ' ')
			n, _ := strconv.Atoi(m[at+1:])
			if was, ok := last[m[:at]]; ok && n <= was {
				t.Errorf("%q has come after %d", m, was)
			}
			last[m[:at]] = n
		}
		for name, all := range accepted {
			missing := 0
			for _, m := range all {
				if !seen[m] {
					t.Errorf("%q has not come", m)
					missing++
				}
			}
			if missing > 0 || len(all) < 20 {
				t.Errorf("%s: %d of %d have not come", name, missing, len(all))
			}
		}
		live := 0
		for _, s := range f.stations {
			live += s.Len()
			s.mu.Lock()
			for _, e := range s.events {
				if strings.HasPrefix(e, "disconnect") && e != "disconnect moved" {
					t.Error(e)
				}
			}
			s.events = nil
			s.mu.Unlock()
		}
		if _, ok := f.stations[0].Conn(id); live != 1 {
			t.Errorf("%d connections, %v", live, ok)
		}
	})
}

// Whoever can read the directory learns no ID from it: an ID is the right to push.
func TestRegisterHasNoIDs(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		if f.isAlone {
			return
		}
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("", "")
		id := a.conns[0].ID()
		p.Close()
		synctest.Wait()
		if q := b.visitAs("", p.Ticket()); !q.Hello.Resumed {
			t.Fatal(q.Hello.Raw)
		}
		for key, want := range map[[16]byte]uint64{wspush.RegisterKey(id): 1, wspush.RegisterKey(strings.ToUpper(id)): 1, uuid.MustParse(id): 0} {
			if moves, err := wspush.MovesInRegister(t.Context(), b.Worker, key); err != nil || moves != want {
				t.Errorf("%x has moved %d times, want %d: %v", key, moves, want, err)
			}
		}
	})
}

// A client whose worker has ended, and whose session nobody has, is told to try again, and after ten seconds that there is no way to it. A worker that is
// gone refuses connections, which takes no time.
func TestUnreachable(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("", "")
		p.Close()
		synctest.Wait()
		b.Shutdown(t.Context()) // so that there is nobody who could be handed the session
		a.Shutdown(t.Context())
		c := f.add(wspush.WorkerOptions{})
		begin := time.Now()
		for {
			q := c.visitAs("", p.Ticket())
			took := time.Since(begin)
			if q.Hello.Refused == "retry" && took < 20*time.Second {
				q.Close()
				testutil.Pass(time.Second)
				continue
			}
			if took < 10*time.Second || q.Hello.Why != "unreachable" {
				t.Errorf("after %v: %s", took, q.Hello.Raw)
			}
			break
		}
		if r := c.Stats().Sessions; r.Resumes.Unreachable != 1 || r.TakesFailed < 2 {
			t.Errorf("%+v", r)
		}
	})
}

// A push to a group finds a session at its worker, and at one that it has left, which carries it by way of a third that has ended.
func TestTakeOverMarks(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		a, b, c := f.stations[0], f.stations[1], f.stations[2]
		ctx := context.Background()
		p := a.visitAs("ann", "")
		p.Close()
		p = b.visitAs("ann", p.Ticket())
		p.Close()
		p = c.visitAs("ann", p.Ticket())
		if !p.Hello.Resumed {
			t.Fatalf("%s", p.Hello.Raw)
		}
		if err := b.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		for i, r := range []*wspush.Recipients{a.Group("room"), c.Group("room"), a.User("ann")} {
			o, err := r.Push(ctx, wspush.Text, []byte(fmt.Sprint(i)))
			if err != nil || o.Written != 1 {
				t.Fatalf("%d: %+v, %v", i, o, err)
			}
			synctest.Wait()
		}
		p.Want("0", "1", "2")
		p.WantNothing()
		f.forget()
	})
}

// Whoever is left out of a push is left out by the worker that she has left, too.
func TestTakeOverExcept(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		a, b, c := f.stations[0], f.stations[1], f.stations[2]
		ctx := context.Background()
		p := a.visitAs("ann", "")
		id := a.conns[0].ID()
		p.Close()
		p = b.visitAs("ann", p.Ticket())
		ann, _ := b.Conn(id)
		other := a.visitAs("bob", "")
		for i, s := range []*station{a, b, c} {
			o, err := s.Group("room").Except(ann).Push(ctx, wspush.Text, []byte(fmt.Sprint(i)))
			if err != nil || o.Written != 1 {
				t.Fatalf("%d: %+v, %v", i, o, err)
			}
			synctest.Wait()
		}
		other.Want("0", "1", "2")
		p.WantNothing()
		f.forget()
	})
}

// A client whose session's worker is gone is told so in the end, and not asked to come again for ever.
func TestTakeOverUnreachable(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("ann", "")
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = a.Shutdown(ctx)
		_, _ = p.End()
		begin := time.Now()
		for {
			q := b.visitAs("ann", p.Ticket())
			if q.Hello.Refused != "retry" {
				if q.Hello.Resumed || q.Hello.Raw == "" {
					t.Fatalf("%s", q.Hello.Raw)
				}
				break
			}
			if time.Since(begin) > time.Minute {
				t.Fatal("it is still to come again")
			}
			testutil.Pass(time.Second)
		}
		f.forget()
	})
}

// delayed has a worker answer what it is asked about sessions that move with a delay, as by a network.
func delayed(s *station, d time.Duration) {
	wspush.Intercept(s.Worker, func(_ context.Context, _ string, answer func()) bool {
		answer()
		testutil.Pass(d)
		return true
	})
}

// Whoever comes while somebody else's handshake takes the same session gets an answer of its own.
func TestJoinedTakeOver(t *testing.T) {
	for name, first := range map[string]struct{ user, offset string }{"another user": {"bob", "0"}, "too high an offset": {"ann", "7"}, "a stale ticket": {"ann", "0"}} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
				a, b := f.stations[0], f.stations[1]
				p := a.visitAs("ann", "")
				ticket := p.Hello.Ticket
				for range 4 {
					a.push(a.conns[0], "x", wspush.Received, wspush.Confirmed())
					p.Want("x")
					p = a.visitAs("ann", p.Ticket())
				}
				a.push(a.conns[0], "x", wspush.Received, wspush.Confirmed())
				p.Want("x")
				if name != "a stale ticket" {
					ticket = p.Hello.Ticket
				}
				p.Close()
				synctest.Wait()
				delayed(a, 50*time.Millisecond)
				pages := make(chan *testutil.Page, 2)
				visit := func(user, resume string) {
					go func() { pages <- testutil.Visit(t, b.line(), testutil.Options{Header: asUser(user)}, resume) }()
					testutil.Pass(10 * time.Millisecond)
				}
				if first.offset == "7" {
					first.offset = "70"
				}
				visit(first.user, ticket+"."+first.offset)
				visit("ann", p.Ticket())
				resumed := 0
				for range 2 {
					if q := <-pages; q.Hello.Resumed {
						resumed++
					}
				}
				if resumed != 1 {
					t.Errorf("%d pages have the session", resumed)
				}
				f.forget()
			})
		})
	}
}

// The lines of one bulk request to one session arrive in their order, also where the worker that is asked hears in the middle of it that the session has moved,
// and knows a shorter way from then on.
func TestBulkOrderOfMoved(t *testing.T) {
	inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
		a, b, c := f.stations[0], f.stations[1], f.stations[2]
		const lines = 200
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return testutil.Pipe(t, c.Worker), nil }}
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport}
		for range 10 {
			p := a.visitAs("ann", "")
			sealed := a.conns[len(a.conns)-1].SealedID()
			p = b.visitAs("ann", p.Ticket())
			testutil.Pass(15 * time.Second) // what is left of it at its first worker does not carry any more, but forwards
			var body strings.Builder
			for i := range lines {
				fmt.Fprintf(&body, `{"to":%q,"text":"%d"}`+"\n", sealed, i)
			}
			resp, err := client.Post("http://worker/ws/@connections", "application/x-ndjson", strings.NewReader(body.String()))
			if err != nil {
				t.Fatal(err)
			}
			answer := text(t, resp)
			if n := strings.Count(answer, `"status":204`); n != lines {
				t.Fatalf("%d lines have been written: %.300s", n, answer)
			}
			for i := range lines {
				p.Want(strconv.Itoa(i))
			}
			p.Close()
		}
		f.forget()
	})
}
