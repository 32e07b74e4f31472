package wspushtest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// link is a client's WebSocket. Like a browser it reads continuously: so pings and the server's close are answered, and a push
// gets through a pipe that has no buffer, while the test does something else.
type link struct {
	ws    *websocket.Conn
	gate  *gate // below ws
	pings atomic.Int64
	ended chan struct{} // closed when read has returned

	mu      sync.Mutex    // guards the fields below
	inbox   []Message     // not yet taken
	end     *CloseError   // nil while more may arrive
	changed chan struct{} // closed and replaced when inbox or end changes
	closing chan error    // nil until close is called; then it gets the outcome
}

// newLink makes a link; set its gate and call begin before using it.
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
			_ = l.ws.CloseNow() // reading a close frame closes the connection too, but a protocol violation does not
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

// endOf returns how the connection ended, given an error from reading.
func (l *link) endOf(err error) *CloseError {
	l.mu.Lock()
	closing := l.closing
	l.mu.Unlock()
	var frame websocket.CloseError
	if closing != nil {
		if errClosing := <-closing; !errors.As(err, &frame) { // the call to close may have read the frame
			err = errClosing
		}
	}
	if errors.As(err, &frame) {
		return &CloseError{Code: int(frame.Code), Reason: frame.Reason}
	}
	return &CloseError{Code: codeAbnormal}
}

// close sends a close frame, and waits for the server's frame and for the reading goroutine. The error is nil if the server's
// frame has the same code.
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

// next takes the next message. The error is a *CloseError, or ctx's.
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

// take takes the next queued message; if there is none yet, wait for changed.
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

// endError returns how the connection ended, or nil if it has not.
func (l *link) endError() *CloseError {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// cut ends the connection without a close frame, unless it has ended, and waits for the reading goroutine.
func (l *link) cut() {
	_ = l.gate.Close()
	<-l.ended
}
