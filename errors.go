package wspush

import (
	"errors"
	"fmt"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// The outcomes of a push other than nil; match them with [errors.Is]. Every one but ErrUnknown says that nothing was written
// and nothing will be, so it is safe to send the message some other way.
var (
	// ErrGone means that there is no such connection. It has ended, or never existed, and will not come back under this ID.
	ErrGone = wire.ErrGone
	// ErrBusy means that the client reads too slowly, and too much waits already: for it (WorkerOptions.MaxPending) or for all
	// clients (WorkerOptions.MaxPendingAll); or that its HandlerOptions.Greeting has not returned yet; or that the connection
	// is another worker's, and this worker forwards 1024 requests already. A later attempt may succeed.
	ErrBusy = wire.ErrBusy
	// ErrTooLarge means that the message exceeds WorkerOptions.MaxPushBytes.
	ErrTooLarge = wire.ErrTooLarge
	// ErrInvalidUTF8 means that a text message is not valid UTF-8 (RFC 6455 section 5.6). Browsers would close the connection.
	ErrInvalidUTF8 = wire.ErrInvalidUTF8
	// ErrInvalidID means that what [Worker.Push] or [Worker.Disconnect] got is neither an ID nor a sealed ID. The error's text
	// says what it looks like: an address, for example, or an empty string.
	ErrInvalidID = wire.ErrInvalidID
	// ErrShutdown means that the worker is shutting down, and has closed the connection. Once Shutdown has left no connection,
	// [Worker.Push] and [Worker.Disconnect] return it for every ID. Until then, the ID of a connection that has been closed
	// gets ErrGone.
	ErrShutdown = wire.ErrShutdown
	// ErrUnreachable means that another worker holds the connection, and this worker cannot reach it. That worker may have
	// crashed, or only the network between the two may have failed. See [WorkerOptions].Cluster.
	ErrUnreachable = wire.ErrUnreachable
	// ErrUnknown means that part or all of the message may have been written when the connection, or the caller's context,
	// ended. The text of the error says whether the connection is gone, where that is known.
	ErrUnknown = wire.ErrUnknown
	// ErrSuspended means that the client is away, its session waits for it, and the push was not to: see [Keep].
	ErrSuspended = wire.ErrSuspended
	// ErrDirectory means that it cannot be known who is there: what [Recipients] does got no answer from all workers that may have members,
	// or the directory did not answer; also, for a sealed ID whose worker has ended, whether another one has the session. As the error of a
	// push, it says that nothing was written. Without a Cluster it does not occur.
	ErrDirectory = wire.ErrDirectory
)

// ErrTooManyGroups is what [Conn.Join] returns for one group more than WorkerOptions.MaxGroups.
var ErrTooManyGroups = wire.ErrTooManyGroups

// The errors with which [HandlerOptions].Accept and [WorkerOptions].AuthorizePush refuse a request; they may be wrapped. Any other
// error says that the application could not decide, and is answered like ErrUnavailable.
var (
	// ErrUnauthorized refuses a request with 401: its sender must say who it is, or log in again.
	ErrUnauthorized = wire.ErrUnauthorized
	// ErrForbidden refuses a request with 403. It is also what [Worker.Push] returns for a sealed ID that none of the worker's
	// keys opens.
	ErrForbidden = wire.ErrForbidden
	// ErrUnavailable refuses a request with 503 and Retry-After: the same request may be accepted later.
	ErrUnavailable = wire.ErrUnavailable
)

// unknownClose is the ErrUnknown of Worker.Disconnect.
type unknownClose struct{}

func (unknownClose) Error() string {
	return "wspush: the connection may have been closed: the worker that holds it was reached but did not answer"
}
func (unknownClose) Unwrap() error { return ErrUnknown }

var (
	errUnknownOpen  = fmt.Errorf("%w in part: the wait ended; the connection is open and will write the rest", ErrUnknown)
	errUnknownGone  = fmt.Errorf("%w in part or in full: the connection is gone", ErrUnknown)
	errUnconfirmed  = fmt.Errorf("%w in full: the wait ended before the client confirmed it; the connection is open", ErrUnknown)
	errUnanswered   = fmt.Errorf("%w: the worker that holds the connection was reached but did not answer", ErrUnknown)
	errLoop         = fmt.Errorf("%w: the address of its connection leads to another worker", ErrUnreachable)
	errNotWorker    = fmt.Errorf("%w: what listens at its address did not prove to be a worker with the same keys", ErrUnreachable)
	errLinkFull     = fmt.Errorf("%w: too many pushes are on their way to the worker that holds the connection", ErrBusy)
	errIntakeFull   = fmt.Errorf("%w: too much is coming in from publishers", ErrBusy)
	errOtherPath    = errors.New("wspush: the connection lives at another path than that of the request: send it to the address as it is")
	errInternal     = wire.ErrInternal
	errUnknownClose = unknownClose{}
)

// errUnconfirmedLeft is the errUnconfirmed of a push whose publisher seems to have left.
var errUnconfirmedLeft = fmt.Errorf("%w; the publisher has left, or closed its side", errUnconfirmed)

// Cause says who or what ended a connection.
type Cause string

// The causes.
const (
	CauseClient       Cause = "client"        // the client sent a close frame
	CauseLost         Cause = "lost"          // the network connection ended without a close frame
	CauseClosed       Cause = "closed"        // Conn.Close or Worker.Disconnect was called, or a publisher sent a DELETE
	CauseShutdown     Cause = "shutdown"      // Worker.Shutdown was called
	CauseIdle         Cause = "idle"          // nothing was sent or received for HandlerOptions.IdleTimeout
	CauseNoAnswer     Cause = "no-answer"     // messages were sent, but nothing was received for twice HandlerOptions.IdleTimeout
	CauseExpired      Cause = "expired"       // the connection has reached its age of HandlerOptions.MaxAge, or the time of HandlerOptions.Expires has come
	CauseWriteTimeout Cause = "write-timeout" // the client did not read for WorkerOptions.WriteTimeout
	CauseProtocol     Cause = "protocol"      // the client violated RFC 6455, or exceeded HandlerOptions.ReadLimit or ReadTimeout
	CauseAway         Cause = "away"          // the client of a session was not back within HandlerOptions.ResumeWindow; Err says why it had left
	CauseMoved        Cause = "moved"         // the session goes on at another worker, or Worker.Shutdown has saved it for the next one, in WorkerOptions.SessionFile
	CauseCallback     Cause = "callback"      // a callback panicked or called runtime.Goexit, or the greeting cannot be sent
)

// CloseError is why a connection ended. [HandlerOptions].OnDisconnect gets it, and it is the cause of [Conn.Context].
type CloseError struct {
	// Cause says who or what ended the connection.
	Cause Cause
	// Code and Reason are those of the close frame: the client's for CauseClient, otherwise the one sent to the client. Code
	// is 1005 for a close frame without a code, and 1006 if there was no close frame (RFC 6455 section 7.4.1).
	Code   int
	Reason string
	// Err is the underlying error, or nil.
	Err error
}

// Error names the cause and the code, and the reason and the underlying error if there are any.
func (e *CloseError) Error() string {
	s := fmt.Sprintf("wspush: connection ended: %s (%d)", e.Cause, e.Code)
	if e.Reason != "" {
		s += fmt.Sprintf(" %q", e.Reason)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns Err.
func (e *CloseError) Unwrap() error { return e.Err }

// Close codes of RFC 6455 section 7.4.1, and 1012 and 3000 from the IANA registry. wire.CheckClose decides which codes may be sent;
// which ones a client may send is for package socket to judge.
const (
	codeNormal         = 1000
	codeGoingAway      = 1001
	codeProtocolError  = 1002
	codeAbnormal       = 1006 // never sent: it says that there was no close frame
	codeInternal       = 1011
	codeServiceRestart = 1012
	codeTryAgain       = 1013
)

// reasonInternal tells a client only that it is not to blame.
const reasonInternal = "internal error"

// readReason returns the reason to end a connection whose reading has failed with err.
func readReason(err error) *CloseError {
	var peer *socket.PeerClosed
	var violation *socket.Violation
	switch {
	case errors.As(err, &peer):
		return &CloseError{Cause: CauseClient, Code: peer.Code, Reason: peer.Reason}
	case errors.As(err, &violation):
		return &CloseError{Cause: CauseProtocol, Code: violation.Code, Reason: violation.Reason, Err: violation.Err}
	}
	return &CloseError{Cause: CauseLost, Code: codeAbnormal, Err: err}
}

// writeReason returns the reason to end a connection whose writing has failed with err.
func writeReason(err error) *CloseError {
	if errors.Is(err, socket.ErrTimeout) {
		return &CloseError{Cause: CauseWriteTimeout, Code: codeAbnormal, Err: err}
	}
	return &CloseError{Cause: CauseLost, Code: codeAbnormal, Err: err}
}
