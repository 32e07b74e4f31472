package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Clients come and go while publishers of every kind push: each message that was accepted arrives exactly once, those of each publisher in
// their order, and none that was refused.
func TestSessionStress(t *testing.T) {
	w := newWorker(t, quiet())
	var conns []*wspush.Conn
	var mu sync.Mutex // guards conns, overlaps and running
	running, overlaps := 0, 0
	callback := func() func() {
		mu.Lock()
		defer mu.Unlock()
		if running++; running > 1 {
			overlaps++
		}
		return func() {
			mu.Lock()
			defer mu.Unlock()
			running--
		}
	}
	server := serve(t, w, &wspush.HandlerOptions{
		ResumeWindow: time.Hour, Compression: true,
		OnConnect: func(c *wspush.Conn) {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c)
		},
		OnMessage: func(*wspush.Conn, wspush.MessageType, []byte) {
			defer callback()()
			testutil.Pass(50 * time.Microsecond)
		},
		OnSuspend: func(*wspush.Conn, error) { defer callback()() },
		OnResume:  func(*wspush.Conn) { defer callback()() },
	})
	p := arrive(t, server, "/ws", "")
	mu.Lock()
	c := conns[0]
	mu.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var pushers sync.WaitGroup
	accepted := make(map[string][]string)
	pusher := func(name string, push func(text string) error) {
		pushers.Go(func() {
			var all []string
			for i := 0; ctx.Err() == nil; i++ {
				text := fmt.Sprintf("%s %d %s", name, i, strings.Repeat("x", rand.IntN(3)*rand.IntN(2000)))
				switch err := push(text); {
				case err == nil:
					all = append(all, text)
				case errors.Is(err, wspush.ErrUnknown):
					t.Errorf("%s: %v", name, err)
				}
				testutil.Pass(time.Duration(rand.IntN(500)) * time.Microsecond)
			}
			mu.Lock()
			defer mu.Unlock()
			accepted[name] = all
		})
	}
	background := context.Background()
	send := func(opts ...wspush.PushOption) func(string) error {
		return func(text string) error { return outcome(c.Push(background, wspush.Text, []byte(text), opts...)) }
	}
	pusher("plain", send())
	pusher("hasty", send(wspush.Keep(0)))
	pusher("patient", send(wspush.Keep(2*time.Millisecond)))
	pusher("confirmed", func(text string) error {
		limited, cancel := context.WithTimeout(background, time.Duration(rand.IntN(5000))*time.Microsecond)
		defer cancel()
		return outcome(c.Push(limited, wspush.Text, []byte(text), wspush.Confirmed()))
	})
	pusher("each", func(text string) (err error) {
		for _, err = range w.PushEach(background, slices.Values([]*wspush.Conn{c}), wspush.Text, []byte(text)) {
		}
		return err
	})
	var got []string
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		for range rand.IntN(30) {
			got = append(got, p.Next())
		}
		if rand.IntN(3) > 0 {
			p.WriteFrame(textFrame("hello"))
		}
		if rand.IntN(3) > 0 {
			p.Close()
			testutil.Pass(time.Duration(rand.IntN(3)) * time.Millisecond)
		}
		p = arrive(t, server, "/ws", p.Ticket())
		if !p.Hello.Resumed || p.Hello.Missed > 0 || p.Hello.Offset != uint64(len(got)) {
			t.Fatalf("with %d messages: %s", len(got), p.Hello.Raw)
		}
	}
	stop()
	pushers.Wait()
	n := 0
	for _, all := range accepted {
		n += len(all)
	}
	for len(got) < n {
		got = append(got, p.Next())
	}
	p.WantNothing()
	arrived := make(map[string][]string)
	for _, text := range got {
		name, _, _ := strings.Cut(text, " ")
		arrived[name] = append(arrived[name], text)
	}
	for name, want := range accepted {
		if !slices.Equal(arrived[name], want) {
			t.Errorf("%s: %d messages have arrived, %d were accepted", name, len(arrived[name]), len(want))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if overlaps > 0 {
		t.Errorf("callbacks have overlapped %d times", overlaps)
	}
	t.Logf("%d messages; %+v", n, w.Stats().Sessions)
}
