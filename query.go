package wspush

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// pushQuery is what the query of a push asks for.
type pushQuery struct {
	typ     MessageType // 0: the content type decides
	confirm bool
	timeout time.Duration // 0: the default
	keep    wire.Keep
	mark    uint64 // see newMark
}

// maxQuery is the size in bytes of the longest query that is read: a worker that is mounted has no limit of its own for headers, and
// another worker has to be told.
const maxQuery = 16 << 10

// maxTimeout is how long a publisher can have a push wait.
const maxTimeout = 30 * time.Second

// confirmReceived is the value of confirm.
const confirmReceived = "received"

var (
	errConfirm   = errors.New("confirm must be " + confirmReceived)
	errLongQuery = fmt.Errorf("the query is longer than %d bytes", maxQuery)
	errKeep      = errors.New(`keep must be a duration, such as "0s" or "10s"`)
	errTimeout   = errors.New(`timeout must be a positive duration, such as "5s" or "1500ms"`)
)

// parseTimeout reads how long a push may wait, and cuts it to maxTimeout: a publisher may say how long it is prepared to wait
// without knowing the worker's limit, and it gets a definite outcome sooner.
func parseTimeout(s string) (time.Duration, error) {
	timeout, err := time.ParseDuration(s)
	switch {
	case err != nil && isOverlong(s):
		return maxTimeout, nil
	case err != nil || timeout <= 0:
		return 0, errTimeout
	}
	return min(timeout, maxTimeout), nil
}

// parseKeep reads how long a push waits for a client that is away, and cuts it to maxTimeout.
func parseKeep(s string) (wire.Keep, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && s != "" && isOverlong(s):
		d = maxTimeout
	case err != nil || d < 0:
		return wire.Keep{}, errKeep
	}
	return wire.Keep{Asked: true, For: min(d, maxTimeout)}, nil
}

// isOverlong reports whether a duration that cannot be parsed is only too long: with zeros for its digits, it can. A bare 0 needs no
// unit, other numbers do.
func isOverlong(s string) bool {
	_, err := time.ParseDuration(strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' {
			return '0'
		}
		return c
	}, s))
	return err == nil && !strings.HasPrefix(s, "-") && s[len(s)-1] > '9'
}

// readPushQuery reads the query of a push.
func readPushQuery(raw string) (q pushQuery, err error) {
	if raw == "" {
		return q, nil
	}
	values, err := readQuery(raw, "type", "confirm", "timeout", "keep")
	if err != nil {
		return q, err
	}
	return pushQueryOf(values)
}

// pushQueryOf reads what the parameters of a push ask for.
func pushQueryOf(values url.Values) (q pushQuery, err error) {
	if values.Has("type") {
		switch values.Get("type") {
		case "text":
			q.typ = Text
		case "binary":
			q.typ = Binary
		default:
			return q, errors.New("type must be text or binary")
		}
	}
	if values.Has("confirm") {
		if q.confirm = values.Get("confirm") == confirmReceived; !q.confirm {
			return q, errConfirm
		}
	}
	if values.Has("timeout") {
		if q.timeout, err = parseTimeout(values.Get("timeout")); err != nil {
			return q, err
		}
	}
	if values.Has("keep") {
		q.keep, err = parseKeep(values.Get("keep"))
	}
	return q, err
}

// readCloseQuery reads the query of a DELETE.
func readCloseQuery(raw string) (code int, reason string, err error) {
	values, err := readQuery(raw, "code", "reason")
	if err != nil {
		return 0, "", err
	}
	return closeQueryOf(values)
}

// closeQueryOf reads what the parameters of a DELETE ask for.
func closeQueryOf(values url.Values) (code int, reason string, err error) {
	code, reason = codeNormal, values.Get("reason")
	if values.Has("code") {
		if code, err = strconv.Atoi(values.Get("code")); err != nil {
			return 0, "", errors.New("code must be a number: " + wire.CloseCodes)
		}
	}
	return code, reason, wire.CheckClose(code, reason)
}

// readQuery reads a query that has no parameters but the known ones, and each of them once. A parameter that was ignored would
// make a misspelt one change what a push promises: "confrim=received" would be answered like a receipt. The only exceptions
// are the parameters of AWS's presigned URLs.
func readQuery(raw string, known ...string) (url.Values, error) {
	return readQueryWith("", raw, known...)
}

// readQueryWith is readQuery, but one of the known parameters may stand there several times.
func readQueryWith(several, raw string, known ...string) (url.Values, error) {
	switch {
	case raw == "":
		return nil, nil // the usual case, at no cost
	case len(raw) > maxQuery:
		return nil, errLongQuery
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, errors.New("the query is malformed")
	}
	for part := range strings.SplitSeq(raw, "&") { // in their order, which values has lost
		name, _, _ := strings.Cut(part, "=")
		name, _ = url.QueryUnescape(name) // ParseQuery has done it before
		switch {
		case part == "" || isPresigned(name):
		case !slices.Contains(known, name):
			return nil, unknownParameter("query", name, known)
		case len(values[name]) > 1 && name != several:
			return nil, fmt.Errorf("there is more than one %s in the query", name)
		}
	}
	return values, nil
}

// isPresigned reports whether a parameter is one of those that presign a request to AWS (Signature Version 4). SDKs of API
// Gateway that sign the URL rather than the header add them. A worker does not verify them.
func isPresigned(name string) bool {
	const prefix = "x-amz-"
	return len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// unknownParameter is the error for a parameter of the query, or of something else, that is none of the known ones.
func unknownParameter(of, name string, known []string) error {
	near := nearest(name, known)
	if len(name) > 24 { // it may be an ID or another secret, and this text is logged
		name = name[:8] + "…"
	}
	switch {
	case near != "":
		return fmt.Errorf("unknown %s parameter %q: did you mean %q?", of, name, near)
	case len(known) == 0:
		return fmt.Errorf("unknown %s parameter %q: this request takes none", of, name)
	}
	return fmt.Errorf("unknown %s parameter %q: this request takes %s", of, name, strings.Join(known, ", "))
}
