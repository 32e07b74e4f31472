package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A slow client never blocks others: of 1,000 clients 10 do not read, and the others have their message before any of the 10
// has an outcome.
func TestPushEachStalled(t *testing.T) {
	t.Parallel()
	const clients, stalled = 200, 10
	const limit = 2 * time.Minute // as good as none, on however busy a machine
	w := newWorker(t, &wspush.WorkerOptions{WriteTimeout: limit})
	address := serveSmall(t, newHandler(t, w, nil), nil)
	message := []byte(big[:200<<10])
	slow := map[string]bool{}
	var reading []*testutil.Client
	for i := range clients {
		c := testutil.Handshake(t, dialSmall(t, address), testutil.Options{Timeout: limit})
		conn, _ := greeted(t, w, c)
		if i%(clients/stalled) == 0 {
			slow[conn.ID()] = true
		} else {
			reading = append(reading, c)
		}
	}
	var readers sync.WaitGroup
	for _, c := range reading {
		readers.Go(func() {
			if _, data, err := c.Message(); err != nil || !bytes.Equal(data, message) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	written, unknown := 0, 0
	for conn, err := range w.PushEach(ctx, w.Conns(), wspush.Text, message) {
		switch {
		case err == nil && !slow[conn.ID()]:
			if written++; written == clients-stalled {
				cancel() // the rest would wait for WriteTimeout
			}
		case errors.Is(err, wspush.ErrUnknown) && slow[conn.ID()] && written == clients-stalled:
			unknown++
		default:
			t.Errorf("slow: %v, written: %d, error: %v", slow[conn.ID()], written, err)
		}
	}
	if written != clients-stalled || unknown != stalled {
		t.Errorf("%d written, %d unknown", written, unknown)
	}
	readers.Wait()
}

// PushEach gives each target one outcome, whatever becomes of it.
func TestPushEach(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		go func() {
			for _, _, err := client.Message(); err == nil; _, _, err = client.Message() {
			}
		}()
		push := func(ctx context.Context, to ...*wspush.Conn) (errs []error) {
			for c, err := range w.PushEach(ctx, slices.Values(to), wspush.Text, []byte("x")) {
				if c != conn {
					t.Error("another connection")
				}
				errs = append(errs, err)
			}
			return errs
		}
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		if errs := push(context.Background()); len(errs) != 0 {
			t.Error(errs)
		}
		if errs := push(context.Background(), conn, conn, conn); len(errs) != 3 || errors.Join(errs...) != nil {
			t.Error(errs)
		}
		if errs := push(cancelled, conn, conn); len(errs) != 2 || errs[0] != context.Canceled || errs[1] != context.Canceled {
			t.Error(errs)
		}
		conn.Close(1000, "")
		if errs := push(context.Background(), conn); len(errs) != 1 || errs[0] != wspush.ErrGone {
			t.Error(errs)
		}
	})
}

// Leaving the range, or a panic in it, withdraws what has not begun, and leaves nothing of data in use.
func TestPushEachLeft(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		first := start(context.Background(), conn, "first")
		data := []byte("never")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for leave := range 2 {
			func() {
				defer func() {
					if r := recover(); (r != nil) != (leave == 1) {
						t.Errorf("recovered %v", r)
					}
				}()
				to := func(yield func(*wspush.Conn) bool) {
					for yield(conn) {
						cancel() // so that the second target has an outcome, while the first waits
					}
				}
				for range w.PushEach(ctx, to, wspush.Text, data) {
					if leave == 1 {
						panic("leaving")
					}
					break
				}
			}()
		}
		clear(data)
		client.Expect(testutil.Text, "first")
		if err := returned(t, first); err != nil {
			t.Error(err)
		}
		next := start(context.Background(), conn, "next")
		client.Expect(testutil.Text, "next")
		if err := returned(t, next); err != nil {
			t.Error(err)
		}
	})
}
