package bulk

import (
	"sync"
	"time"
)

// Wholes remembers for a while to which servers requests should go whole: see Request.NeedsWhole. Each new request would otherwise
// take a second to find it out. The zero value is ready to use.
type Wholes struct {
	mu    sync.Mutex           // guards until
	until map[string]time.Time // by server
}

const (
	maxWholes = 1024 // servers that are remembered
	wholeFor  = 5 * time.Minute
)

// Note takes note of what the latest request to that server has found out.
func (w *Wholes) Note(server string, r *Request) {
	if !r.NeedsWhole() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.until == nil {
		w.until = make(map[string]time.Time)
	}
	if _, ok := w.until[server]; !ok && len(w.until) >= maxWholes {
		for any := range w.until {
			delete(w.until, any)
			break
		}
	}
	w.until[server] = time.Now().Add(wholeFor)
}

// Has reports whether requests to that server should be whole.
func (w *Wholes) Has(server string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	until, ok := w.until[server]
	if ok && !time.Now().Before(until) {
		delete(w.until, server)
		ok = false
	}
	return ok
}
