package wspush

import (
	"errors"
	"net/http"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// MessageType is the type of a WebSocket message (RFC 6455 section 5.6): Text or Binary. Its String method says which.
type MessageType = wire.MessageType

// The types of messages: what browsers get as a string, and what they get as a Blob or an ArrayBuffer.
const (
	Text   = wire.Text   // valid UTF-8
	Binary = wire.Binary // any bytes
)

// A Handler is one mount on the application's mux: it upgrades requests to WebSockets, and registers them with a Worker,
// where they can be pushed to. Several Handlers may share a Worker. It is safe for concurrent use.
//
// It answers itself what does not become a connection: 426 for GET requests that are no handshake, 400 for broken handshakes,
// 405 for other methods (to have pushes on the public server, mount the Worker there), 403 when the check of the Origin says no,
// 401, 403 or 503 when Accept does, and 503 with Retry-After when WorkerOptions.MaxConns is reached, and once the Worker's Shutdown has begun.
// It returns as soon as the handshake is done: the connection outlives the request, and http.Server.Shutdown does not know
// of it.
type Handler struct {
	worker *Worker
	opts   Options // every value final
}

// NewHandler makes a Handler whose connections belong to w. It returns an error if an option makes no sense.
func NewHandler(w *Worker, opts *Options) (*Handler, error) {
	if w == nil {
		return nil, errors.New("wspush: NewHandler needs a Worker")
	}
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Handler{worker: w, opts: o}, nil
}

// mountMethods are the methods that a Handler answers.
const mountMethods = "GET, OPTIONS"

// ServeHTTP does the server's half of the handshake (RFC 6455 section 4.2), and leaves the connection to a goroutine of
// its own.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet:
		if err := h.upgrade(w, r); err != nil {
			p := h.refusal(r, err)
			if errors.Is(err, socket.ErrNotHijacked) {
				// The client may have its 101. If the server went on, it would read what comes as requests, which a proxy in
				// between takes for a WebSocket's bytes and does not look at.
				panic(http.ErrAbortHandler)
			}
			p.answerAndLinger(w, r)
		}
	case http.MethodOptions:
		w.Header().Set("Allow", mountMethods)
		w.WriteHeader(http.StatusNoContent)
	default:
		methodNotAllowed(mountMethods).answerAndLinger(w, r)
	}
}

// upgrade makes a connection of the request, or returns why not, having written nothing.
func (h *Handler) upgrade(w http.ResponseWriter, r *http.Request) error {
	l := &life{Conn: newConn(h.worker.shared, r), worker: h.worker, opts: &h.opts}
	c := l.Conn
	if address.HasMarker(c.path) {
		return &socket.HandshakeError{Status: http.StatusNotFound, Detail: "a path with " + wire.Marker + " in it has no address that could be pushed to"}
	}
	entered, attached, decided := false, false, false
	defer func() { // also when a ResponseWriter of the application's panics
		if !decided {
			h.worker.shared.count.handshakes.failed.Add(1)
		}
		if entered && !attached {
			h.worker.roster.leave(c)
		}
	}()
	s, err := socket.Accept(w, r, socket.Options{
		Shared:         &h.worker.sockets,
		OriginPatterns: h.opts.OriginPatterns,
		Subprotocols:   h.opts.Subprotocols,
		Compression:    h.opts.Compression,
		ReadLimit:      h.opts.ReadLimit,
		MaxPending:     h.worker.opts.MaxPending,
		WriteTimeout:   h.worker.opts.WriteTimeout,
		Admit: func() (err error) {
			entered, err = h.admit(c, r)
			return err
		},
		Owner: l,
	})
	decided = true
	if err != nil {
		return err
	}
	attached = true
	c.attach(s)
	go l.begin()
	return nil
}

// admit asks the application whether the client may connect, and enters the connection among those that Shutdown ends.
func (h *Handler) admit(c *Conn, r *http.Request) (entered bool, err error) {
	if err := h.worker.roster.admits(); err != nil {
		return false, err
	}
	if h.opts.Accept != nil {
		if c.value, err = h.accept(r); err != nil {
			return false, err
		}
	}
	err = h.worker.roster.enter(c)
	return err == nil, err
}

// accept asks the application, whose panic refuses the client.
func (h *Handler) accept(r *http.Request) (value any, err error) {
	defer func() {
		if e := recover(); e != nil {
			logPanic(h.worker.shared.log, "Accept", e)
			err = errAcceptPanicked
		}
	}()
	if value, err = h.opts.Accept(r); err != nil {
		err = refusedError{err}
	}
	return value, err
}

// errAcceptPanicked is the refusal of a client that Options.Accept has not decided on.
var errAcceptPanicked = errors.New("panic in Accept")

// refusedError is the error of Options.Accept.
type refusedError struct{ error }

// refusal counts a request that could not be upgraded, and returns the answer to it.
func (h *Handler) refusal(r *http.Request, err error) *problem {
	var refused refusedError
	var handshake *socket.HandshakeError
	log := h.worker.shared.log.With("remote", r.RemoteAddr)
	count := &h.worker.shared.count.handshakes
	switch {
	case errors.Is(err, ErrShutdown):
		count.shutdown.Add(1)
		return problemOf(ErrShutdown)
	case errors.Is(err, errFull):
		count.full.Add(1)
		log.Debug("wspush: handshake refused: MaxConns is reached")
		p := newProblem(http.StatusServiceUnavailable, "as many clients are connected as may be")
		p.Type = wire.TypeFull
		return p
	case errors.As(err, &refused):
		count.accept.Add(1)
		p := h.worker.shared.refusal(r, "Accept", "connecting", refused.error)
		if p.Status == http.StatusUnauthorized {
			p.header.Set("WWW-Authenticate", bearerChallenge)
		}
		return p
	case errors.As(err, &handshake):
		if handshake.Status >= http.StatusInternalServerError { // which is no fault of the client's
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
	return newProblem(http.StatusInternalServerError, "the connection could not be taken over")
}
