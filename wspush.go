package wspush

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/origin"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// MessageType is the type of a WebSocket message (RFC 6455 section 5.6): Text or Binary, and no other value. It is an int type;
// its String method returns "text" or "binary".
type MessageType = wire.MessageType

// The types of messages. A browser gets a Text message as a string, and a Binary one as a Blob or an ArrayBuffer.
const (
	Text   = wire.Text   // valid UTF-8
	Binary = wire.Binary // any bytes
)

// A Handler is one mount on the application's mux. It upgrades requests to WebSockets and registers them with a Worker, through
// which they can be pushed to. Several Handlers may share a Worker. A Handler is safe for concurrent use.
//
// It answers every request that does not become a connection: 426 for a GET request that is not a handshake, 400 for a broken
// handshake, 404 for a path with the segment @connections, @users or @groups, or a dot segment, 414 for one of more than 1024 bytes, 204 for OPTIONS, 405 for other methods (mount the Worker to accept
// pushes on the public server), 403 when the check of the Origin refuses the client, 401, 403 or 503 when Accept does, 401 when Expires says that its login has expired, and 503
// with Retry-After when WorkerOptions.MaxConns is reached, or once the Worker's Shutdown has begun. 501 and 500 mean that the
// server or a middleware does not let the connection be taken over, 500 also that Accept, Expires or User has panicked. It returns as soon as
// the handshake is done: the connection outlives the request, and http.Server.Shutdown knows nothing of it.
type Handler struct {
	worker  *Worker
	opts    HandlerOptions // every value final
	origins origin.Patterns

	name string // HandlerOptions.Name, which is there before the other options

	// For one that sessions have waited for, which had been loaded.
	isMissed atomic.Bool   // it has been logged that a session has ended before they were
	made     chan struct{} // closed when opts are there; nil for any other
}

// NewHandler returns a Handler whose connections belong to w, or an error if an option makes no sense.
func NewHandler(w *Worker, opts *HandlerOptions) (*Handler, error) {
	if w == nil {
		return nil, errors.New("wspush: NewHandler needs a Worker")
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	origins, err := origin.ParsePatterns(o.OriginPatterns)
	if err != nil {
		return nil, fmt.Errorf("wspush: OriginPatterns: %w", err)
	}
	h := &Handler{worker: w, opts: o, origins: origins, name: o.Name}
	if w.shared.leaving != nil {
		if h, err = w.mounts.claim(h); err != nil {
			return nil, err
		}
	}
	w.mounts.list(h)
	return h, nil
}

// mountMethods are the methods that a Handler accepts.
const mountMethods = "GET, OPTIONS"

// ServeHTTP does the server's half of the handshake (RFC 6455 section 4.2). The connection then lives on a goroutine of its own.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		if err := h.upgrade(w, r); err != nil {
			p := h.handshakeProblem(r, err)
			if errors.Is(err, socket.ErrNotHijacked) {
				// The client may have its 101 already. If the server went on, it would read the client's frames as requests,
				// which a proxy in between has passed on unread because it takes them for a WebSocket's bytes.
				panic(http.ErrAbortHandler)
			}
			p.answerAndLinger(w, r)
		}
	case http.MethodOptions:
		w.Header().Set("Allow", mountMethods)
		w.WriteHeader(http.StatusNoContent)
	default:
		p := methodNotAllowed(mountMethods)
		p.Detail = "clients connect here, with GET; a push goes to the address in the client's greeting, which names another port"
		p.answerAndLinger(w, r)
	}
}

// upgrade turns the request into a connection. If that fails, it returns why, and has written nothing unless the error is
// socket.ErrNotHijacked.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request) error {
	path, err := pathOf(r)
	if err != nil {
		return err
	}
	l := &life{Conn: newConn(h.worker.shared, r, path), handler: h}
	a := h.arrive(l, r)
	s, err := h.handshake(w, r, l, a)
	switch {
	case err != nil:
		return err
	case a != nil:
		a.begin(s)
		return nil
	}
	l.socket = s
	l.attach(s)
	go l.welcome("")
	return nil
}

// handshake does the opening handshake. On success the connection is in the roster, and the caller must start l, which ends
// by leaving it. Otherwise, also if a method of w panics, the connection has left the roster when handshake is over.
//
// For a client that speaks wspush.v1, a says what becomes of it; otherwise it is nil.
func (h *Handler) handshake(w http.ResponseWriter, r *http.Request, l *life, a *arrival) (*socket.Socket, error) {
	const (
		panicked = iota // unless socket.Accept returns: w may be a middleware's
		refused
		connected
	)
	outcome := panicked
	defer func() {
		if outcome == panicked {
			h.worker.shared.count.handshakes.failed.Add(1) // handshakeProblem counts the others
		}
		if outcome != connected {
			h.worker.roster.leave(l.Conn) // which it may not have entered yet
			if a != nil {
				a.cancel()
			}
		}
	}()
	l.outbox.Init(&h.worker.sockets, h.worker.opts.MaxPending)
	o := socket.Options{
		Outbox:       &l.outbox,
		Origins:      h.origins,
		Subprotocols: h.opts.Subprotocols,
		Compression:  h.opts.Compression,
		ReadLimit:    h.opts.ReadLimit,
		ReadTimeout:  h.opts.ReadTimeout,
		SendBuffer:   h.worker.opts.SendBuffer,
		WriteTimeout: h.worker.opts.WriteTimeout,
		Admit:        func() error { return h.admit(l, r) },
		Owner:        l,
	}
	if a != nil {
		a.prepare(&o, r)
	}
	s, err := socket.Accept(w, r, o)
	if err != nil {
		outcome = refused
		return nil, err
	}
	outcome = connected
	return s, nil
}

