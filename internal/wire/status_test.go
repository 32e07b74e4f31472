package wire

import (
	"errors"
	"fmt"
	"testing"
)

// Both directions of the table agree: a publisher matches the error that the worker had.
func TestStatusAndError(t *testing.T) {
	types := map[error]string{ErrShutdown: TypeShutdown, ErrUnavailable: TypeUnavailable, ErrDirectory: TypeDirectory, ErrTooManyGroups: TypeTooManyGroups, ErrSuspended: TypeSuspended}
	for _, err := range []error{
		ErrUnreachable, ErrForbidden, ErrUnknown, ErrGone, ErrBusy, ErrTooLarge, ErrShutdown, ErrUnavailable, ErrUnauthorized,
		ErrDirectory, ErrTooManyGroups, ErrSuspended,
	} {
		status := StatusOf(fmt.Errorf("wrapped: %w", err))
		if got := ErrorOf(status, types[err]); got != err {
			t.Errorf("%v has status %d, which means %v", err, status, got)
		}
	}
	for _, err := range []error{ErrInvalidUTF8, ErrInvalidID, ErrName} {
		if status := StatusOf(err); status != 400 || ErrorOf(status, TypePrefix+"bad-request") != nil {
			t.Errorf("%v has status %d", err, status)
		}
	}
	if status := StatusOf(errors.New("another")); status != 0 {
		t.Errorf("another error has status %d", status)
	}
}

func TestErrorOf(t *testing.T) {
	for _, tc := range []struct {
		status int
		typ    string
		want   error
	}{
		{503, TypeFull, ErrBusy},
		{503, TypeShutdown, ErrShutdown},
		{503, TypeUnavailable, ErrUnavailable},
		{503, TypePrefix + "unheard-of", nil},
		{508, TypePrefix + "loop", ErrUnreachable},
		{400, TypePrefix + "bad-request", nil},
		{404, TypePrefix + "not-found", nil},
		{500, TypePrefix + "internal", nil},
		{421, TypePrefix + "misdirected", nil},
		{204, "", nil},
	} {
		if got := ErrorOf(tc.status, tc.typ); got != tc.want {
			t.Errorf("%d %s: %v, want %v", tc.status, tc.typ, got, tc.want)
		}
	}
}
