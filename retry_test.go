package wspush_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
)

// A push that has been sent again, since the worker in its address has ended, can be given up: nothing comes of it then, and that is known at once.
func TestAbandonSentAgain(t *testing.T) {
	inFleet(t, 4, userOpts(), func(t *testing.T, f *fleet) {
		if f.isAlone {
			t.Skip("without a register of owners, nothing is sent again")
		}
		a, b := f.stations[0], f.stations[1]
		p := a.visitAs("ann", "")
		conn := a.conns[0]
		sealed := conn.SealedID()
		p.Close()
		q := b.visitAs("ann", p.Ticket())
		f.forget()
		if err := a.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		q.Close()
		synctest.Wait()

		for i, push := range []func(ctx context.Context) error{
			func(ctx context.Context) error {
				_, err := f.stations[2].Push(ctx, sealed, wspush.Text, []byte("kept"), wspush.Keep(time.Minute))
				return err
			},
			func(ctx context.Context) error {
				_, err := f.stations[3].Push(ctx, sealed, wspush.Text, []byte("kept"), wspush.Keep(time.Minute), wspush.Confirmed())
				return err
			},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			begun := time.Now()
			if err := push(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, wspush.ErrUnknown) {
				t.Errorf("%d: %v", i, err)
			}
			if took := time.Since(begun); took != 3*time.Second {
				t.Errorf("%d: known after %v", i, took)
			}
			cancel()
		}
		moved, ok := b.Conn(conn.ID())
		if !ok {
			t.Fatal("the session is not there")
		}
		b.push(moved, "last", wspush.Buffered)
		q = b.visitAs("ann", q.Ticket())
		q.Want("last")
	})
}
