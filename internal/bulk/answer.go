package bulk

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// Answer is a line of the answer to a bulk request. The body of a problem (RFC 9457) decodes into it, too.
type Answer struct {
	Line       int     `json:"line,omitempty"` // from 1; 0 in the answer to a whole request
	Index      *int    `json:"index,omitempty"`
	Ref        string  `json:"ref,omitempty"`
	Status     int     `json:"status"`
	Type       string  `json:"type,omitempty"`
	Detail     string  `json:"detail,omitempty"`
	Connection string  `json:"connection,omitempty"`
	RetryAfter float64 `json:"retryAfter,omitempty"` // seconds
	RttMs      float64 `json:"rttMs,omitempty"`

	BufferedFor *float64 `json:"bufferedFor,omitempty"` // seconds; nil if the answer does not have it

	*Counts // nil unless the answer has one of them

	Lines *int `json:"lines,omitempty"` // in the last line, with nothing else: how many were read
}

// Counts are what an answer says of a push to a user or a group, or of closing its connections; nil is what it does not have.
type Counts struct {
	Written  *int           `json:"written,omitempty"`
	Received *int           `json:"received,omitempty"`
	Buffered *int           `json:"buffered,omitempty"`
	Refused  map[string]int `json:"refused,omitempty"` // by the ends of problems' types
	Unknown  *int           `json:"unknown,omitempty"`
	Excepted *int           `json:"excepted,omitempty"`
	Workers  *int           `json:"workers,omitempty"`
	Answered *int           `json:"answered,omitempty"`
	Complete *bool          `json:"complete,omitempty"`
	Closed   *int           `json:"closed,omitempty"`
}

// MaxAnswer is how many bytes of an answer line, or of a problem, are read.
const MaxAnswer = 64 << 10

// OfWorker reports whether the answer is a worker's refusal rather than some proxy's.
func (a Answer) OfWorker() bool { return a.Status >= 400 && strings.HasPrefix(a.Type, wire.TypePrefix) }

// Wait is RetryAfter as a duration, and 0 where it makes no sense.
func (a Answer) Wait() time.Duration { return duration(a.RetryAfter, time.Second) }

// RoundTrip is RttMs as a duration, and 0 where it makes no sense.
func (a Answer) RoundTrip() time.Duration { return duration(a.RttMs, time.Millisecond) }

func duration(n float64, unit time.Duration) time.Duration {
	if d := n * float64(unit); d > 0 && d < math.MaxInt64 {
		return time.Duration(d)
	}
	return 0
}

// ReadProblem reads what a response other than a success says: its status always, and the rest only if it is a worker's. It
// reads at most MaxAnswer bytes, leaves the body to be closed, and fails with the body.
func ReadProblem(resp *http.Response) (Answer, error) {
	a := Answer{Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if err != nil || len(body) > MaxAnswer || !hasMedia(resp.Header, "application/problem+json") {
		return a, err
	}
	problem := a
	if err := json.Unmarshal(body, &problem); err != nil {
		return a, nil
	}
	problem.Status = a.Status
	if !problem.OfWorker() {
		return a, nil
	}
	a.Type, a.Detail, a.Connection, a.Counts = problem.Type, problem.Detail, problem.Connection, problem.Counts
	return a, nil
}

// retryAfter reads the header of this name where it has seconds. Workers send no dates, and a proxy's clock is its own.
func retryAfter(h http.Header) float64 {
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return float64(seconds)
}

func hasMedia(h http.Header, want string) bool {
	media, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return media == want && (err == nil || errors.Is(err, mime.ErrInvalidMediaParameter))
}
