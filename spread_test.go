package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// audience connects n clients that read whatever they are sent. Each connection has what its client has received, after the greeting,
// when received is called.
func audience(t testing.TB, w *wspush.Worker, n int) (conns []*wspush.Conn, received func() [][]byte) {
	t.Helper()
	h := newHandler(t, w, nil)
	all := make([][]byte, n)
	ended := make(chan struct{}, n)
	var clients []*testutil.Client
	for i := range n {
		c := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
		conn, _ := greeted(t, w, c)
		conns, clients = append(conns, conn), append(clients, c)
		go func() {
			defer func() { ended <- struct{}{} }()
			for {
				_, data, err := c.Message()
				if err != nil {
					return
				}
				all[i] = append(all[i], data...)
			}
		}()
	}
	synctest.Wait()
	return conns, func() [][]byte {
		synctest.Wait()
		for _, c := range clients {
			c.Close()
		}
		for range clients {
			<-ended
		}
		return all
	}
}

// bubbleAudience runs a test in a bubble, with several processors.
func bubbleAudience(t *testing.T, n int, test func(t *testing.T, w *wspush.Worker, conns []*wspush.Conn, received func() [][]byte)) {
	if runtime.GOMAXPROCS(0) == 1 {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"127.0.0.1:1"}})
		wspush.HelpFrom(w, 65)
		conns, received := audience(t, w, n)
		test(t, w, conns, received)
	})
}

// Each of many connections gets the message once, and has one outcome, although several goroutines write.
func TestSpread(t *testing.T) {
	bubbleAudience(t, 300, func(t *testing.T, w *wspush.Worker, conns []*wspush.Conn, received func() [][]byte) {
		for i := range conns {
			if i%100 == 99 {
				conns[i].Close(1000, "")
			}
		}
		outcomes := make(map[*wspush.Conn]error)
		for conn, err := range w.PushEach(context.Background(), slices.Values(conns), wspush.Text, []byte("x")) {
			if _, twice := outcomes[conn]; twice {
				t.Error("a connection has two outcomes")
			}
			outcomes[conn] = err
		}
		for i, got := range received() {
			err, ok := outcomes[conns[i]]
			switch {
			case !ok:
				t.Error("a connection has no outcome")
			case i%100 == 99 && (err != wspush.ErrGone || len(got) != 0):
				t.Errorf("a connection that is closed: %v, %q", err, got)
			case i%100 != 99 && (err != nil || string(got) != "x"):
				t.Errorf("%v, %q", err, got)
			}
		}
	})
}

// What is known at once comes in the order of the targets, however many goroutines find it out.
func TestSpreadOrder(t *testing.T) {
	w := newWorker(t, nil)
	wspush.HelpFrom(w, 65)
	server := serve(t, w, nil)
	var conns []*wspush.Conn
	for range 300 {
		_, conn, _ := dial(t, w, server, testutil.Options{})
		conns = append(conns, conn)
	}
	for range 20 {
		next := 0
		for conn, err := range w.PushEach(context.Background(), slices.Values(conns), wspush.Text, []byte("x")) {
			if conn != conns[next] || err != nil {
				t.Fatalf("outcome %d: another connection, or %v", next, err)
			}
			next++
		}
		if next != len(conns) {
			t.Errorf("%d outcomes", next)
		}
	}
}

// Whoever leaves the range, in whatever way, is followed by nothing: no goroutine, no write that has not begun, no further target.
func TestSpreadLeft(t *testing.T) {
	const clients, at = 600, 100
	for name, leave := range map[string]func(){
		"break": nil, "panic": func() { panic("leaving") }, "Goexit": runtime.Goexit,
		"panic in to": nil,
	} {
		t.Run(name, func(t *testing.T) {
			bubbleAudience(t, clients, func(t *testing.T, w *wspush.Worker, conns []*wspush.Conn, received func() [][]byte) {
				read, outcomes := 0, 0
				data := []byte("x")
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					defer func() {
						if r := recover(); (r != nil) != strings.HasPrefix(name, "panic") {
							t.Errorf("recovered %v", r)
						}
						clear(data)
					}()
					to := func(yield func(*wspush.Conn) bool) {
						for _, c := range conns {
							if read++; read == 3*at && name == "panic in to" {
								panic("leaving")
							}
							if !yield(c) {
								return
							}
						}
					}
					for range w.PushEach(context.Background(), to, wspush.Text, data) {
						if outcomes++; outcomes == at && name != "panic in to" {
							if leave != nil {
								leave()
							}
							break
						}
					}
				}()
				<-ended
				if name == "panic in to" {
					outcomes = at
				}
				if outcomes != at {
					t.Errorf("%d outcomes of %d targets", outcomes, read)
				}
				written := 0
				for _, got := range received() {
					if len(got) > 0 {
						written++
					}
					if len(got) > 1 || bytes.ContainsRune(got, 0) {
						t.Errorf("a client got %q", got)
					}
				}
				if s := w.Stats(); uint64(written) < s.Written || s.Written+s.Unknown < uint64(written) {
					t.Errorf("%d clients have the message, and %d are counted, %d unknown", written, s.Written, s.Unknown)
				}
			})
		})
	}
}

