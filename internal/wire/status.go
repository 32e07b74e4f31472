package wire

import "errors"

// Types of problems (RFC 9457), by which an answer is known to be a worker's. The other types are TypePrefix and the name of
// the status.
const (
	TypePrefix      = "urn:wspush:"
	TypeFull        = TypePrefix + "full"
	TypeShutdown    = TypePrefix + "shutdown"
	TypeUnavailable = TypePrefix + "unavailable"
	TypeDirectory   = TypePrefix + "directory"

	TypeTooManyGroups = TypePrefix + "too-many-groups"
	TypeSuspended     = TypePrefix + "suspended"
)

// statuses maps each error to the status with which a worker answers a publisher. If an error matches several entries, the first
// one counts. Only for 503 and 409 is the type needed to tell errors apart; the errors of 400 are never matched by publishers.
var statuses = [...]struct {
	err    error
	status int
	typ    string // "": any
}{
	{ErrUnreachable, 502, ""},
	{ErrForbidden, 403, ""},
	{ErrUnknown, 504, ""},
	{ErrGone, 410, ""},
	{ErrBusy, 429, ""},
	{ErrTooLarge, 413, ""},
	{ErrInvalidUTF8, 400, ""},
	{ErrInvalidID, 400, ""},
	{ErrShutdown, 503, TypeShutdown},
	{ErrUnavailable, 503, TypeUnavailable},
	{ErrDirectory, 503, TypeDirectory},
	{ErrUnauthorized, 401, ""},
	{ErrName, 400, ""},
	{ErrTooManyGroups, 409, TypeTooManyGroups},
	{ErrSuspended, 409, TypeSuspended},
}

// StatusOf returns the status for the error of a push, or 0 if err is none of the errors of this package.
func StatusOf(err error) int {
	for _, s := range &statuses {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return 0
}

// ErrorOf returns the error for a worker's answer to a push, or nil if a publisher has no error to match for it. Except for
// ErrUnknown, every error says that nothing was written.
func ErrorOf(status int, problemType string) error {
	switch {
	case status == 400: // the publisher has checked its message
		return nil
	case status == 508:
		return ErrUnreachable
	case status == 503 && problemType == TypeFull:
		return ErrBusy
	}
	for _, s := range &statuses {
		if s.status == status && (s.typ == "" || s.typ == problemType) {
			return s.err
		}
	}
	return nil
}
