package wspush

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/socket"
)

// life is what becomes of a connection after the handshake: greeting, messages, end.
//
// At any time one goroutine of its own lives it, which Worker.Shutdown waits for through the roster. While the client is
// silent that is one that does nothing but wait, on the smallest stack there is: when something comes in it starts another
// to see to it, and ends; and the same the other way round.
type life struct {
	*Conn
	worker *Worker
	opts   *HandlerOptions
	timers timers
	ended  bool // nothing is left to be read
}

// begin is the first goroutine's.
func (l *life) begin() {
	defer l.goOn()
	l.timers.start(l.worker.alarms, l.opts.PingInterval, l.opts.IdleTimeout, l)
	l.shared.log.Debug("wspush: connected", "conn", l.String(), "remote", l.remoteAddr, "path", l.path)
	l.shared.count.accepted.Add(1)
	l.open()
	if l.opts.OnConnect != nil {
		l.call("OnConnect", func() { l.opts.OnConnect(l.Conn) })
	}
}

// await is the goroutine of a connection whose client is silent.
func (l *life) await() {
	l.socket.Await()
	go l.read()
}

// read is the goroutine of a connection whose client says something.
func (l *life) read() {
	defer l.goOn()
	for !l.ended {
		l.socket.TakePings()
		if l.socket.Idle() {
			return
		}
		l.readMessage()
	}
}

// goOn is the last thing that a goroutine does, also one that a callback has ended with runtime.Goexit: the close frame wants
// its answer all the same.
func (l *life) goOn() {
	if l.ended {
		l.finish()
	} else {
		go l.await()
	}
}

// finish releases everything, and tells the application.
func (l *life) finish() {
	defer l.worker.roster.leave(l.Conn)
	l.timers.stop()
	l.socket.Finish()
	reason := l.endReason()
	l.shared.count.end(reason.Cause)
	l.shared.log.Debug("wspush: disconnected", "conn", l.String(), "cause", reason.Cause, "code", reason.Code, "reason", reason.Reason, "error", reason.Err)
	if l.opts.OnDisconnect != nil {
		l.call("OnDisconnect", func() { l.opts.OnDisconnect(l.Conn, reason) })
	}
}

// What the timers ask of a connection.

func (l *life) stamps() (now, received, sent time.Duration) {
	s := l.socket
	return s.Now(), s.Received(), s.Sent()
}

func (l *life) ping()                     { l.socket.Ping() }
func (l *life) expire(reason *CloseError) { l.end(reason) }

// Failed and Answered are for the socket to call.

func (l *life) Failed(err error) { l.end(writeReason(err)) }
func (l *life) Answered()        { l.timers.fire() }

// open greets the client and lets publishers in, in an order that has nothing overtake the greeting and that has whoever
// reads the greeting find the connection.
func (l *life) open() {
	greeting, err := l.greeting()
	if err != nil {
		l.fail(err)
		return
	}
	l.socket.Hold(greeting)
	l.register()
	l.socket.Release()
}

// greeting makes the first message; nil if there is none.
func (l *life) greeting() (m *socket.Message, err error) {
	typ, data := Text, []byte(nil)
	if l.opts.Greeting == nil {
		data = []byte(l.SealedAddress())
		if len(data) == 0 {
			data = []byte(strings.Join(l.Addresses(), ","))
		}
	} else if !l.call("Greeting", func() { typ, data = l.opts.Greeting(l.Conn) }) {
		return nil, nil // the connection has ended
	}
	switch {
	case len(data) == 0:
		return nil, nil
	case typ != Text && typ != Binary:
		return nil, fmt.Errorf("the greeting: %w", errMessageType)
	case typ == Text && !utf8.Valid(data):
		return nil, fmt.Errorf("the greeting: %w", ErrInvalidUTF8)
	}
	return l.socket.NewMessage(typ == Binary, data, nil)
}

// readMessage reads one message, or the end of the connection. What the client says after its end is dropped: nobody
// expects it any more.
func (l *life) readMessage() {
	binary, data, err := l.socket.Read(l.opts.OnMessage != nil)
	if err != nil {
		l.ended = true
		l.end(readReason(err))
		return
	}
	if l.endReason() != nil {
		return
	}
	l.shared.count.received.Add(1)
	if l.opts.OnMessage != nil {
		typ := Text
		if binary {
			typ = Binary
		}
		l.call("OnMessage", func() { l.opts.OnMessage(l.Conn, typ, data) })
	}
}

// call runs a callback of the application. A panic in it, which is reported by false, ends the connection and nothing else.
func (l *life) call(name string, callback func()) (ok bool) {
	l.calling.Store(true)
	l.worker.roster.change()
	l.timers.pause()
	defer func() {
		if !ok {
			err := fmt.Errorf("%s did not return: runtime.Goexit", name)
			if r := recover(); r != nil {
				logPanic(l.shared.log, name, r, "conn", l.String())
				err = fmt.Errorf("panic in %s: %v", name, r)
			}
			l.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
		}
		l.timers.resume()
		l.calling.Store(false)
		l.worker.roster.change()
	}()
	callback()
	return true
}

// fail ends the connection for a mistake of the application's.
func (l *life) fail(err error) {
	l.shared.log.Error("wspush: connection given up", "conn", l.String(), "error", err)
	l.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
}
