package wspush

import (
	"context"
	"sync"

	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/wire"
)

// maxElsewhere is how many goroutines of a worker push to other workers for calls that do not wait.
const maxElsewhere = 64

// elsewhere is what goes to other workers, or has to ask one, for calls that do not wait. Its goroutines live only while something
// is to be done; whoever started that waits for its end, and ends it by its context.
type elsewhere struct {
	mu      sync.Mutex // guards what follows
	waiting []func()
	running int
}

// startElsewhere is pushElsewhere without the wait: done gets the outcome, on a goroutine that it must not block. data is read until
// then.
func (w *Worker) startElsewhere(ctx context.Context, to *seal.Place, sealedID string, typ MessageType, data []byte, o wire.PushOptions, done func(Receipt, error)) {
	w.elsewhere.start(func() { done(w.pushElsewhere(ctx, to, sealedID, typ, data, o)) })
}

// startLocate is locate without the wait, for a sealed ID for which find returns errEarlierInstance: done gets the error.
func (w *Worker) startLocate(ctx context.Context, sealedID string, done func(error)) {
	w.elsewhere.start(func() {
		_, _, err := w.locate(ctx, sealedID)
		done(err)
	})
}

func (e *elsewhere) start(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.waiting = append(e.waiting, f)
	if e.running < maxElsewhere {
		e.running++
		go e.run()
	}
}

// run does what waits, until nothing does.
func (e *elsewhere) run() {
	for {
		e.mu.Lock()
		if len(e.waiting) == 0 {
			e.running--
			e.waiting = nil
			e.mu.Unlock()
			return
		}
		f := e.waiting[0]
		e.waiting[0] = nil
		e.waiting = e.waiting[1:]
		e.mu.Unlock()
		f()
	}
}
