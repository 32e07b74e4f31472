package console

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// What the operator reads has every count, claims no more than is known, and never takes silence for absence.
func TestOutcomeWords(t *testing.T) {
	refused := func(reasons ...error) map[error]int {
		of := make(map[error]int)
		for i, reason := range reasons {
			of[reason] = i + 1
		}
		return of
	}
	silent := fmt.Errorf("%w: 1 of 3 workers have answered", wspush.ErrDirectory)
	for name, tt := range map[string]struct {
		out     wspush.Outcomes
		err     error
		outcome string
		says    []string
	}{
		"one":     {wspush.Outcomes{Received: 1, Workers: 1, Answered: 1, Complete: true}, nil, "received", []string{"1 client has read it."}},
		"several": {wspush.Outcomes{Received: 12, Workers: 1, Answered: 1, Complete: true}, nil, "received", []string{"12 clients have read it."}},
		"on several workers": {wspush.Outcomes{Received: 2, Workers: 3, Answered: 3, Complete: true}, nil, "received",
			[]string{"2 clients have read it.", "All 3 workers that may have members have answered."}},
		"buffered": {wspush.Outcomes{Received: 2, Buffered: 1, Workers: 1, Answered: 1, Complete: true}, nil, "buffered",
			[]string{"2 clients have read it.", "1 client has not confirmed it, and its session sends it again when the client is back."}},
		"only buffered": {wspush.Outcomes{Buffered: 2, Workers: 1, Answered: 1, Complete: true}, nil, "buffered",
			[]string{"2 clients have not confirmed it, and their sessions send it again when the clients are back."}},
		"away": {wspush.Outcomes{Refused: refused(wspush.ErrSuspended), Workers: 1, Answered: 1, Complete: true}, wspush.ErrSuspended, "failed",
			[]string{"Nothing was written.", "1 client did not get it, and will not: away, and not back within 10 s."}},
		"written, not confirmed": {wspush.Outcomes{Written: 2, Workers: 1, Answered: 1, Complete: true}, nil, "received",
			[]string{"2 clients were sent all of it, and have not confirmed that they have read it."}},
		"everything": {wspush.Outcomes{Received: 3, Written: 1, Unknown: 2, Excepted: 1, Refused: refused(wspush.ErrBusy, wspush.ErrGone), Workers: 3, Answered: 1},
			nil, "partly", []string{
				"3 clients have read it.", "1 client was sent all of it, and has not confirmed that it has read it.", "1 client was left out.",
				"2 clients or silent workers may have it.", "1 client or silent worker did not get it, and will not: busy, try again later.",
				"2 clients or silent workers did not get it, and will not: the connection has just ended.",
				"It cannot be known who is there: 1 of 3 workers have answered.", "There may be clients that are not counted here.",
			}},
		"nobody": {wspush.Outcomes{Workers: 1, Answered: 1, Complete: true}, fmt.Errorf("%w: nobody is there", wspush.ErrGone), "failed",
			[]string{"Nobody is there. Nothing was written."}},
		"nobody on several workers": {wspush.Outcomes{Workers: 3, Answered: 3, Complete: true}, wspush.ErrGone, "failed",
			[]string{"Nobody is there. Nothing was written.", "All 3 workers that may have members have answered."}},
		"nobody is known": {wspush.Outcomes{Workers: 3, Answered: 1}, silent, "failed",
			[]string{"Nothing was written.", "It cannot be known who is there: 1 of 3 workers have answered."}},
		"gone, but incomplete": {wspush.Outcomes{Workers: 3, Answered: 1}, wspush.ErrGone, "failed",
			[]string{"Nothing was written.", "No such connection.", "It cannot be known who is there: 1 of 3 workers have answered."}},
		"all busy": {wspush.Outcomes{Refused: refused(wspush.ErrBusy), Workers: 1, Answered: 1, Complete: true}, wspush.ErrBusy, "failed",
			[]string{"Nothing was written.", "1 client did not get it, and will not: busy, try again later."}},
		"unknown": {wspush.Outcomes{Unknown: 1, Workers: 1, Answered: 1, Complete: true}, fmt.Errorf("%w to 1 connections", wspush.ErrUnknown), "unknown",
			[]string{"1 client may have it."}},
		"unknown, of nobody that is counted": {wspush.Outcomes{Workers: 2, Answered: 1}, wspush.ErrUnknown, "unknown", []string{"The message may have been written."}},
		"too late": {wspush.Outcomes{Refused: refused(context.DeadlineExceeded), Workers: 1, Answered: 1, Complete: true}, context.DeadlineExceeded, "failed",
			[]string{"Nothing was written.", "1 client did not get it, and will not: not taken within 10 s, and then withdrawn."}},
		"left": {wspush.Outcomes{Refused: refused(context.Canceled), Workers: 1, Answered: 1, Complete: true}, context.Canceled, "failed",
			[]string{"Nothing was written.", "1 client did not get it, and will not: withdrawn, since the page has left."}},
		"the worker has shut down": {wspush.Outcomes{}, wspush.ErrShutdown, "failed", []string{"Nothing was written.", "The worker is shutting down."}},
		"too large":                {wspush.Outcomes{}, wspush.ErrTooLarge, "failed", []string{"Nothing was written.", "The message is too large."}},
	} {
		a := outcomeOfAll(tt.out, tt.err)
		if a.Outcome != tt.outcome || !slices.Equal(a.Says, tt.says) || (a.Detail == "") != (tt.outcome == "received" || tt.outcome == "buffered") {
			t.Errorf("%s: %+v\nwant %s %q", name, a, tt.outcome, tt.says)
		}
	}
}

