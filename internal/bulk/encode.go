package bulk

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Key says which push of a request an answer is to.
type Key struct {
	Line  int
	Index int    // of the target; -1: the line has one
	Ref   string // as JSON, or ""
}

// Refusal is an answer other than a success.
type Refusal struct {
	Status     int    `json:"-"`
	Type       string `json:"type"`
	Detail     string `json:"detail,omitempty"`
	Connection string `json:"connection,omitempty"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds
}

// appendHead appends the beginning of an answer, which ends in its status.
func (k Key) appendHead(dst []byte, status int) []byte {
	dst = strconv.AppendInt(append(dst, `{"line":`...), int64(k.Line), 10)
	if k.Index >= 0 {
		dst = strconv.AppendInt(append(dst, `,"index":`...), int64(k.Index), 10)
	}
	if k.Ref != "" {
		dst = append(append(dst, `,"ref":`...), k.Ref...)
	}
	return strconv.AppendInt(append(dst, `,"status":`...), int64(status), 10)
}

// AppendWritten appends the answer to a push that has been written.
func (k Key) AppendWritten(dst []byte) []byte {
	return append(k.appendHead(dst, http.StatusNoContent), "}\n"...)
}

// AppendConfirmed appends the answer to a push that has been confirmed.
func (k Key) AppendConfirmed(dst []byte, roundTrip time.Duration) []byte {
	dst = append(k.appendHead(dst, http.StatusNoContent), `,"rttMs":`...)
	return append(strconv.AppendFloat(dst, float64(roundTrip)/float64(time.Millisecond), 'f', 3, 64), "}\n"...)
}

// AppendBuffered appends the answer to a push that its session has, which waits for its client for so many seconds more.
func (k Key) AppendBuffered(dst []byte, seconds int) []byte {
	dst = append(k.appendHead(dst, http.StatusAccepted), `,"bufferedFor":`...)
	return append(strconv.AppendInt(dst, int64(seconds), 10), "}\n"...)
}

// AppendRefusal appends the answer to a push that has failed.
func (k Key) AppendRefusal(dst []byte, r Refusal) []byte {
	return append(appendMembers(k.appendHead(dst, r.Status), r), '\n')
}

// AppendBeginning appends the answer to a line that is for several, up to its own members. refusal says why it is not a success, nil if it
// is one.
func (k Key) AppendBeginning(dst []byte, refusal *Refusal) []byte {
	if refusal == nil {
		return append(k.appendHead(dst, http.StatusOK), ',')
	}
	dst = appendMembers(k.appendHead(dst, refusal.Status), *refusal)
	dst[len(dst)-1] = ','
	return dst
}

// AppendLast appends the last line of an answer: how many lines have been read, and why no more, unless the body has ended.
func AppendLast(dst []byte, lines int, why *Refusal) []byte {
	dst = strconv.AppendInt(append(dst, `{"lines":`...), int64(lines), 10)
	if why == nil {
		return append(dst, "}\n"...)
	}
	return append(appendMembers(dst, *why), '\n')
}

// appendMembers appends what a refusal says to an object that has members already, and closes it.
func appendMembers(dst []byte, r Refusal) []byte {
	rest, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and an int
	}
	return append(append(dst, ','), rest[1:]...)
}
