package wspushtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/session"
)

// link is what comes to a client by its WebSocket, or, for a session, by one after the other. Like a browser it reads continuously: so
// pings and the server's close are answered, and a push gets through a pipe that has no buffer, while the test does something else.
type link struct {
	dial  func(ctx context.Context, resume string) (*webSocket, error) // resume is "TICKET.OFFSET"; set once
	pings atomic.Int64

	mu          sync.Mutex    // guards the fields below, and those of WebSockets that say so
	ws          *webSocket    // the present WebSocket, or the last one
	all         []*webSocket  // that have not ended, and some that have
	inbox       []Message     // not yet taken
	end         *CloseError   // nil while more may arrive by the present WebSocket
	changed     chan struct{} // closed and replaced when inbox or end changes
	hello       hello         // the latest; zero without a session
	count       uint64        // how many messages of the session have come
	isReturning bool          // the client is coming back to its session
}

// webSocket is one of them.
type webSocket struct {
	ws         *websocket.Conn
	gate       *gate // below ws
	speaksV1   bool
	ended      chan struct{} // closed when read has returned
	greeted    chan struct{} // closed when the hello has come; not if it refuses the client
	hello      hello         // set before
	wrongHello error         // set before ended is closed

	// The link's mutex guards what follows.
	closing chan error  // nil until close is called; then it gets the outcome
	end     *CloseError // nil until it has ended
	isLeft  bool        // the client has given it up: what still comes by it does not count
}

func newLink() *link { return &link{changed: make(chan struct{})} }

func newWebSocket() *webSocket {
	return &webSocket{ended: make(chan struct{}), greeted: make(chan struct{})}
}

// begin makes a WebSocket the present one, and starts the goroutine that reads it. That ends with the connection; cut ends both.
func (l *link) begin(w *webSocket) {
	w.ws.SetReadLimit(-1)
	l.change(func() {
		l.ws, l.end = w, nil
		l.all = append(slices.DeleteFunc(l.all, (*webSocket).hasEnded), w)
	})
	go l.read(w)
}

func (l *link) read(w *webSocket) {
	defer close(w.ended)
	isFirst := w.speaksV1
	for {
		typ, data, err := w.ws.Read(context.Background())
		if err == nil && isFirst {
			isFirst = false
			if w.hello, err = parseHello(data); err == nil {
				l.greet(w)
				continue
			}
			w.wrongHello = err
		}
		if err != nil {
			_ = w.ws.CloseNow() // reading a close frame closes the connection too, but a protocol violation does not
			l.finish(w, l.endOf(w, err))
			return
		}
		m := Message{Type: wspush.Text, Data: data}
		if typ == websocket.MessageBinary {
			m.Type = wspush.Binary
		} else if w.speaksV1 {
			isControl, _, payload := session.Control(data)
			if isControl {
				continue
			}
			m.Data = payload
		}
		l.receive(w, m)
	}
}

// greet takes note of the hello of a WebSocket.
func (l *link) greet(w *webSocket) {
	if w.hello.Refused != "" { // a close frame follows
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.isLeft {
		return
	}
	l.hello, l.count = w.hello, w.hello.Offset
	close(w.greeted)
}

// receive puts a message into the inbox.
func (l *link) receive(w *webSocket, m Message) {
	l.change(func() {
		if !w.isLeft {
			l.inbox = append(l.inbox, m)
			l.count++
		}
	})
}

func (l *link) finish(w *webSocket, end *CloseError) {
	l.change(func() {
		w.end = end
		if !w.isLeft {
			l.end = end
		}
	})
}

// endOf returns how a WebSocket ended, given an error from reading.
func (l *link) endOf(w *webSocket, err error) *CloseError {
	l.mu.Lock()
	closing := w.closing
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

// present returns the present WebSocket, or the last one.
func (l *link) present() *webSocket {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ws
}

// close sends a close frame, and waits for the server's frame and for the reading goroutine. The error is nil if the server's
// frame has the same code.
func (l *link) close(code int, reason string) error {
	l.mu.Lock()
	w := l.ws
	if w.end != nil || w.closing != nil {
		l.mu.Unlock()
		<-w.ended
		return w.end
	}
	closing := make(chan error, 1)
	w.closing = closing
	l.mu.Unlock()
	err := w.ws.Close(websocket.StatusCode(code), reason)
	if err == nil {
		closing <- websocket.CloseError{Code: websocket.StatusCode(code), Reason: reason}
	} else {
		closing <- err
	}
	<-w.ended
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

// endError returns how the present WebSocket ended, or nil if it has not.
func (l *link) endError() *CloseError {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// cut ends the present WebSocket without a close frame, unless it has ended, and waits for the reading goroutine.
func (l *link) cut() { l.present().cut() }

// cutAll does so with all that there have been.
func (l *link) cutAll() {
	l.mu.Lock()
	all := slices.Clone(l.all)
	l.mu.Unlock()
	for _, w := range all {
		w.cut()
	}
}

func (w *webSocket) cut() {
	_ = w.gate.Close()
	<-w.ended
}

func (w *webSocket) hasEnded() bool { return w.end != nil }