func TestClosingWords(t *testing.T) {
	for _, tt := range []struct {
		closed  int
		err     error
		outcome string
		says    string
	}{
		{0, nil, "closed", "Nobody is there: no connection has been closed."},
		{1, nil, "closed", "1 connection has been closed."},
		{3, nil, "closed", "3 connections have been closed."},
		{3, wspush.ErrDirectory, "partly", "3 connections have been closed. It cannot be known who is there. There may be others that are still open."},
		{0, wspush.ErrShutdown, "failed", "The worker is shutting down. No connection has been closed."},
		{0, wspush.ErrDirectory, "unknown", "It cannot be known who is there. It is not known that any connection has been closed."},
	} {
		if a := outcomeOfClosing(tt.closed, tt.err); a.Outcome != tt.outcome || strings.Join(a.Says, " ") != tt.says || (a.Detail == "") != (tt.err == nil) {
			t.Errorf("%d, %v: %+v", tt.closed, tt.err, a)
		}
	}
}

// some are recipients of whom it is known only in part who they are.
type some struct {
	recipients
	known []wspush.Member
	err   error
}

func (s some) Members(context.Context) iter.Seq2[wspush.Member, error] {
	return func(yield func(wspush.Member, error) bool) {
		for _, m := range s.known {
			if !yield(m, nil) {
				return
			}
		}
		if s.err != nil {
			yield(wspush.Member{}, s.err)
		}
	}
}

// What cannot be known is said, beside what is; a member of another worker has no details; the latest come first.
func TestMembersElsewhere(t *testing.T) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.invalid"}})
	if err != nil {
		t.Fatal(err)
	}
	defer worker.Shutdown(context.Background())
	c, err := New(worker, nil)
	if err != nil {
		t.Fatal(err)
	}
	known := []wspush.Member{{ID: "elsewhere", Since: time.UnixMilli(1)}, {ID: "elsewhere too", Since: time.UnixMilli(2)}}
	for name, tt := range map[string]struct {
		err    error
		detail string
	}{
		"complete":     {nil, ""},
		"a directory":  {fmt.Errorf("%w: 1 of 3 workers have answered", wspush.ErrDirectory), "It cannot be known who is there: 1 of 3 workers have answered."},
		"time":         {context.DeadlineExceeded, "Not everybody was found within 10 s."},
		"anything":     {errors.New("no idea"), "No idea."},
		"the shutdown": {wspush.ErrShutdown, "The worker is shutting down."},
	} {
		a := c.members(t.Context(), target{recipients: some{known: known, err: tt.err}, kind: "user", name: "ann"})
		if a.Total != 2 || len(a.Members) != 2 || a.Members[0].MemberSince != 2 || a.Members[0].identity != nil || a.Detail != tt.detail {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if a := c.members(t.Context(), target{recipients: some{err: wspush.ErrDirectory}, kind: "user", name: "ann"}); a.Total != 0 || a.Detail == "" {
		t.Errorf("%+v", a)
	}
}
