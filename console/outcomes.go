package console

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wspush/wspush"
)

// outcomeOfPush is the answer to a push to one connection.
func outcomeOfPush(receipt wspush.Receipt, err error) answer {
	switch {
	case errors.Is(err, wspush.ErrSuspended):
		a := outcome("", err, 0)
		a.Says = []string{fmt.Sprintf("The client is away, and was not back within %.0f s. Nothing was written, and nothing will be.", pushTimeout.Seconds())}
		return a
	case err == nil && receipt.State == wspush.Buffered:
		left := math.Ceil(receipt.BufferedFor.Seconds())
		return answer{Outcome: "buffered", Says: []string{fmt.Sprintf(
			"The client has not confirmed that it has read it. Its session has the message: the client gets it if it is back within %.0f s.", left)}}
	case errors.Is(err, wspush.ErrUnknown):
		a := outcome("", err, 0)
		a.Says = []string{sentence(err.Error())}
		return a
	}
	return outcome("received", err, receipt.RoundTrip)
}

// outcomeOfAll is the answer to a push to a user or a group.
func outcomeOfAll(out wspush.Outcomes, err error) answer {
	a := answer{Outcome: "received", Says: outcomeWords(out, err)}
	all := out.Err()
	switch {
	case all == nil && err == nil && out.Buffered > 0:
		a.Outcome = "buffered"
	case err != nil:
		a.Outcome, a.Detail = failure(err), err.Error()
		if len(split(all)) > 1 {
			a.Detail = all.Error() // says more
		}
	case all != nil:
		a.Outcome, a.Detail = "partly", all.Error()
	}
	return a
}

// countsOf is how the log tells the outcomes.
func countsOf(out wspush.Outcomes) []any {
	return []any{"received", out.Received, "written", out.Written, "buffered", out.Buffered, "unknown", out.Unknown, "refused", refusedOf(out),
		"workers", out.Workers, "answered", out.Answered, "complete", out.Complete}
}

func refusedOf(out wspush.Outcomes) (n int) {
	for _, refused := range out.Refused {
		n += refused
	}
	return n
}

// outcomeWords says in sentences what a push to a user or a group came to: each count, and what of its errors no count tells.
func outcomeWords(out wspush.Outcomes, err error) (says []string) {
	members := out.Received + out.Written + out.Buffered + out.Unknown + out.Excepted + refusedOf(out)
	if members == 0 && err != nil {
		if errors.Is(err, wspush.ErrGone) && out.Complete {
			return append([]string{"Nobody is there. Nothing was written."}, workersWords(out)...)
		}
		if errors.Is(err, wspush.ErrUnknown) {
			return []string{sentence(err.Error())}
		}
		says = []string{"Nothing was written.", sentence(err.Error())}
		if out.Workers > 0 && !out.Complete && !errors.Is(err, wspush.ErrDirectory) {
			says = append(says, sentence(out.Err().Error()))
		}
		return says
	}
	if err != nil && !errors.Is(err, wspush.ErrUnknown) {
		says = append(says, "Nothing was written.")
	}
	client, clients := "client", "clients"
	add := func(n int, one, several string) {
		switch {
		case n == 1:
			says = append(says, fmt.Sprintf("1 %s %s", client, one))
		case n > 1:
			says = append(says, fmt.Sprintf("%d %s %s", n, clients, several))
		}
	}
	add(out.Received, "has read it.", "have read it.")
	add(out.Written, "was sent all of it, and has not confirmed that it has read it.", "were sent all of it, and have not confirmed that they have read it.")
	add(out.Buffered, "has not confirmed it, and its session sends it again when the client is back.",
		"have not confirmed it, and their sessions send it again when the clients are back.")
	add(out.Excepted, "was left out.", "were left out.")
	if !out.Complete { // a worker that has not said how many members it has counts as one
		client, clients = "client or silent worker", "clients or silent workers"
	}
	add(out.Unknown, "may have it.", "may have it.")
	for _, reason := range slices.SortedFunc(maps.Keys(out.Refused), func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) {
		why := reasonWords(reason)
		add(out.Refused[reason], "did not get it, and will not: "+why, "did not get it, and will not: "+why)
	}
	isTold := func(err error) bool {
		if errors.Is(err, wspush.ErrUnknown) {
			return out.Unknown > 0
		}
		for reason := range out.Refused {
			if errors.Is(err, reason) {
				return true
			}
		}
		return false
	}
	for _, err := range split(out.Err()) {
		if !isTold(err) {
			says = append(says, sentence(err.Error()))
		}
	}
	if !out.Complete {
		says = append(says, "There may be clients that are not counted here.")
	}
	return append(says, workersWords(out)...)
}

// workersWords says that several workers have all answered. If some have not, an error says so.
func workersWords(out wspush.Outcomes) []string {
	if !out.Complete || out.Workers < 2 {
		return nil
	}
	return []string{fmt.Sprintf("All %d workers that may have members have answered.", out.Workers)}
}

// reasonWords says why one client has not got a message.
func reasonWords(reason error) string {
	switch {
	case errors.Is(reason, wspush.ErrGone):
		return "the connection has just ended."
	case errors.Is(reason, wspush.ErrSuspended):
		return fmt.Sprintf("away, and not back within %.0f s.", pushTimeout.Seconds())
	case errors.Is(reason, context.DeadlineExceeded):
		return fmt.Sprintf("not taken within %.0f s, and then withdrawn.", pushTimeout.Seconds())
	case errors.Is(reason, context.Canceled):
		return "withdrawn, since the page has left."
	}
	return strings.TrimPrefix(reason.Error(), "wspush: ") + "."
}

// outcomeOfClosing is the answer to a disconnect of a user or a group.
func outcomeOfClosing(closed int, err error) answer {
	a := answer{Outcome: "closed"}
	switch {
	case closed == 1:
		a.Says = []string{"1 connection has been closed."}
	case closed > 1:
		a.Says = []string{fmt.Sprintf("%d connections have been closed.", closed)}
	case err == nil:
		a.Says = []string{"Nobody is there: no connection has been closed."}
	}
	if err == nil {
		return a
	}
	a.Outcome, a.Detail = "partly", err.Error()
	a.Says = append(a.Says, sentence(err.Error()))
	switch {
	case closed > 0:
		a.Says = append(a.Says, "There may be others that are still open.")
	case errors.Is(err, wspush.ErrDirectory): // a worker that has not answered may have closed some
		a.Outcome = "unknown"
		a.Says = append(a.Says, "It is not known that any connection has been closed.")
	default:
		a.Outcome = "failed"
		a.Says = append(a.Says, "No connection has been closed.")
	}
	return a
}

// split takes apart what errors.Join has joined.
func split(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && strings.Contains(err.Error(), "\n") {
		return joined.Unwrap()
	}
	return []error{err}
}

// sentence makes a sentence of an error's text.
func sentence(text string) string {
	text = strings.TrimPrefix(text, "wspush: ")
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:] + "."
}
