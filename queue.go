package wspush

import "sync"

// queue calls functions one after the other, in a goroutine that is there as long as there are any.
type queue struct {
	mu        sync.Mutex // guards what follows; it may be locked while a socket's lock is held
	waiting   []func()
	isRunning bool
}

// add has f called when it is its turn. running counts the goroutine.
func (q *queue) add(running *tally, f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, f)
	if !q.isRunning {
		q.isRunning = true
		running.add(1)
		go q.run(running)
	}
}

func (q *queue) run(running *tally) {
	defer running.add(-1)
	for {
		q.mu.Lock()
		waiting := q.waiting
		q.waiting = nil
		q.isRunning = len(waiting) > 0
		q.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		for _, f := range waiting {
			f()
		}
	}
}

// isBusy reports whether a function is being called, or waits for that.
func (q *queue) isBusy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.isRunning
}
