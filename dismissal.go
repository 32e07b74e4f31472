package wspush

import (
	"context"
	"sync"

	"github.com/wspush/wspush/internal/socket"
)

// dismissal is what a client is told in place of becoming a connection, over a WebSocket, since a browser shows a page neither the status nor
// the body of a refused handshake.
type dismissal struct {
	hello  []byte // the first message; nil: none
	code   int    // of the close frame
	reason string
}

// maxDismissals is how many clients may be told at a time. More are refused with a status.
const maxDismissals = 256

// dismissals are the WebSockets on which clients are being dismissed.
type dismissals struct {
	mu       sync.Mutex // guards what follows
	n        int        // also those whose handshake is still under way
	sockets  map[*socket.Socket]bool
	isClosed bool
	empty    chan struct{} // closed when there are none; nil while nobody waits for that
}

// reserve takes a place for a handshake, if there is one. release, or begin, is for each that has been taken.
func (d *dismissals) reserve() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isClosed || d.n >= maxDismissals {
		return false
	}
	d.n++
	return true
}

func (d *dismissals) release() { d.end(nil) }

// begin dismisses the client of a life, in a place that was reserved. The connection of the life is in no roster.
func (d *dismissals) begin(l *life, what *dismissal) {
	d.mu.Lock()
	if d.sockets == nil {
		d.sockets = make(map[*socket.Socket]bool)
	}
	d.sockets[l.socket] = true
	isClosed := d.isClosed
	d.mu.Unlock()
	if isClosed {
		l.socket.Reset()
	}
	go func() {
		defer d.end(l.socket)
		what.tell(l)
	}()
}

// beginNow is begin without a reserved place: the client's handshake is done, and it has to be told.
func (d *dismissals) beginNow(l *life, what *dismissal) {
	d.mu.Lock()
	d.n++
	d.mu.Unlock()
	d.begin(l, what)
}

func (d *dismissals) end(s *socket.Socket) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.sockets, s)
	if d.n--; d.n == 0 && d.empty != nil {
		close(d.empty)
		d.empty = nil
	}
}

// tell says it, and waits for the end of the WebSocket, which takes WriteTimeout and socket.Linger at most.
func (d *dismissal) tell(l *life) {
	if d.hello != nil {
		l.socket.Hold(socket.NewHello(d.hello), nil)
		l.socket.Release()
	}
	l.socket.Close(d.code, d.reason)
	for {
		if _, _, err := l.socket.Read(false); err != nil {
			break
		}
	}
	l.socket.Finish()
}

// stop lets no more in, and waits for those that are there. When ctx ends, it cuts them off.
func (d *dismissals) stop(ctx context.Context) {
	d.mu.Lock()
	d.isClosed = true
	var empty chan struct{}
	if d.n > 0 {
		if d.empty == nil {
			d.empty = make(chan struct{})
		}
		empty = d.empty
	}
	d.mu.Unlock()
	if empty == nil {
		return
	}
	select {
	case <-empty:
		return
	case <-ctx.Done():
	}
	d.mu.Lock()
	inHandshake := d.n > len(d.sockets) // which a server may not have finished
	var left []*socket.Socket
	for s := range d.sockets {
		left = append(left, s)
	}
	d.mu.Unlock()
	for _, s := range left {
		s.Reset()
	}
	if !inHandshake {
		<-empty
	}
}