// admit asks the application whether the client may connect. If so, it adds the connection to the roster.
func (h *Handler) admit(l *life, r *http.Request) (err error) {
	c := l.Conn
	if err := h.worker.roster.admits(); err != nil {
		return err // without asking the application
	}
	if err := h.ask(l, r); err != nil {
		return err
	}
	return h.worker.roster.enter(c)
}

// ask asks the application whether the client may connect, and whose connection it will be.
func (h *Handler) ask(l *life, r *http.Request) (err error) {
	c := l.Conn
	if h.opts.Accept != nil {
		if c.value, err = h.accept(r); err != nil {
			return err
		}
	}
	if h.opts.Expires != nil {
		if l.expiry, err = h.expires(c, r); err != nil {
			return err
		}
	}
	if h.opts.User != nil {
		if err := h.identify(c, r); err != nil {
			return err
		}
	}
	return nil
}

// accept calls HandlerOptions.Accept. A panic in it refuses the client.
func (h *Handler) accept(r *http.Request) (value any, err error) {
	defer func() {
		if e := recover(); e != nil {
			logPanic(h.worker.shared.log, "Accept", e, "remote", remoteOf(r))
			err = errAcceptPanicked
		}
	}()
	if value, err = h.opts.Accept(r); err != nil {
		err = refusedError{err, "Accept"}
	}
	return value, err
}

// expires calls HandlerOptions.Expires. A panic in it refuses the client, and so does a time that has come.
func (h *Handler) expires(c *Conn, r *http.Request) (_ expiry, err error) {
	defer func() {
		if e := recover(); e != nil {
			logPanic(h.worker.shared.log, "Expires", e, "remote", remoteOf(r))
			err = errAcceptPanicked
		}
	}()
	at := h.opts.Expires(r, c.value).Round(0) // Round(0): by the system's clock
	if !at.IsZero() && !at.After(time.Now()) {
		return 0, refusedError{fmt.Errorf("%w: the login has expired at %v", ErrUnauthorized, at), "Expires"}
	}
	return expiryOf(at), nil
}

// identify calls HandlerOptions.User. A panic in it refuses the client, and so does a wrong name.
func (h *Handler) identify(c *Conn, r *http.Request) (err error) {
	defer func() {
		if e := recover(); e != nil {
			logPanic(h.worker.shared.log, "User", e, "remote", remoteOf(r))
			err = errAcceptPanicked
		}
	}()
	name := h.opts.User(r, c.value)
	if name == "" {
		return nil
	}
	if err := wire.CheckName(name); err != nil {
		return refusedError{err, "User"}
	}
	c.setUser(name)
	return nil
}

// errAcceptPanicked refuses a client on which HandlerOptions.Accept, Expires or User has not decided.
var errAcceptPanicked = errors.New("panic in Accept, Expires or User")

// refusedError is why HandlerOptions.Accept, Expires or User has refused a client.
type refusedError struct {
	error
	callback string
}

// handshakeProblem counts a request that was not upgraded, and returns the answer to it.
func (h *Handler) handshakeProblem(r *http.Request, err error) *problem {
	var refused refusedError
	var handshake *socket.HandshakeError
	log := h.worker.shared.log.With("remote", remoteOf(r))
	count := &h.worker.shared.count.handshakes
	switch {
	case errors.Is(err, ErrShutdown):
		count.shutdown.Add(1)
		return problemOf(ErrShutdown)
	case errors.Is(err, errFull):
		count.full.Add(1)
		log.Debug("wspush: handshake refused: MaxConns is reached", "limit", h.worker.opts.MaxConns)
		p := newProblem(http.StatusServiceUnavailable, "the worker has as many clients as it may have (MaxConns); try again later")
		p.Type = wire.TypeFull
		return p
	case errors.As(err, &refused):
		count.accept.Add(1)
		p := h.worker.shared.callbackProblem(r, refused.callback, "connecting", refused.error)
		if p.Status == http.StatusUnauthorized {
			p.header.Set("WWW-Authenticate", bearerChallenge)
		}
		return p
	case errors.As(err, &handshake):
		if handshake.Status >= http.StatusInternalServerError { // the client is not to blame
			count.failed.Add(1)
			log.Warn("wspush: handshake failed", "error", handshake)
		} else {
			if handshake.Status == http.StatusForbidden {
				count.origin.Add(1)
			} else {
				count.malformed.Add(1)
			}
			log.Debug("wspush: handshake refused", "status", handshake.Status, "detail", handshake.Detail)
		}
		p := newProblem(handshake.Status, handshake.Detail)
		for name, values := range handshake.Header {
			p.header[name] = values
		}
		return p
	}
	if errors.Is(err, errAcceptPanicked) {
		count.accept.Add(1)
	} else {
		count.failed.Add(1)
	}
	log.Warn("wspush: handshake failed", "error", err)
	return newProblem(http.StatusInternalServerError, "the connection could not be taken over: the worker's log says why")
}