// Targets are not read far ahead of the outcomes: leaving the range leaves nearly all of the rest alone.
func TestSpreadAhead(t *testing.T) {
	w := newWorker(t, nil)
	wspush.HelpFrom(w, 65)
	server := serve(t, w, nil)
	_, conn, _ := dial(t, w, server, testutil.Options{})
	conn.Close(1000, "")
	read, outcomes := 0, 0
	to := func(yield func(*wspush.Conn) bool) {
		for yield(conn) {
			read++
		}
	}
	for _, err := range w.PushEach(context.Background(), to, wspush.Text, []byte("x")) {
		if err != wspush.ErrGone {
			t.Error(err)
		}
		if outcomes++; outcomes == 1000 {
			break
		}
	}
	if most := outcomes + 64*runtime.GOMAXPROCS(0); read > most {
		t.Errorf("%d targets were read for %d outcomes", read, outcomes)
	}
	if s := w.Stats(); s.RefusedBy.Gone < 1000 || s.RefusedBy.Gone > uint64(1000+64*runtime.GOMAXPROCS(0)) {
		t.Errorf("%d are counted", s.RefusedBy.Gone)
	}
}

// When ctx ends in the middle, each target still has its outcome, and it is true.
func TestSpreadCancelled(t *testing.T) {
	bubbleAudience(t, 500, func(t *testing.T, w *wspush.Worker, conns []*wspush.Conn, received func() [][]byte) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		// Not after 300 outcomes: all 500 may have been started by then, since those of slow pipes come later.
		to := func(yield func(*wspush.Conn) bool) {
			for i, conn := range conns {
				if i == 300 {
					cancel()
				}
				if !yield(conn) {
					return
				}
			}
		}
		outcomes := make(map[*wspush.Conn]error)
		for conn, err := range w.PushEach(ctx, to, wspush.Text, []byte("x")) {
			outcomes[conn] = err
		}
		cancelled := 0
		for i, got := range received() {
			err, ok := outcomes[conns[i]]
			if err == context.Canceled {
				cancelled++
			}
			if !ok || err == nil && string(got) != "x" || err == context.Canceled && len(got) > 0 ||
				err != nil && err != context.Canceled && !errors.Is(err, wspush.ErrUnknown) {
				t.Errorf("%v, %q", err, got)
			}
		}
		if cancelled < 200 {
			t.Errorf("%d were withdrawn", cancelled)
		}
	})
}

// An outcome is yielded while those behind it are still being written: a range that is slow holds up only itself.
func TestSpreadSlowRange(t *testing.T) {
	bubbleAudience(t, 300, func(t *testing.T, w *wspush.Worker, conns []*wspush.Conn, received func() [][]byte) {
		n := 0
		for conn, err := range w.PushEach(context.Background(), slices.Values(conns), wspush.Text, []byte("x")) {
			if err != nil {
				t.Error(err)
			}
			if _, err := conn.Push(context.Background(), wspush.Text, []byte("y")); err != nil {
				t.Error(err)
			}
			n++
		}
		for _, got := range received() {
			if string(got) != "xy" {
				t.Errorf("a client got %q", got)
			}
		}
		if n != len(conns) {
			t.Errorf("%d outcomes", n)
		}
	})
}

// Broadcasts at the same time, by ID and not, while connections end.
func TestSpreadRace(t *testing.T) {
	w := newWorker(t, nil)
	wspush.HelpFrom(w, 65)
	server := serve(t, w, nil)
	var conns []*wspush.Conn
	var ids []string
	for i := range 200 {
		client, conn, _ := dial(t, w, server, testutil.Options{})
		conns, ids = append(conns, conn), append(ids, conn.ID())
		if i%2 == 0 {
			client.Close()
		}
	}
	outcomes := make(chan int)
	for range 4 {
		go func() {
			n := 0
			for _, err := range w.PushEach(context.Background(), slices.Values(conns), wspush.Text, []byte(big[:10_000])) {
				n++
				_ = err
			}
			outcomes <- n
		}()
		go func() {
			n := 0
			for range w.PushEachID(context.Background(), slices.Values(ids), wspush.Text, []byte(big[:10_000])) {
				n++
			}
			outcomes <- n
		}()
	}
	for range 8 {
		if n := <-outcomes; n != len(conns) {
			t.Error(fmt.Errorf("%d outcomes", n))
		}
	}
}
