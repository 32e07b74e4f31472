package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// withinContext fails the test if Shutdown with a context of 200 ms takes much longer.
func withinContext(t *testing.T, w *wspush.Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := w.Shutdown(ctx)
	if waited := time.Since(begun); waited > 2*time.Second {
		t.Errorf("Shutdown with a context of 200 ms returned %v after %v", err, waited)
	}
}

// Pushes to another worker, which waits for a client, end with Shutdown's context, whatever serves them: their outcome is unknown
// then.
func TestShutdownCutsForwards(t *testing.T) {
	for name, noListen := range map[string]bool{"on its own listener": false, "on the application's": true} {
		t.Run(name, func(t *testing.T) {
			holder := newMember(t, wspush.WorkerOptions{PushTimeout: -1})
			client, silent, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{Silent: true})
			opts := wspush.WorkerOptions{PushTimeout: -1, NoListen: noListen}
			if noListen {
				opts.Advertise = []string{"127.0.0.1:1"}
			}
			other := rawMember(t, opts)
			server := httptest.NewServer(other)
			defer server.Close()
			at := server.URL
			if !noListen {
				at = "http://" + other.Addr().String()
			}
			answers := make(chan int, 3)
			address := at + "/ws/@connections/" + silent.SealedID() + "?confirm=received&timeout=30s"
			go func() {
				resp, err := http.Post(address, "", strings.NewReader("by HTTP"))
				if err != nil {
					answers <- 0 // the connection is cut, too
					return
				}
				resp.Body.Close()
				answers <- resp.StatusCode
			}()
			client.Expect(testutil.Text, "by HTTP")
			pushed := make(chan error, 1)
			go func() {
				pushed <- outcome(other.Push(context.Background(), silent.SealedID(), wspush.Text, []byte("in-process"), wspush.Confirmed()))
			}()
			client.Expect(testutil.Text, "in-process")
			withinContext(t, other)
			if err := <-pushed; !errors.Is(err, wspush.ErrUnknown) {
				t.Errorf("the push in-process: %v", err)
			}
			if status := <-answers; status != 504 && status != 0 {
				t.Errorf("the push by HTTP is answered with %d", status)
			}
			testutil.Eventually(t, "the other worker to give up what nobody waits for", func() bool { return holder.Stats().Unknown == 2 })
			silent.Close(1000, "")
		})
	}
}

// Finding out who listens at the address of an earlier instance ends with Shutdown's context.
func TestShutdownCutsProbe(t *testing.T) {
	address := hung(t)
	old, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: address}}))
	w := rawMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: address}})
	push := dialPush(t, w)
	fmt.Fprintf(push, "POST /ws/@connections/%s HTTP/1.1\r\nHost: w\r\nContent-Length: 1\r\n\r\na", old.SealedID())
	b := openBulk(t, dialPush(t, w))
	b.send(textLine(old.SealedID(), "a"))
	pushed := make(chan error, 1)
	begun := make(chan struct{})
	go func() {
		close(begun)
		pushed <- outcome(w.Push(context.Background(), old.SealedID(), wspush.Text, nil))
	}()
	<-begun
	withinContext(t, w)
	if err := <-pushed; !errors.Is(err, wspush.ErrShutdown) && !errors.Is(err, wspush.ErrUnreachable) {
		t.Error(err)
	}
}

// A worker without a listener of its own is reached through the application's server, under a prefix and behind a middleware. Its
// Shutdown ends the links that others have opened.
func TestLinkNoListen(t *testing.T) {
	var holder *wspush.Worker
	server := httptest.NewServer(http.StripPrefix("/push", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		holder.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	})))
	defer server.Close()
	wrapped := httptest.NewServer(http.StripPrefix("/push", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		holder.ServeHTTP(unwraps{w}, r)
	})))
	defer wrapped.Close()
	for _, tt := range []struct {
		at   string
		want int
	}{{server.URL, 502}, {wrapped.URL, 204}} { // a middleware that hides http.Hijacker lets no link through
		holder = newMember(t, wspush.WorkerOptions{NoListen: true, Advertise: []string{tt.at + "/push"}})
		other := newMember(t, wspush.WorkerOptions{})
		conn, client := connectTo(t, holder)
		read := reading(client)
		for _, message := range []string{"a", big} {
			if resp := post(t, sealedURL(other, conn), "", []byte(message)); resp.StatusCode != tt.want {
				t.Errorf("%s in place of %d: %s", resp.Status, tt.want, text(t, resp))
			}
		}
		shutDown(t, holder)
		if got := len(read()); got != map[int]int{204: 2, 502: 0}[tt.want] {
			t.Errorf("%d messages arrived", got)
		}
		if resp := post(t, sealedURL(other, conn), "", []byte("late")); resp.StatusCode != 503 && resp.StatusCode != 502 {
			t.Errorf("after its Shutdown: %s", resp.Status)
		}
	}
}

// unwraps is a middleware's ResponseWriter that hides nothing.
type unwraps struct{ http.ResponseWriter }

func (w unwraps) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// The clocks of workers may differ as they like. In a bubble it is the year 2000.
func TestClocksApart(t *testing.T) {
	holder := newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	sealed := conn.SealedID()
	received := expecting(client, "a message from the past")
	synctest.Test(t, func(t *testing.T) {
		if time.Now().Year() != 2000 {
			t.Fatal(time.Now())
		}
		other := rawMember(t, wspush.WorkerOptions{})
		if _, err := other.Push(t.Context(), sealed, wspush.Text, []byte("a message from the past")); err != nil {
			t.Error(err)
		}
		if err := other.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	<-received
}

// Keys are changed under links that stand: each worker is replaced, one after the other, while the others go on pushing to it.
func TestKeysChangeUnderLinks(t *testing.T) {
	newKey := testutil.Key("new")
	steps := [][][]byte{{clusterKey}, {clusterKey, newKey}, {newKey, clusterKey}, {newKey}}
	member := func(step int) *wspush.Worker {
		return newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: steps[step]}})
	}
	workers := []*wspush.Worker{member(0), member(0)}
	for step := range steps {
		for i := range workers {
			if step > 0 {
				shutDown(t, workers[i])
				workers[i] = member(step)
			}
			for j, to := range workers {
				conn, client := connectTo(t, to)
				for k, through := range workers {
					if resp := post(t, sealedURL(through, conn), "", []byte("a")); resp.StatusCode != 204 {
						t.Errorf("step %d, worker %d through %d: %s %s", step, j, k, resp.Status, text(t, resp))
						continue
					}
					client.Expect(testutil.Text, "a")
				}
				client.Close()
			}
		}
	}
}
