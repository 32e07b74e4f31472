package wire

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// Outcomes of the same counts come to the same errors in both packages that have them; the root's tests have the whole table.
func TestReasonOf(t *testing.T) {
	for want, errs := range map[error][]error{
		ErrBusy:                  {ErrBusy, fmt.Errorf("wrapped: %w", ErrBusy)},
		context.DeadlineExceeded: {fmt.Errorf("%w: %w", context.DeadlineExceeded, ErrGone)},
		ErrInternal:              {errors.New("another"), ErrInternal, ErrName},
		ErrGone:                  {ErrGone, ErrNobody},
	} {
		for _, err := range errs {
			if got := ReasonOf(err); got != want {
				t.Errorf("%v: %v, want %v", err, got, want)
			}
		}
	}
	o := Outcomes{Written: 1, Received: 2, Unknown: 3, Excepted: 4, Refused: map[error]int{ErrBusy: 5, ErrGone: 6}}
	if n := CountMembers(&o); n != 21 {
		t.Errorf("%d members", n)
	}
}
