//go:build unix

package wspush_test

import (
	"context"
	"io"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// cpu returns the processor time of the process until now.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A push to a user with one connection, beside one to that connection; and to a group of 1,000, beside PushEach. The two alternate, so
// that what else the machine does hits both.
func BenchmarkRecipients(b *testing.B) {
	ctx := context.Background()
	w := newWorker(b, quiet())
	server := serve(b, w, asQuery())
	b.Run("user", func(b *testing.B) {
		c := testutil.Dial(b, server, testutil.Options{Path: "/ws?user=42"})
		conn, _ := greeted(b, w, c)
		const batch = 200
		read := make([]byte, batch*(len(payload)+2))
		// It reads between the batches: one that is woken by each message costs the more, the slower they come.
		rest := func() { _, _ = io.ReadFull(c.Conn(), read) }
		toConn := func() { _, _ = conn.Push(ctx, wspush.Text, payload) }
		b.Run("noise", func(b *testing.B) { compare(b, batch, rest, toConn, toConn) })
		b.Run("push", func(b *testing.B) {
			compare(b, batch, rest, toConn, func() { _, _ = w.User("42").Push(ctx, wspush.Text, payload) })
		})
	})
	b.Run("group=1000", func(b *testing.B) {
		var conns []*wspush.Conn
		for range 1000 {
			c := testutil.Dial(b, server, testutil.Options{Path: "/ws?group=room"})
			conn, _ := greeted(b, w, c)
			conns = append(conns, conn)
			go drain(c)
		}
		compare(b, 5, func() {}, func() {
			for range w.PushEach(ctx, slices.Values(conns), wspush.Text, payload) {
			}
		}, func() {
			if o, err := w.Group("room").Push(ctx, wspush.Text, payload); err != nil || o.Written != len(conns) {
				b.Error(o, err)
			}
		})
	})
}

func drain(c *testutil.Client) {
	buf := make([]byte, 64<<10)
	for {
		if _, err := c.Conn().Read(buf); err != nil {
			return
		}
	}
}

// compare reports how much more processor time the second takes than the first.
func compare(b *testing.B, batch int, rest, first, second func()) {
	var ratios []float64
	for b.Loop() {
		var took [2]time.Duration
		for round := range 4 {
			which := (round + round/2) % 2
			begin := cpu()
			for range batch {
				[]func(){first, second}[which]()
			}
			took[which] += cpu() - begin
			rest()
		}
		ratios = append(ratios, float64(took[1])/float64(took[0]))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "times")
}
