package wspush

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/wspush/wspush/internal/wire"
)

// The one error that outcomes come to, in the order that the documentation promises.
func TestOutcomes(t *testing.T) {
	whole := func(o Outcomes) Outcomes {
		o.Workers, o.Answered, o.Complete = 1, 1, true
		return o
	}
	refused := func(reasons ...error) map[error]int {
		m := make(map[error]int)
		for _, r := range reasons {
			m[r]++
		}
		return m
	}
	for name, tt := range map[string]struct {
		outcomes Outcomes
		want     error   // of Push
		all      []error // of Err
	}{
		"nobody":                         {whole(Outcomes{}), ErrGone, []error{ErrGone}},
		"written":                        {whole(Outcomes{Written: 2}), nil, nil},
		"received":                       {whole(Outcomes{Received: 1}), nil, nil},
		"written to some":                {whole(Outcomes{Written: 1, Unknown: 1, Refused: refused(ErrBusy)}), nil, []error{ErrUnknown, ErrBusy}},
		"received by some":               {whole(Outcomes{Received: 1, Refused: refused(ErrGone)}), nil, []error{ErrGone}},
		"unknown before any refusal":     {whole(Outcomes{Unknown: 1, Refused: refused(ErrBusy, ErrShutdown)}), ErrUnknown, []error{ErrUnknown, ErrBusy, ErrShutdown}},
		"all excepted":                   {whole(Outcomes{Excepted: 1}), nil, nil},
		"excepted, and others gone":      {whole(Outcomes{Excepted: 1, Refused: refused(ErrGone)}), nil, []error{ErrGone}},
		"excepted, and others busy":      {whole(Outcomes{Excepted: 1, Refused: refused(ErrBusy)}), ErrBusy, []error{ErrBusy}},
		"busy gives more hope than gone": {whole(Outcomes{Refused: refused(ErrGone, ErrShutdown, ErrBusy)}), ErrBusy, []error{ErrBusy, ErrShutdown, ErrGone}},
		"withdrawn":                      {whole(Outcomes{Refused: refused(context.DeadlineExceeded, ErrShutdown)}), context.DeadlineExceeded, []error{context.DeadlineExceeded, ErrShutdown}},
		"shut down":                      {whole(Outcomes{Refused: refused(ErrShutdown, ErrUnreachable)}), ErrShutdown, []error{ErrShutdown, ErrUnreachable}},
		"unreachable":                    {whole(Outcomes{Refused: refused(ErrUnreachable, ErrGone)}), ErrUnreachable, []error{ErrUnreachable, ErrGone}},
		"gone":                           {whole(Outcomes{Refused: refused(ErrGone)}), ErrGone, []error{ErrGone}},
		"a worker is silent":             {Outcomes{Workers: 2, Answered: 1}, ErrDirectory, []error{ErrDirectory}},
		"excepted, and a worker silent":  {Outcomes{Excepted: 1, Workers: 2, Answered: 1}, ErrDirectory, []error{ErrDirectory}},
		"busy, and a worker silent":      {Outcomes{Refused: refused(ErrBusy), Workers: 2, Answered: 1}, ErrBusy, []error{ErrBusy, ErrDirectory}},
		"written, and a worker silent":   {Outcomes{Written: 1, Workers: 2, Answered: 1}, nil, []error{ErrDirectory}},
		"a reason of somebody's own":     {whole(Outcomes{Refused: refused(context.Canceled, errOtherPath)}), context.Canceled, []error{context.Canceled, errOtherPath}},
	} {
		if got := wire.OneError(&tt.outcomes); tt.want == nil && got != nil || !errors.Is(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		got := tt.outcomes.Err()
		if (got == nil) != (len(tt.all) == 0) {
			t.Errorf("%s: Err returns %v, want %v", name, got, tt.all)
		}
		for _, known := range []error{ErrUnknown, ErrDirectory, errOtherPath, ErrBusy, context.DeadlineExceeded, context.Canceled, ErrShutdown, ErrUnreachable, ErrTooLarge, ErrInvalidUTF8, ErrForbidden, errInternal, ErrGone} {
			want := false
			for _, w := range tt.all {
				want = want || w == known
			}
			if errors.Is(got, known) != want {
				t.Errorf("%s: Err returns %v, which matches %v: %v", name, got, known, !want)
			}
		}
	}
}

// Each outcome counts under its sentinel, even one that no map can have as a key.
func TestOutcomesCount(t *testing.T) {
	var o Outcomes
	for _, err := range []error{
		nil, ErrGone, ErrBusy, errLinkFull, errUnknownOpen, errUnconfirmed, errUnanswered, ErrShutdown, errLoop, errNotWorker,
		fmt.Errorf("wrapped: %w", context.Canceled), unhashable{1}, errOtherPath, ErrTooLarge,
	} {
		count(&o, false, err)
	}
	count(&o, true, nil)
	want := map[error]int{
		ErrGone: 1, ErrBusy: 2, ErrShutdown: 1, ErrUnreachable: 2, context.Canceled: 1, errInternal: 2, ErrTooLarge: 1,
	}
	if o.Written != 1 || o.Received != 1 || o.Unknown != 3 || wire.CountMembers(&o) != 15 || fmt.Sprint(o.Refused) != fmt.Sprint(want) {
		t.Errorf("%+v, %d members", o, wire.CountMembers(&o))
	}
}

type unhashable []int

func (unhashable) Error() string { return "a slice" }
