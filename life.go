package wspush

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/socket"
)

// life is what becomes of a connection after the handshake: greeting, messages, end.
type life struct {
	*Conn
	roster *roster
	opts   *Options
	timers *timers
}

// live lives it, on the connection's own goroutine, which Worker.Shutdown waits for.
func live(c *Conn, roster *roster, opts *Options) {
	s := c.socket
	l := life{c, roster, opts, startTimers(opts.PingInterval, opts.IdleTimeout,
		func() (now, received, sent time.Duration) { return s.Now(), s.Received(), s.Sent() },
		s.Ping,
		func(reason *CloseError) { c.end(reason) })}
	c.shared.log.Debug("wspush: connected", "conn", c.String(), "remote", c.remoteAddr, "path", c.path)
	c.shared.count.accepted.Add(1)
	defer roster.leave(c)
	defer l.finish()
	reading := true
	defer func() {
		if reading { // a callback has ended the goroutine with runtime.Goexit: the close frame wants its answer all the same
			l.read()
		}
	}()
	l.open()
	if opts.OnConnect != nil {
		l.call("OnConnect", func() { opts.OnConnect(c) })
	}
	l.read()
	reading = false
}

// finish releases everything, and tells the application.
func (l life) finish() {
	l.timers.stop()
	l.socket.Finish()
	reason := l.endReason()
	l.shared.log.Debug("wspush: disconnected", "conn", l.String(), "cause", reason.Cause, "code", reason.Code, "reason", reason.Reason, "error", reason.Err)
	if l.opts.OnDisconnect != nil {
		l.call("OnDisconnect", func() { l.opts.OnDisconnect(l.Conn, reason) })
	}
}

// open greets the client and lets publishers in, in an order that has nothing overtake the greeting and that has whoever
// reads the greeting find the connection.
func (l life) open() {
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
func (l life) greeting() (m *socket.Message, err error) {
	typ, data := Text, []byte(nil)
	if l.opts.Greeting == nil {
		data = []byte(strings.Join(l.Addresses(), ","))
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

// read reads until the connection ends. What the client says after its end is dropped: nobody expects it any more.
func (l life) read() {
	for {
		binary, data, err := l.socket.Read(l.opts.OnMessage != nil)
		if err != nil {
			l.end(readReason(err))
			return
		}
		if l.endReason() != nil {
			continue
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
}

// call runs a callback of the application. A panic in it, which is reported by false, ends the connection and nothing else.
func (l life) call(name string, callback func()) (ok bool) {
	l.roster.callback(l.Conn, true)
	l.timers.hold()
	defer func() {
		if !ok {
			err := fmt.Errorf("%s did not return: runtime.Goexit", name)
			if r := recover(); r != nil {
				logPanic(l.shared.log, name, r, "conn", l.String())
				err = fmt.Errorf("panic in %s: %v", name, r)
			}
			l.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
		}
		l.timers.release()
		l.roster.callback(l.Conn, false)
	}()
	callback()
	return true
}

// fail ends the connection for a mistake of the application's.
func (l life) fail(err error) {
	l.shared.log.Error("wspush: connection given up", "conn", l.String(), "error", err)
	l.end(&CloseError{Cause: CauseCallback, Code: codeInternal, Reason: reasonInternal, Err: err})
}
