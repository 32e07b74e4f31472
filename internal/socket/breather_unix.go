//go:build unix

package socket

import (
	"os"
	"runtime"
	"sync"
	"syscall"
)

// A Breather lets goroutines that have much to do, one for each processor, give way to those that the network wakes.
//
// runtime.Gosched does not: a goroutine that calls it is the next to run if nobody else can, and while there is one that can run for
// each processor, the runtime looks at the network only every 10 ms. So Breathe waits for the network itself, for something that
// is always there: a byte in a pipe, which it has just written. Whatever else the network has brought comes with it.
type Breather struct {
	mu   sync.Mutex // guards what follows
	r, w *os.File
	raw  syscall.RawConn // of r; nil if there is no pipe
	wait func(fd uintptr) bool
	sent bool // the byte is in the pipe
	one  [1]byte
}

// NewBreather makes a Breather, which must be closed. Without descriptors to spare, Breathe is runtime.Gosched.
func NewBreather() *Breather {
	b := new(Breather)
	var err error
	if b.r, b.w, err = os.Pipe(); err != nil {
		return b
	}
	if b.raw, err = b.r.SyscallConn(); err != nil {
		b.raw = nil
		return b
	}
	b.wait = func(fd uintptr) bool {
		if !b.sent {
			b.sent = true
			_, err := b.w.Write(b.one[:])
			return err != nil // or Read waits until the runtime has seen the byte
		}
		_, _ = syscall.Read(int(fd), b.one[:])
		return true
	}
	return b
}

// Breathe lets others run. It returns soon, whatever they do.
func (b *Breather) Breathe() {
	if b.raw == nil || !b.mu.TryLock() { // somebody else is waiting for the network
		runtime.Gosched()
		return
	}
	defer b.mu.Unlock()
	b.sent = false
	_ = b.raw.Read(b.wait)
}

// Close releases the Breather, when nobody uses it any more.
func (b *Breather) Close() {
	if b.r != nil {
		_ = b.r.Close()
		_ = b.w.Close()
	}
}
