package wspush

import (
	"fmt"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// life runs a connection after the handshake: greeting, messages, end.
//
// At any time exactly one goroutine runs it, and Worker.Shutdown waits for that goroutine through the roster. While the client
// is silent, it does nothing but wait, on the smallest possible stack. When something comes in, it starts another goroutine to
// handle that, and ends; once the client is silent again, that one starts a waiting goroutine in turn. Every field is owned by
// the goroutine that runs the connection, except timers, which lock themselves.
type life struct {
	*Conn
	worker *Worker
	opts   *HandlerOptions
	timers timers
	expiry expiry // set once by admit
	ended  bool   // nothing is left to read
}

// welcome is the first goroutine: it greets the client.
func (l *life) welcome() {
	defer l.goOn()
	l.timers.start(l.worker.alarms, l.opts.PingInterval, l.opts.IdleTimeout, l)
	l.shared.log.Debug("wspush: connected", "conn", l.String(), "remote", l.remoteAddr, "path", l.path.String())
	l.shared.count.accepted.Add(1)
	l.open()
	if l.opts.OnConnect != nil {
		l.call("OnConnect", func() { l.opts.OnConnect(l.Conn) })
	}
}

// await is the goroutine of a connection while its client is silent.
func (l *life) await() {
	l.socket.Await()
	go l.read()
}

// read is the goroutine of a connection while its client sends something.
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

// goOn hands the connection to the next goroutine, or finishes it. It is the last thing that a goroutine does, even one that a
// callback ends with runtime.Goexit: the client's answer to the close frame must still be read.
func (l *life) goOn() {
	if l.ended {
		l.finish()
	} else {
		go l.await()
	}
}

// finish releases everything and calls OnDisconnect.
func (l *life) finish() {
	defer l.worker.roster.leave(l.Conn)
	l.timers.stop()
	l.socket.Finish()
	l.awaitSends()
	reason := l.endReason()
	l.shared.count.end(reason.Cause)
	l.shared.log.Debug("wspush: disconnected", "conn", l.String(), "cause", reason.Cause, "code", reason.Code, "reason", reason.Reason, "error", reason.Err)
	if l.opts.OnDisconnect != nil {
		l.call("OnDisconnect", func() { l.opts.OnDisconnect(l.Conn, reason) })
	}
}

// stamps, left, ping and expire are for the timers to call.

func (l *life) stamps() (now, received, sent time.Duration) {
	s := l.socket
	return s.Now(), s.Received(), s.Sent()
}

func (l *life) left(now time.Duration) time.Duration {
	left := forever
	if l.opts.MaxAge > 0 {
		left = ageOf(l.opts.MaxAge, l.id) - now
	}
	if l.expiry != 0 {
		left = min(left, l.expiry.left(time.Now()))
	}
	return left
}

func (l *life) ping()                     { l.socket.Ping() }
func (l *life) expire(reason *CloseError) { l.end(reason) }

// Failed and Answered are for the socket to call.

func (l *life) Failed(err error) { l.end(writeReason(err)) }
func (l *life) Answered()        { l.timers.fire() }

// open greets the client and then opens the connection to pushes.
//
// The connection can be found before its Groups and its Greeting are called, which are the first to learn its ID: a publisher that has the ID
// gets ErrBusy for a client that is about to be there, never ErrGone. Hold puts the greeting first in line, so nothing can
// overtake it. The connection is listed before Release lets the greeting out: a client that has its greeting is among
// Worker.Conns, and a member of what it is a member of, through every worker unless the Directory is down.
func (l *life) open() {
	l.register()
	if err := l.joinGroups(); err != nil {
		l.fail(err)
		return
	}
	greeting, err := l.greeting()
	if err != nil {
		l.fail(err)
		return
	}
	l.socket.Hold(greeting)
	l.setOpen()
	l.awaitDirectory()
	l.socket.Release()
}

// greeting makes the first message, or returns nil if there is none.
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
	if len(data) == 0 {
		return nil, nil
	}
	if err := wire.CheckMessage(typ, data, -1); err != nil {
		return nil, fmt.Errorf("the greeting: %w", err)
	}
	return l.socket.NewMessage(typ == Binary, data, nil), nil
}

// readMessage reads one message, or the end of the connection. What the client sends after the connection has ended is dropped:
// OnMessage no longer expects it.
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

// fail ends the connection because of a mistake in the application.
func (l *life) fail(err error) {
	l.shared.log.Error("wspush: connection given up", "conn", l.String(), "error", err)
	l.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
}
