package wspush_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A user who moves from connection to connection, and always has one, is never gone: not even if the one that was found has ended before the
// message came to it.
func TestPushToWhoMoves(t *testing.T) {
	for name, newWorkers := range map[string]func(t *testing.T) ([]*wspush.Worker, []string){
		"in one process": func(t *testing.T) ([]*wspush.Worker, []string) {
			opts := *quiet()
			opts.AuthorizePush = anybody
			w := newWorker(t, &opts)
			return []*wspush.Worker{w}, []string{serve(t, w, asQuery())}
		},
		"with a directory": func(t *testing.T) ([]*wspush.Worker, []string) {
			m := newTeam(t, 2, false, nil)
			return m.workers, m.servers
		},
		"with peers": func(t *testing.T) ([]*wspush.Worker, []string) {
			m := newTeam(t, 2, true, nil)
			return m.workers, m.servers
		},
	} {
		t.Run(name, func(t *testing.T) {
			workers, servers := newWorkers(t)
			var reading sync.WaitGroup
			connect := func(i int) *testutil.Client {
				client, _ := as(t, workers[i], servers[i], "ann")
				reading.Go(func() {
					for err := error(nil); err == nil; {
						_, _, err = client.Message()
					}
				})
				return client
			}
			client := connect(0)
			var over atomic.Bool
			var pushing sync.WaitGroup
			var pushes, found, gone atomic.Int64
			for _, w := range workers {
				for range 2 {
					pushing.Go(func() {
						for !over.Load() {
							o, err := w.User("ann").Push(context.Background(), wspush.Text, []byte("x"))
							if errors.Is(err, wspush.ErrGone) {
								t.Logf("%+v, %v", o, err)
								gone.Add(1)
							}
							pushes.Add(1)
							if err == nil {
								found.Add(1)
							}
						}
					})
				}
			}
			for i := range 500 {
				next := connect(i % len(workers))
				client.SendClose(1000, "")
				client = next
			}
			over.Store(true)
			pushing.Wait()
			client.SendClose(1000, "")
			reading.Wait()
			// Of several workers, who moves on twice while it is looked up twice leaves no trace.
			if n := int(gone.Load()); n > 0 && (len(workers) == 1 || n > 5) {
				t.Errorf("of %d pushes, %d found her gone", pushes.Load(), n)
			}
			if found.Load() < pushes.Load()/2 {
				t.Errorf("of %d pushes, %d found her", pushes.Load(), found.Load())
			}
		})
	}
}
