package wspushtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/wspushtest"
)

// inAndOutOfBubbles runs a test in a bubble, with a synctest.Wait to settle, and outside.
func inAndOutOfBubbles(t *testing.T, test func(t *testing.T, isBubble bool)) {
	t.Helper()
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, true) }) })
	t.Run("no bubble", func(t *testing.T) {
		testutil.NoLeak(t)
		t.Run("test", func(t *testing.T) { test(t, false) })
	})
}

// byQuery is an application whose clients say who they are and which groups they are in.
func byQuery() *wspushtest.Options {
	return &wspushtest.Options{
		Worker: wspush.WorkerOptions{AuthorizePush: func(*http.Request) error { return nil }, PublicURL: "http://push.test"},
		Handler: wspush.HandlerOptions{
			Accept: func(r *http.Request) (any, error) { return r.URL.Query()["group"], nil },
			User:   func(r *http.Request, _ any) string { return r.URL.Query().Get("user") },
			Groups: func(c *wspush.Conn) []string { return c.Value().([]string) },
		},
	}
}

func push(t *testing.T, to *wspush.Recipients, text string, want int) {
	t.Helper()
	o, err := to.Push(t.Context(), wspush.Text, []byte(text))
	if err != nil || o.Written != want || !o.Complete {
		t.Errorf("%q: %+v, %v", text, o, err)
	}
}

func wantError(t *testing.T, to *wspush.Recipients, want error) {
	t.Helper()
	if o, err := to.Push(t.Context(), wspush.Text, []byte("x")); !errors.Is(err, want) {
		t.Errorf("%+v, %v, want %v", o, err, want)
	}
}

// Whichever worker is asked, the members of all get the message, and it is known at once that nobody is there.
func TestCluster(t *testing.T) {
	inAndOutOfBubbles(t, func(t *testing.T, _ bool) {
		begin := time.Now()
		cluster := wspushtest.NewCluster(t)
		servers := []*wspushtest.Server{cluster.New(byQuery()), cluster.New(byQuery()), cluster.New(byQuery())}
		for _, s := range servers {
			wantError(t, s.Worker.User("ada"), wspush.ErrGone)
		}
		phone := wspushtest.Connect(t, servers[0].Handler, "/ws?user=ada&group=room", nil)
		laptop := wspushtest.Connect(t, servers[1].Handler, "/ws?user=ada", nil)
		bob := wspushtest.Connect(t, servers[1].Handler, "/ws?user=bob&group=room", nil)
		for i, s := range servers {
			text := fmt.Sprint("to ada through ", i)
			push(t, s.Worker.User("ada"), text, 2)
			phone.Expect(text)
			laptop.Expect(text)
			text = strings.Repeat("to the room", 10_000)
			push(t, s.Worker.Group("room"), text, 2)
			phone.Expect(text)
			bob.Expect(text)
			wantError(t, s.Worker.User("eve"), wspush.ErrGone)
			s.Push(bob, "by its sealed ID")
			bob.Expect("by its sealed ID")

			resp, err := s.HTTPClient().Post("http://push.test/@users/bob", "text/plain", strings.NewReader("by HTTP"))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"written":1`) {
				t.Errorf("%s: %s, %v", resp.Status, body, err)
			}
			bob.Expect("by HTTP")
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %v: somebody has waited for a lease", took)
		}
	})
}

// A worker that shuts down takes its users with it, and the others know at once.
func TestClusterShutdown(t *testing.T) {
	inAndOutOfBubbles(t, func(t *testing.T, _ bool) {
		cluster := wspushtest.NewCluster(t)
		first, second := cluster.New(byQuery()), cluster.New(byQuery())
		ada := wspushtest.Connect(t, first.Handler, "/ws?user=ada", nil)
		push(t, second.Worker.User("ada"), "hello", 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := first.Worker.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		ada.Expect("hello")
		ada.ExpectClose(1012)
		wantError(t, second.Worker.User("ada"), wspush.ErrGone)
		third := cluster.New(byQuery())
		again := wspushtest.Connect(t, third.Handler, "/ws?user=ada", nil)
		push(t, second.Worker.User("ada"), "welcome back", 1)
		again.Expect("welcome back")
	})
}

// While the directory is stopped, no user is found, and addresses work. Afterwards everything is as before, also if it has taken so long that
// leases would have lapsed.
func TestStopDirectory(t *testing.T) {
	inAndOutOfBubbles(t, func(t *testing.T, isBubble bool) {
		cluster := wspushtest.NewCluster(t)
		first, second := cluster.New(byQuery()), cluster.New(byQuery())
		ada := wspushtest.Connect(t, first.Handler, "/ws?user=ada", nil)
		push(t, second.Worker.User("ada"), "before", 1)
		ada.Expect("before")
		cluster.StartDirectory() // nothing has been stopped
		for range 2 {
			cluster.StopDirectory()
			for _, s := range []*wspushtest.Server{first, second} {
				wantError(t, s.Worker.User("ada"), wspush.ErrDirectory)
				wantError(t, s.Worker.Group("room"), wspush.ErrDirectory)
				s.PushAndExpect(ada, "by her ID")
			}
			late := wspushtest.Connect(t, first.Handler, "/ws?user=late", nil)
			if isBubble {
				<-time.After(time.Hour)
			}
			third := cluster.New(byQuery()) // it has never seen the directory at work
			wantError(t, third.Worker.User("ada"), wspush.ErrDirectory)
			ada.ExpectNothing(0)

			begin := time.Now()
			cluster.StartDirectory()
			if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("noticed after %v", took)
			}
			for _, s := range []*wspushtest.Server{first, second, third} {
				push(t, s.Worker.User("ada"), "after", 1)
				ada.Expect("after")
			}
			if isBubble {
				synctest.Wait()
			} else {
				testutil.Eventually(t, "who has come meanwhile is found", func() bool {
					_, err := third.Worker.User("late").Push(t.Context(), wspush.Text, []byte("found"))
					return err == nil
				})
				late.Expect("found")
			}
			push(t, third.Worker.User("late"), "late", 1)
			late.Expect("late")
			late.Close(1000, "")
			wantError(t, first.Worker.User("eve"), wspush.ErrGone)
		}
	})
}

// A day of leases costs little, and nobody is lost.
func TestClusterInFakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := wspushtest.NewCluster(t)
		first, second := cluster.New(byQuery()), cluster.New(byQuery())
		ada := wspushtest.Connect(t, first.Handler, "/ws?user=ada", nil)
		for range 24 {
			<-time.After(time.Hour)
			push(t, second.Worker.User("ada"), "an hour later", 1)
			ada.Expect("an hour later")
			wantError(t, second.Worker.User("eve"), wspush.ErrGone)
		}
	})
}

// A Cluster of the application's own is not replaced in silence.
func TestClusterTwice(t *testing.T) {
	wantFailure(t, "fatal: making the worker: WorkerOptions.Cluster is set already: leave it to the test's Cluster", func(tb testing.TB) {
		wspushtest.NewCluster(tb).NewWorker(&wspush.WorkerOptions{Cluster: &wspush.Cluster{}})
	})
}
