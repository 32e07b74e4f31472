package wspush

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/wspush/wspush/internal/socket"
	"github.com/wspush/wspush/internal/wire"
)

// What a push can come to, other than nil; match with [errors.Is]. All but ErrUnknown say that nothing was written and
// nothing will be: it is safe to send the message some other way.
var (
	// ErrGone: there is no such connection; it has ended, or never was. It will not come back under this ID.
	ErrGone = wire.ErrGone
	// ErrBusy: the client does not read fast enough, and too much waits for it already (WorkerOptions.MaxPending); or its
	// greeting is not made yet. A later try may succeed.
	ErrBusy = wire.ErrBusy
	// ErrTooLarge: the message exceeds WorkerOptions.MaxPushBytes.
	ErrTooLarge = wire.ErrTooLarge
	// ErrInvalidUTF8: a text message must be valid UTF-8 (RFC 6455 section 5.6); browsers close the connection otherwise.
	ErrInvalidUTF8 = wire.ErrInvalidUTF8
	// ErrShutdown: the worker is shutting down, and has closed the connection.
	ErrShutdown = wire.ErrShutdown
	// ErrUnknown: part of the message may have been written, or all of it, when the connection ended or the caller's
	// context did. The error's text says whether the connection is gone.
	ErrUnknown = wire.ErrUnknown
)

// ErrUnreachable: the push was for a connection of another worker, by a token, and that worker cannot be reached from here.
// Nothing was written. It may have crashed, or only the network between the two. See [WorkerOptions].Cluster.
var ErrUnreachable = wire.ErrUnreachable

// ErrForbidden is for [Options].Accept and [WorkerOptions].AuthorizePush to return: it refuses the request with 403. [Worker.Push]
// returns it for a token that none of the worker's keys opens.
var ErrForbidden = wire.ErrForbidden

// Errors for [Options].Accept and [WorkerOptions].AuthorizePush to return, besides ErrForbidden. An error that is none of the
// three says that the application could not decide, and is answered as ErrUnavailable is.
var (
	// ErrUnauthorized refuses a request with 401: its sender must say who it is, or log in again.
	ErrUnauthorized = wire.ErrUnauthorized
	// ErrUnavailable refuses a request with 503 and Retry-After: the same request may be accepted later.
	ErrUnavailable = wire.ErrUnavailable
)

var (
	errUnknownOpen = fmt.Errorf("%w in part, and the rest will be: the caller's context ended; the connection is open", ErrUnknown)
	errUnknownGone = fmt.Errorf("%w in part or in full: the connection is gone", ErrUnknown)
	errUnconfirmed = fmt.Errorf("%w in full: the client has not confirmed it before the caller's context ended; the connection is open", ErrUnknown)
	errUnknownHop  = fmt.Errorf("%w: the worker that holds the connection was reached, and has not answered", ErrUnknown)
	errLoop        = fmt.Errorf("%w: the address of its connection leads to another worker", ErrUnreachable)
	errInCallback  = errors.New("wspush: PushConfirmed in a callback of the same connection: nobody would read the client's answer")
	errMessageType = wire.ErrMessageType
)

// Cause says who or what ended a connection.
type Cause string

const (
	CauseClient       Cause = "client"        // the client sent a close frame
	CauseLost         Cause = "lost"          // the network connection ended without one
	CauseClosed       Cause = "closed"        // Conn.Close, or a DELETE at the push endpoint
	CauseShutdown     Cause = "shutdown"      // Worker.Shutdown
	CauseIdle         Cause = "idle"          // silence for Options.IdleTimeout
	CauseNoAnswer     Cause = "no-answer"     // pushed to, but not heard of for twice Options.IdleTimeout
	CauseWriteTimeout Cause = "write-timeout" // the client did not read for WorkerOptions.WriteTimeout
	CauseProtocol     Cause = "protocol"      // the client broke RFC 6455, or exceeded Options.ReadLimit
	CauseCallback     Cause = "callback"      // a callback of the application panicked or exited, or made a greeting that cannot be sent
)

// CloseError is why a connection ended. [Options].OnDisconnect gets one, and it is the cause of [Conn.Context].
type CloseError struct {
	// Cause says who or what ended it.
	Cause Cause
	// Code and Reason are those of the close frame: the client's for CauseClient, otherwise the one sent to it. Code is
	// 1005 for a close frame without a code, and 1006 where there was no close frame (RFC 6455 section 7.4.1).
	Code   int
	Reason string
	// Err is the error behind it, if there is one.
	Err error
}

// Error names the cause, the code, and the reason or the error behind it.
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

// codes of RFC 6455 section 7.4.1, and 1012 from its registry.
const (
	codeNormal         = 1000
	codeGoingAway      = 1001
	codeAbnormal       = 1006
	codeInternal       = 1011
	codeServiceRestart = 1012
)

// reasonInternal tells a client no more than that it is not to blame.
const reasonInternal = "internal error"

// checkClose refuses a close frame that an endpoint may not send.
func checkClose(code int, reason string) error {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014, code >= 3000 && code <= 4999:
	default:
		return fmt.Errorf("wspush: %d is not a close code that may be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999", code)
	}
	if len(reason) > socket.MaxCloseReason {
		return fmt.Errorf("wspush: the close reason has %d bytes; %d are allowed", len(reason), socket.MaxCloseReason)
	}
	if !utf8.ValidString(reason) {
		return errors.New("wspush: the close reason is not valid UTF-8")
	}
	return nil
}

// readReason turns the error that ended reading into the reason to end the connection.
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

// writeReason turns the error that ended writing into the reason to end the connection.
func writeReason(err error) *CloseError {
	if errors.Is(err, socket.ErrTimeout) {
		return &CloseError{Cause: CauseWriteTimeout, Code: codeAbnormal, Err: err}
	}
	return &CloseError{Cause: CauseLost, Code: codeAbnormal, Err: err}
}
