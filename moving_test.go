package wspush_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Those who wait for a client that comes back elsewhere go on waiting, and are told what becomes of their messages there.
func TestWaitersMove(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		ctx := context.Background()
		p := a.visitAs("ann", "")
		conn := a.conns[0]
		p.Close()
		a.want("connect", "suspend lost")
		type result struct {
			r   wspush.Receipt
			err error
		}
		wait := func(text string, opts ...wspush.PushOption) chan result {
			done := make(chan result, 1)
			go func() {
				r, err := conn.Push(ctx, wspush.Text, []byte(text), opts...)
				done <- result{r, err}
			}()
			synctest.Wait()
			return done
		}
		confirmed := wait("1", wspush.Confirmed())
		a.push(conn, "2", wspush.Buffered)
		patient := wait("3", wspush.Keep(time.Minute))
		short := wait("4", wspush.Keep(3*time.Second), wspush.Confirmed())
		testutil.Pass(time.Second)
		q := b.visitAs("ann", p.Ticket())
		q.Want("1", "2", "3", "4")
		if r := <-confirmed; r.err != nil || r.r.State != wspush.Received {
			t.Errorf("%+v, %v", r.r, r.err)
		}
		if r := <-patient; r.err != nil || r.r.State != wspush.Written {
			t.Errorf("%+v, %v", r.r, r.err)
		}
		if r := <-short; r.err != nil || r.r.State != wspush.Received {
			t.Errorf("%+v, %v", r.r, r.err)
		}
		a.want("disconnect moved")
		b.want("resume")

		// By what is left of the connection here, too, and across further moves.
		q.Close()
		b.want("suspend lost")
		confirmed = wait("5", wspush.Confirmed())
		patient = wait("6", wspush.Keep(time.Second))
		testutil.Pass(2 * time.Second)
		if r := <-patient; !errors.Is(r.err, wspush.ErrSuspended) && !errors.Is(r.err, context.DeadlineExceeded) {
			t.Errorf("%+v, %v", r.r, r.err)
		}
		b.want()
		p = a.visitAs("ann", q.Ticket())
		p.Want("5")
		if r := <-confirmed; r.err != nil || r.r.State != wspush.Received {
			t.Errorf("%+v, %v", r.r, r.err)
		}
		p.WantNothing()
		a.want("resume")
		b.want("disconnect moved")
	})
}

// What the application does with the connection that it has goes on to where the session is: groups, and the end.
func TestMovedConn(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		ctx := context.Background()
		p := a.visitAs("ann", "")
		conn := a.conns[0]
		q := b.visitAs("ann", p.Ticket())
		moved, _ := b.Conn(conn.ID())
		if err := conn.Join(ctx, "another"); err != nil {
			t.Fatal(err)
		}
		if err := conn.Leave(ctx, "room"); err != nil {
			t.Fatal(err)
		}
		if got := moved.Groups(); !slices.Equal(got, []string{"another"}) {
			t.Fatalf("%q", got)
		}
		if err := conn.Close(4001, "bye"); err != nil {
			t.Fatal(err)
		}
		if code, reason := q.End(); code != 4001 || reason != "bye" {
			t.Fatalf("%d %q", code, reason)
		}
		a.want("connect", "disconnect moved")
		b.want("resume", "disconnect closed")
		if _, err := conn.Push(ctx, wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
			t.Fatal(err)
		}
	})
}

// A taker that is not heard of again: the session goes on at its owner, as suspended.
func TestThaw(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("ann", "")
		conn := a.conns[0]
		a.push(conn, "1", wspush.Written)
		p.Want("1")
		if err := wspush.Freeze(conn, b.Worker, p.Hello.Ticket, 1); err != nil {
			t.Fatal(err)
		}
		if code, _ := p.End(); code != 3909 {
			t.Fatal(code)
		}
		a.want("connect") // not suspended: it may be back
		if back := a.visitAs("ann", p.Ticket()); back.Hello.Raw != "" {
			t.Fatalf("%s", back.Hello.Raw)
		} else if code, _ := back.End(); code != 1013 {
			t.Fatal(code)
		}
		waiting := make(chan error, 1)
		go func() {
			r, err := conn.Push(context.Background(), wspush.Text, []byte("2"))
			if r.State != wspush.Buffered {
				err = errors.Join(err, errors.New(string(r.State)))
			}
			waiting <- err
		}()
		synctest.Wait()
		if len(waiting) > 0 {
			t.Fatal(<-waiting)
		}
		testutil.Pass(5*time.Second + 20*time.Millisecond)
		a.want("suspend lost")
		if err := <-waiting; err != nil {
			t.Fatal(err)
		}
		q := b.visitAs("ann", p.Ticket())
		q.Want("2")
		a.want("disconnect moved")
		b.want("resume")
	})
}

// What is done to a session while it is frozen is done to it wherever it is then.
func TestCloseWhileFrozen(t *testing.T) {
	inFleet(t, 2, userOpts(), func(t *testing.T, f *fleet) {
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("ann", "")
		conn := a.conns[0]
		if err := wspush.Freeze(conn, b.Worker, p.Hello.Ticket, 0); err != nil {
			t.Fatal(err)
		}
		joined := make(chan error, 1)
		go func() { joined <- conn.Join(context.Background(), "another") }()
		synctest.Wait()
		if err := conn.Close(4001, "bye"); err != nil {
			t.Fatal(err)
		}
		a.want("connect")
		testutil.Pass(5*time.Second + 20*time.Millisecond)
		a.want("disconnect closed")
		if err := <-joined; !errors.Is(err, wspush.ErrGone) {
			t.Fatal(err)
		}
		if code, reason := b.back(p.Ticket()).End(); code != 4001 || reason != "bye" {
			t.Fatalf("%d %q", code, reason)
		}
	})
}
