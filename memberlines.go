package wspush

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/lane"
	"github.com/wspush/wspush/internal/wire"
)

// memberLines is an answer with a line for each member, and then one for all of them. Lines are written when there are many, and as they
// come once the push waits for somebody.
type memberLines struct {
	control *http.ResponseController
	confirm bool

	mu        sync.Mutex // guards what follows
	rw        http.ResponseWriter
	lines     []byte // not yet written
	hasBegun  bool
	isWaiting bool
	hasFailed bool
}

// linesBytes is how many bytes of lines wait to be written together.
const linesBytes = 16 << 10

// wantsLines reports whether a publisher takes an answer in lines.
func wantsLines(h http.Header) bool {
	for _, accept := range h["Accept"] {
		for media := range strings.SplitSeq(accept, ",") {
			media, _, _ = strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(media), wire.NDJSON) {
				return true
			}
		}
	}
	return false
}

func newMemberLines(rw http.ResponseWriter, confirm bool) *memberLines {
	return &memberLines{rw: rw, control: http.NewResponseController(rw), confirm: confirm}
}

// told adds the line of a member. It returns false if nobody reads lines any more.
func (l *memberLines) told(id string, roundTrip time.Duration, err error) bool {
	line := struct {
		ID     string `json:"id"`
		Status int    `json:"status"`
		*bulk.Refusal
		RttMs       float64 `json:"rttMs,omitempty"`
		BufferedFor *int    `json:"bufferedFor,omitempty"` // may be 0
	}{ID: id, Status: http.StatusNoContent}
	switch d, isBuffered := bufferedIn(err); {
	case isBuffered:
		seconds := inSeconds(d)
		line.Status, line.BufferedFor = http.StatusAccepted, &seconds
	case err != nil:
		refusal := refusalOf(problemOfPush(err, l.confirm))
		line.Status, line.Refusal = refusal.Status, &refusal
	case l.confirm:
		line.RttMs = math.Round(1000*milliseconds(roundTrip)) / 1000
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(line)
	if l.isWaiting || len(l.lines) >= linesBytes {
		l.writeLocked(true)
	}
	return !l.hasFailed
}

func (l *memberLines) addLocked(line any) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err) // structs of strings and numbers
	}
	l.lines = append(append(l.lines, text...), '\n')
}

// writeLocked writes what there is. Its publisher has answerTimeout to take it. The deadline does not last any longer: over HTTP/2 it
// would end a request in which nothing is being written.
func (l *memberLines) writeLocked(more bool) {
	if l.hasFailed {
		l.lines = nil
		return
	}
	_ = l.control.SetWriteDeadline(time.Now().Add(answerTimeout))
	if !l.hasBegun {
		l.hasBegun = true
		h := l.rw.Header()
		h.Set("Content-Type", wire.NDJSON)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Accel-Buffering", "no") // nginx would keep lines back
		l.rw.WriteHeader(http.StatusOK)
	}
	_, err := l.rw.Write(l.lines)
	if more {
		_ = l.control.Flush() // a middleware may hide it: then lines come later
		_ = l.control.SetWriteDeadline(time.Time{})
	}
	l.lines, l.hasFailed = l.lines[:0], err != nil
}

// wait says that the push waits for somebody.
func (l *memberLines) wait() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isWaiting = true
	l.writeLocked(true)
}

// probing is lane.Probing for an answer that has begun, in which an interim one has no place: a space before a line means nothing.
func (l *memberLines) probing(_ http.ResponseWriter, r *http.Request) (stop func()) {
	halfClosed := lane.HalfClosed(r)
	if halfClosed == nil {
		return func() {}
	}
	stopping, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-stopping:
			return
		case <-halfClosed:
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, ' ')
		l.writeLocked(true)
	}()
	return func() {
		close(stopping)
		<-ended
	}
}

// end adds the last line, about all members.
func (l *memberLines) end(o *Outcomes, err error) {
	last := struct {
		Status int `json:"status"`
		*bulk.Refusal
	}{Status: http.StatusOK}
	if err != nil {
		refusal := refusalOf(problemOfOutcomes(o, err, l.confirm))
		last.Status, last.Refusal = refusal.Status, &refusal
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addLocked(last)
	l.lines = append(appendOutcomes(append(l.lines[:len(l.lines)-2], ','), o), '\n') // in place of a brace and a line feed
	l.writeLocked(false)
}
