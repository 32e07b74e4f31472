//go:build unix

package socket

import (
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// What the network wakes has its turn at the next breath, although a goroutine for each processor is always ready to run.
func TestBreather(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var read atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for b := make([]byte, 1); ; read.Add(1) {
			if _, err := in.Read(b); err != nil {
				return
			}
		}
	}()
	b := NewBreather()
	defer b.Close()
	breaths := 0
	const messages = 100
	for i := range int64(messages) {
		if _, err := out.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		for ; read.Load() <= i; breaths++ {
			b.Breathe()
		}
	}
	// With runtime.Gosched there are thousands: as many as fit in the 10 ms after which the runtime looks by itself.
	if breaths > 10*messages {
		t.Errorf("%d breaths for %d messages", breaths, messages)
	}
	out.Close()
	<-ended
}

// Many may use one Breather at the same time, and without a pipe it does no harm.
func TestBreatherShared(t *testing.T) {
	b := NewBreather()
	defer b.Close()
	none := new(Breather)
	defer none.Close()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				b.Breathe()
				none.Breathe()
			}
		})
	}
	all.Wait()
}
