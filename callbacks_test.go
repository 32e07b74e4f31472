package wspush_test

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// one fails the test if callbacks overlap.
type one struct {
	t       *testing.T
	running atomic.Bool
}

func (o *one) enter(callback string) (leave func()) {
	if !o.running.CompareAndSwap(false, true) {
		o.t.Errorf("%s is called while another callback runs", callback)
	}
	return func() { o.running.Store(false) }
}

// A callback that ends its goroutine, or panics, is the last to get a message, however many more have come in already; the
// end is the same as always.
func TestCallbackFailsAmongMessages(t *testing.T) {
	fails := map[string]func(){"exits": runtime.Goexit, "panics": func() { panic("boom") }}
	for name, connect := range stages {
		for how, fail := range fails {
			for at := range 3 { // before the message at which it fails
				t.Run(fmt.Sprintf("%s, %s after %d", name, how, at), func(t *testing.T) {
					w := newWorker(t, quiet())
					j := newJournal()
					alone := &one{t: t}
					opts := j.options()
					message, end := opts.OnMessage, opts.OnDisconnect
					opts.OnMessage = func(c *wspush.Conn, typ wspush.MessageType, data []byte) {
						defer alone.enter("OnMessage")()
						message(c, typ, data)
						if string(data) == "last" {
							fail()
						}
					}
					opts.OnDisconnect = func(c *wspush.Conn, reason error) {
						defer alone.enter("OnDisconnect")()
						end(c, reason)
					}
					client := testutil.Handshake(t, connect(t, newHandler(t, w, opts)), testutil.Options{})
					greeted(t, w, client)
					var raw []byte
					want := []string{"connect"}
					for range at {
						raw = append(raw, wire(frame(true, testutil.Text, "first"))...)
						want = append(want, `text "first"`)
					}
					raw = append(raw, wire(frame(true, testutil.Text, "last"))...)
					for i := range 50 { // more than the 32 bytes
						raw = append(raw, wire(frame(true, testutil.Pong, "1"), frame(true, testutil.Text, "never"), frame(i%7 > 0, testutil.Text, "never"))...)
						if i%7 == 0 {
							raw = append(raw, wire(frame(true, testutil.Continuation, "and never"))...)
						}
					}
					client.Write(raw)
					if code, reason := client.AwaitClose(); code != 1011 || reason != "internal error" {
						t.Errorf("closed with %d %q", code, reason)
					}
					client.AwaitEOF()
					if reason := receive(t, "OnDisconnect", j.ended); reason.Cause != wspush.CauseCallback || reason.Err == nil {
						t.Errorf("reason: %v", reason)
					}
					if err := w.Shutdown(context.Background()); err != nil {
						t.Error(err)
					}
					j.expect(t, append(want, `text "last"`, "disconnect")...)
				})
			}
		}
	}
}

// goroutine is the number of the one that calls it, from the first line of its stack.
func goroutine() string {
	var line [64]byte
	return string(bytes.Fields(line[:runtime.Stack(line[:], false)])[1])
}

// Callbacks of one connection come one after the other and see what those before them did, although hardly two of them run
// on the same goroutine. What they share here has no lock, so that the race detector judges that, too.
func TestCallbacksDoNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages = 200
		alone := &one{t: t}
		var saw []string
		goroutines := map[string]bool{}
		note := func(what string) {
			defer alone.enter(what)()
			saw = append(saw, what)
			goroutines[goroutine()] = true
			if len(saw)%10 == 0 {
				<-time.After(time.Second) // while more comes in
			}
		}
		w, client, _ := overPipe(t, *quiet(), &wspush.HandlerOptions{
			OnConnect:    func(*wspush.Conn) { note("connect") },
			OnMessage:    func(_ *wspush.Conn, _ wspush.MessageType, data []byte) { note(string(data)) },
			OnDisconnect: func(*wspush.Conn, error) { note("disconnect") },
		})
		want := []string{"connect"}
		for i := range messages {
			want = append(want, fmt.Sprint(i))
			client.Send(testutil.Text, []byte(fmt.Sprint(i)))
			if i%3 > 0 {
				synctest.Wait() // the client is silent for a moment, and the connection knows
			}
		}
		client.SendClose(1000, "")
		client.AwaitClose()
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if want = append(want, "disconnect"); !slices.Equal(saw, want) {
			t.Errorf("callbacks: %q", saw)
		}
		if len(goroutines) < messages/2 {
			t.Errorf("only %d goroutines: a test of nothing", len(goroutines))
		}
	})
}

// Shutdown waits for the callback that runs, on whatever goroutine that is, and for OnDisconnect after it; messages that
// have come in meanwhile are dropped.
func TestShutdownWaitsForCallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const takes = time.Minute
		j := newJournal()
		opts := j.options()
		opts.IdleTimeout = time.Hour
		opts.OnMessage = func(*wspush.Conn, wspush.MessageType, []byte) {
			testutil.Pass(takes)
			j.add("message")
		}
		w, client, _ := overPipe(t, *quiet(), opts)
		begin := time.Now()
		go client.Conn().Write(wire(frame(true, testutil.Text, "one"), frame(true, testutil.Text, "two"), frame(true, testutil.Text, "three")))
		synctest.Wait()
		go func() { // so that the close frame can be written
			for {
				if _, err := client.ReadFrame(); err != nil {
					return
				}
			}
		}()
		if err := w.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		j.expect(t, "connect", "message", "disconnect")
		if took := time.Since(begin); took != takes {
			t.Errorf("Shutdown took %v, and the callback %v", took, takes)
		}
	})
}
