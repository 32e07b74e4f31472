package wspush_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A worker that has no connections is shut down while it takes a session: it waits for that, and leaves it to others.
func TestShutdownWhileTaking(t *testing.T) {
	for _, slow := range []string{"TAKE", "TAKEN"} {
		t.Run(slow, func(t *testing.T) {
			inFleet(t, 3, userOpts(), func(t *testing.T, f *fleet) {
				a, b, c := f.stations[0], f.stations[1], f.stations[2]
				p := a.visitAs("ann", "")
				conn := a.conns[0]
				p.Close()
				a.want("connect", "suspend lost")
				a.push(conn, "1", wspush.Buffered)
				wspush.Intercept(a.Worker, func(_ context.Context, method string, answer func()) bool {
					answer()
					if method == slow {
						testutil.Pass(200 * time.Millisecond)
					}
					return true
				})
				go func() {
					header := http.Header{"X-User": {"ann"}, "Sec-Websocket-Protocol": {"wspush.v1, wspush.resume." + p.Ticket()}}
					_, _, _ = testutil.TryHandshake(t, b.line(), testutil.Options{Header: header, Timeout: -1})
				}()
				testutil.Pass(100 * time.Millisecond)
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- b.Shutdown(ctx) }()
				testutil.Pass(time.Second)
				q := c.visitAs("ann", p.Ticket())
				if !q.Hello.Resumed {
					t.Fatalf("%s", q.Hello.Raw)
				}
				q.Want("1")
				if err := <-done; err != nil {
					t.Error(err)
				}
				for i, want := range [][]string{{"disconnect moved"}, {"disconnect moved"}, {"resume"}} {
					f.stations[i].mu.Lock()
					if got := f.stations[i].events; !slices.Equal(got, want) {
						t.Errorf("callbacks at %d: %q, want %q", i, got, want)
					}
					f.stations[i].events = nil
					f.stations[i].mu.Unlock()
				}
			})
		})
	}
}

// A worker of a Cluster with a session file does not save what another worker takes at the moment: there would be two owners after its next start.
func TestSavedWhileTaken(t *testing.T) {
	opts := userOpts()
	release := make(chan struct{})
	opts.OnDisconnect = func(c *wspush.Conn, _ error) {
		if c.User() == "zoe" {
			<-release
		}
	}
	inFleet(t, 1, opts, func(t *testing.T, f *fleet) {
		release = make(chan struct{})
		o := wspush.WorkerOptions{SessionFile: sessionFile(t), DrainOver: time.Millisecond}
		a, b := f.add(o), f.stations[0]
		p := a.visitAs("ann", "")
		conn := a.conns[0]
		p.Close()
		z := testutil.Handshake(t, a.line(), testutil.Options{Header: asUser("zoe"), Timeout: -1})
		go func() {
			_, _, _ = z.Message()
			z.Close()
		}()
		synctest.Wait()
		a.push(conn, "1", wspush.Buffered)
		delayed(a, 100*time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- a.Shutdown(context.Background()) }()
		testutil.Pass(time.Second)
		pages := make(chan *testutil.Page, 1)
		go func() { pages <- testutil.Visit(t, b.line(), testutil.Options{Header: asUser("ann")}, p.Ticket()) }()
		testutil.Pass(50 * time.Millisecond)
		close(release)
		if err := <-done; err != nil {
			t.Error(err)
		}
		q := <-pages
		q.Want("1")
		again := f.add(o)
		testutil.Pass(10 * time.Second)
		if _, ok := again.Conn(conn.ID()); ok || again.Len() > 0 {
			t.Error("there are two owners")
		}
		f.forget()
	})
}

// SaveValue may take longer than a session may be frozen.
func TestHandOverWithSlowSaveValue(t *testing.T) {
	opts := userOpts()
	opts.SaveValue = func(v any) ([]byte, error) {
		testutil.Pass(6 * time.Second)
		return []byte(v.(string)), nil
	}
	opts.LoadValue = func(b []byte) (any, error) { return string(b), nil }
	inFleet(t, 2, opts, func(t *testing.T, f *fleet) {
		if f.isAlone {
			return
		}
		a, b := f.stations[0], f.stations[1]
		for _, user := range []string{"ann", "bob"} {
			a.visitAs(user, "").Close()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		defer cancel()
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if b.Len() != 2 {
			t.Errorf("%d of 2 sessions have been handed over", b.Len())
		}
		for c := range b.Conns() {
			if c.Value() != c.User()+"'s" {
				t.Errorf("the Value is %v", c.Value())
			}
		}
		f.forget()
	})
}
