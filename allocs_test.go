package wspush_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A push in the same process to a client that takes it costs no allocation, by whatever door, nor does looking for a
// connection; with a context that can end, too, and for a message of several writes.
func TestAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	w := newWorker(t, quiet())
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(io.Discard, client.Conn()) })
	defer reading.Wait()
	defer client.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	id, unknown := strings.Clone(conn.ID()), "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	message, long := []byte("hello"), []byte(big[:40_000])
	check := func(t *testing.T, err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for name, call := range map[string]func(t *testing.T){
		"Worker.Push":        func(t *testing.T) { _, err := w.Push(context.Background(), id, wspush.Text, message); check(t, err) },
		"Conn.Push":          func(t *testing.T) { _, err := conn.Push(context.Background(), wspush.Binary, message); check(t, err) },
		"an empty message":   func(t *testing.T) { _, err := conn.Push(context.Background(), wspush.Text, nil); check(t, err) },
		"a long message":     func(t *testing.T) { _, err := conn.Push(context.Background(), wspush.Text, long); check(t, err) },
		"with a context":     func(t *testing.T) { _, err := w.Push(ctx, id, wspush.Text, message); check(t, err) },
		"a lookup":           func(t *testing.T) { w.Conn(id) },
		"a lookup in vain":   func(t *testing.T) { w.Conn(unknown) },
		"to nobody":          func(t *testing.T) { _, _ = w.Push(context.Background(), unknown, wspush.Text, message) },
		"how many there are": func(t *testing.T) { w.Len() },
	} {
		t.Run(name, func(t *testing.T) {
			if n := testing.AllocsPerRun(500, func() { call(t) }); n >= 1 {
				t.Errorf("%v allocations", n)
			}
		})
	}
	// One connection again and again would not do: a writer that has not given back its turn makes the next message to it wait, and whoever
	// waits is told on the heap.
	t.Run("PushEach", func(t *testing.T) { // for each of the connections
		server := serve(t, w, nil)
		many := make([]*wspush.Conn, 50)
		for i := range many {
			client, conn, _ := dial(t, w, server, testutil.Options{})
			many[i] = conn
			reading.Go(func() { _, _ = io.Copy(io.Discard, client.Conn()) })
			defer client.Close()
		}
		n := testing.AllocsPerRun(100, func() {
			for _, err := range w.PushEach(context.Background(), slices.Values(many), wspush.Text, message) {
				check(t, err)
			}
		})
		if n >= 25 {
			t.Errorf("%v allocations for %d connections", n, len(many))
		}
	})
}
