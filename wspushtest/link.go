package wspushtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// link is the WebSocket of a client. Like a browser it reads all the time: so pings are answered, a push is written on a pipe
// that has no buffer, and the server's close is answered, while the test does something else.
type link struct {
	ws    *websocket.Conn
	gate  *gate // below ws
	pings atomic.Int64
	ended chan struct{} // closed when read has returned

	mu      sync.Mutex    // guards what follows
	inbox   []Message     // not taken yet
	end     *CloseError   // nil while there may come more
	changed chan struct{} // closed, and replaced, when one of these two changes
	closing chan error    // nil until close is called; then it gets the outcome
}

// newLink makes a link, which needs a gate, and then begin.
func newLink() *link { return &link{ended: make(chan struct{}), changed: make(chan struct{})} }

// begin starts the goroutine that reads. It ends with the connection; cut ends both.
func (l *link) begin(ws *websocket.Conn) {
	ws.SetReadLimit(-1)
	l.ws = ws
	go l.read()
}

func (l *link) read() {
	defer close(l.ended)
	for {
		typ, data, err := l.ws.Read(context.Background())
		if err != nil {
			_ = l.ws.CloseNow() // which a close frame does by itself, but not a server that breaks the protocol
			end := l.endOf(err)
			l.change(func() { l.end = end })
			return
		}
		m := Message{Type: wspush.Text, Data: data}
		if typ == websocket.MessageBinary {
			m.Type = wspush.Binary
		}
		l.change(func() { l.inbox = append(l.inbox, m) })
	}
}

// endOf is how the connection has ended, after an error of reading.
func (l *link) endOf(err error) *CloseError {
	l.mu.Lock()
	closing := l.closing
	l.mu.Unlock()
	var frame websocket.CloseError
	if closing != nil {
		if errClosing := <-closing; !errors.As(err, &frame) { // then the close may have come upon it
			err = errClosing
		}
	}
	if errors.As(err, &frame) {
		return &CloseError{Code: int(frame.Code), Reason: frame.Reason}
	}
	return &CloseError{Code: codeAbnormal}
}

// close sends a close frame, waits for the server's, and for the goroutine that reads. The error is nil if the server's has the
// same code.
func (l *link) close(code int, reason string) error {
	l.mu.Lock()
	if l.end != nil || l.closing != nil {
		l.mu.Unlock()
		<-l.ended
		return l.endError()
	}
	closing := make(chan error, 1)
	l.closing = closing
	l.mu.Unlock()
	err := l.ws.Close(websocket.StatusCode(code), reason)
	if err == nil {
		closing <- websocket.CloseError{Code: websocket.StatusCode(code), Reason: reason}
	} else {
		closing <- err
	}
	<-l.ended
	return err
}

func (l *link) change(what func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what()
	close(l.changed)
	l.changed = make(chan struct{})
}

// next takes the next message. The error is the *CloseError, or ctx's.
func (l *link) next(ctx context.Context) (Message, error) {
	for {
		m, changed, err := l.take()
		if changed == nil {
			return m, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// take takes what there is; if there is nothing yet, changed is to be waited for.
func (l *link) take() (m Message, changed <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.inbox) > 0:
		m, l.inbox = l.inbox[0], l.inbox[1:]
		return m, nil, nil
	case l.end != nil:
		return m, nil, l.end
	}
	return m, l.changed, nil
}

// endError is how the connection ended, or nil if it has not.
func (l *link) endError() *CloseError {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// cut ends the connection without a close frame, if it has not ended, and waits for the goroutine that reads.
func (l *link) cut() {
	_ = l.gate.Close()
	<-l.ended
}
