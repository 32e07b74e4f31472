package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// numbered returns a message that has its number in every part, so that a piece of another message shows.
func numbered(i, size int) []byte {
	return []byte(strings.Repeat(fmt.Sprintf("%d;", i), 1+size/len(fmt.Sprintf("%d;", i))))
}

// numberOf returns the number of a message, and whether the message is whole and pure.
func numberOf(message []byte) (i int, whole bool) {
	_, err := fmt.Sscanf(string(message), "%d;", &i)
	return i, err == nil && string(message) == string(numbered(i, len(message)-len(fmt.Sprintf("%d;", i))))
}

// Message structs are reused as soon as their callers have the outcome, and one pool serves all connections. Here, publishers
// whose contexts end before, during or after the push, or never, push to two clients, one of which vanishes. Each outcome must
// be that of the caller's own message, and each message must arrive once, as it was pushed, at its own client.
func TestOutcomesAreTheCallers(t *testing.T) {
	for name, connect := range stages {
		t.Run(name, func(t *testing.T) {
			const publishers, each = 8, 100
			w := newWorker(t, &wspush.WorkerOptions{MaxPending: -1})
			h := newHandler(t, w, nil)
			join := func() (*testutil.Client, *wspush.Conn) {
				client := testutil.Handshake(t, connect(t, h), testutil.Options{})
				conn, _ := greeted(t, w, client)
				return client, conn
			}
			stays, staying := join()
			leaves, leaving := join()

			// Even messages go to the client that stays, odd ones to the other.
			outcomes := make([]error, publishers*each)
			var sending sync.WaitGroup
			for p := range publishers {
				sending.Go(func() {
					for n := range each {
						i := p*each + n
						conn := staying
						if i%2 == 1 {
							conn = leaving
						}
						size := rand.IntN(200)
						if n%20 < 2 {
							size = rand.IntN(60_000) // more than the stage's buffers take at once
						}
						ctx, cancel := context.WithCancel(context.Background())
						switch kind := rand.IntN(8); {
						case p < publishers/2 || kind < 2:
							// never ends
						case kind == 2:
							cancel()
						default:
							defer time.AfterFunc(time.Duration(rand.IntN(1000))*time.Microsecond, cancel).Stop()
						}
						was := conn.Context().Err()
						data := numbered(i, size)
						_, err := conn.Push(ctx, wspush.Text, data)
						clear(data) // it is the caller's again
						outcomes[i] = err
						switch {
						case errors.Is(err, context.Canceled) != (err == context.Canceled), errors.Is(err, context.Canceled) && ctx.Err() == nil:
							t.Errorf("message %d: %v, but the context says %v", i, err, ctx.Err())
						case p < publishers/2 && conn == staying && err != nil:
							t.Errorf("message %d, with all the time there is: %v", i, err)
						case was != nil && err != context.Canceled && !errors.Is(err, wspush.ErrGone):
							t.Errorf("message %d, to a connection that had ended: %v", i, err)
						}
						cancel()
					}
				})
			}
			arrived := make([]int, len(outcomes)) // of each half by one goroutine
			take := func(message []byte, odd int) {
				i, whole := numberOf(message)
				if !whole || i%2 != odd {
					t.Errorf("client %d got %.60q", odd, message)
					return
				}
				arrived[i]++
			}
			var reading sync.WaitGroup
			reading.Go(func() {
				defer leaves.Close()
				for range publishers * each / 8 {
					_, message, err := leaves.Message()
					if err != nil {
						t.Error(err)
						return
					}
					take(message, 1)
				}
			})
			reading.Go(func() {
				for {
					_, message, err := stays.Message()
					if err != nil {
						t.Error(err)
						return
					}
					if string(message) == "end" {
						return
					}
					take(message, 0)
				}
			})
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				sending.Wait()
			}()
			receive(t, "the outcomes", sent)
			if _, err := staying.Push(context.Background(), wspush.Text, []byte("end")); err != nil {
				t.Error(err)
			}
			reading.Wait()

			count := map[string]int{}
			for i, err := range outcomes {
				client := []string{"stays", "leaves"}[i%2]
				times := arrived[i]
				switch {
				case err == nil && (times == 1 || times == 0 && i%2 == 1):
					count[client+": written"]++
				case errors.Is(err, wspush.ErrUnknown) && (times == 1 || times == 0 && i%2 == 1): // the connection went on: it has to come
					count[client+": unknown"]++
				case err == context.Canceled && times == 0:
					count[client+": withdrawn"]++
				case errors.Is(err, wspush.ErrGone) && times == 0 && i%2 == 1:
					count[client+": gone"]++
				default:
					t.Errorf("message %d to the client that %s arrived %d times; Push said %v", i, client, times, err)
				}
			}
			t.Log(count)
		})
	}
}
