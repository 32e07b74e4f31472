package wspush

import (
	"fmt"
	"time"

	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// life runs a connection after the handshake: greeting, messages, end.
//
// At any time exactly one goroutine runs it, and Worker.Shutdown waits for that goroutine through the roster. While the client
// is silent, it does nothing but wait, on the smallest possible stack. When something comes in, it starts another goroutine to
// handle that, and ends; once the client is silent again, that one starts a waiting goroutine in turn. Every field is owned by
// the goroutine that runs the connection, except socket, and timers, which lock themselves.
type life struct {
	*Conn
	socket  *socket.Socket // set once, when the handshake is done
	handler *Handler
	timers  timers
	expiry  expiry // set once by ask: each WebSocket of a session has its own
	ended   bool   // nothing is left to read
}

// welcome is the first goroutine: it greets the client. why is why the connection is new although the client wanted another one, or "".
func (l *life) welcome(why string) {
	defer l.goOn()
	defer l.rest()
	l.timers.start(l.handler.worker.alarms, l.handler.opts.PingInterval, l.handler.opts.IdleTimeout, l)
	l.shared.log.Debug("wspush: connected", "conn", l.String(), "remote", l.remoteAddr, "path", l.path.String())
	l.shared.count.accepted.Add(1)
	l.open(why)
	if l.handler.opts.OnConnect != nil {
		l.call("OnConnect", func() { l.handler.opts.OnConnect(l.Conn) })
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
	l.timers.stop()
	l.socket.Finish()
	if l.session.isSession() {
		l.session.handOn(l)
		return
	}
	defer l.handler.worker.roster.leave(l.Conn)
	l.conclude(l.handler.worker, &l.handler.opts)
}

// conclude is the end of a connection, for which it has no WebSocket any more: it calls OnDisconnect.
func (c *Conn) conclude(w *Worker, opts *HandlerOptions) {
	if c.session.isSession() {
		c.outbox.End() // which carryOut may be about to do
	}
	c.awaitSends(w)
	reason := c.endReason()
	c.shared.count.end(reason.Cause)
	c.shared.count.unconfirmed.Add(uint64(len(c.outbox.Unconfirmed())))
	defer c.outbox.Forget()
	c.shared.log.Debug("wspush: disconnected", "conn", c.String(), "cause", reason.Cause, "code", reason.Code, "reason", reason.Reason, "error", reason.Err)
	if opts.OnDisconnect != nil {
		c.call(w, "OnDisconnect", func() { opts.OnDisconnect(c, reason) })
	}
}

// stamps, left, ping and expire are for the timers to call.

func (l *life) stamps() (now, received, sent time.Duration) {
	s := l.socket
	return s.Now(), s.Received(), s.Sent()
}

func (l *life) left(now time.Duration) time.Duration {
	left := forever
	if l.handler.opts.MaxAge > 0 {
		left = ageOf(l.handler.opts.MaxAge, l.id) - l.age(now)
	}
	if l.expiry != 0 {
		left = min(left, l.expiry.left(time.Now()))
	}
	return left
}

// age returns how old the WebSocket is at a time now by the connection's clock, which for a session began with the first one.
func (l *life) age(now time.Duration) time.Duration {
	if l.session == nil {
		return now
	}
	return now - time.Duration(l.session.began.Load())
}

func (l *life) ping()                     { l.socket.Ping() }
func (l *life) expire(reason *CloseError) { l.lost(reason) }

// Failed and Answered are for the socket to call.

func (l *life) Failed(err error) { l.lost(writeReason(err)) }
func (l *life) Answered()        { l.timers.fire() }

// open greets the client and then opens the connection to pushes.
//
// The connection can be found before its Groups and its Greeting are called, which are the first to learn its ID: a publisher that has the ID
// gets ErrBusy for a client that is about to be there, never ErrGone. Hold puts the greeting first in line, so nothing can
// overtake it. The connection is listed before Release lets the greeting out: a client that has its greeting is among
// Worker.Conns, and a member of what it is a member of, through every worker unless the Directory is down.
func (l *life) open(why string) {
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
	l.socket.Hold(l.firstHello(why), greeting)
	l.setOpen()
	l.awaitDirectory()
	l.socket.Release()
}

// firstHello makes the hello of a new connection, or returns nil if its client does not speak wspush.v1.
func (l *life) firstHello(why string) *socket.Message {
	k := l.session
	if k == nil {
		return nil
	}
	h := session.Hello{Why: why, Protocol: k.protocol} // which nobody changes before the client has its first ticket
	if k.isSession() {
		l.mu.Lock()
		h.Ticket = k.ticketLocked()
		l.mu.Unlock()
	}
	return k.hello(h)
}

// greeting makes the first message, or returns nil if there is none.
func (l *life) greeting() (m *socket.Message, err error) {
	typ, data := Text, []byte(nil)
	if l.handler.opts.Greeting == nil {
		if l.session != nil {
			return nil, nil // the hello says it
		}
		data = []byte(l.addressText())
	} else if !l.call("Greeting", func() { typ, data = l.handler.opts.Greeting(l.Conn) }) {
		return nil, nil // the connection has ended
	}
	if len(data) == 0 {
		return nil, nil
	}
	if err := wire.CheckMessage(typ, data, -1); err != nil {
		return nil, fmt.Errorf("the greeting: %w", wire.Inside(err))
	}
	return socket.NewMessage(typ == Binary, data, nil), nil
}

// readMessage reads one message, or the end of the connection. What the client sends after the connection has ended is dropped:
// OnMessage no longer expects it.
func (l *life) readMessage() {
	speaks := l.session != nil
	binary, data, err := l.socket.Read(speaks || l.handler.opts.OnMessage != nil)
	if err != nil {
		l.ended = true
		l.lost(readReason(err))
		return
	}
	if !l.enter() {
		return
	}
	defer l.rest()
	if speaks && !binary {
		isControl, word, payload := session.Control(data)
		if isControl {
			if string(word) == session.ProbeWord {
				l.socket.AnswerProbe()
			}
			return
		}
		data = payload
	}
	l.shared.count.received.Add(1)
	if l.handler.opts.OnMessage != nil {
		typ := Text
		if binary {
			typ = Binary
		}
		l.call("OnMessage", func() { l.handler.opts.OnMessage(l.Conn, typ, data) })
	}
}

// call runs a callback of the application while the client is not read.
func (l *life) call(name string, callback func()) (ok bool) {
	l.timers.pause()
	defer l.timers.resume()
	return l.Conn.call(l.handler.worker, name, callback)
}

// call runs a callback of the application. A panic in it, which is reported by false, ends the connection and nothing else.
func (c *Conn) call(w *Worker, name string, callback func()) (ok bool) {
	c.calling.Store(true)
	w.roster.change()
	defer func() {
		if !ok {
			err := fmt.Errorf("%s did not return: runtime.Goexit", name)
			if r := recover(); r != nil {
				logPanic(c.shared.log, name, r, "conn", c.String())
				err = fmt.Errorf("panic in %s: %v", name, r)
			}
			c.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
		}
		c.calling.Store(false)
		w.roster.change()
	}()
	callback()
	return true
}

// fail ends the connection because of a mistake in the application.
func (l *life) fail(err error) {
	l.shared.log.Error("wspush: connection given up", "conn", l.String(), "error", err)
	l.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
}
