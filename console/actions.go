package console

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"time"

	"github.com/wspush/wspush"
)

const (
	maxRequest  = 2 << 20          // bytes: a message of 1 MiB in base64, with room to spare
	pushTimeout = 10 * time.Second // for a push to be written and confirmed
)

// request is the body of a push or disconnect request.
type request struct {
	Connection string `json:"connection"` // its handle

	// For a push: one of the two.
	Text   *string `json:"text"`
	Binary []byte  `json:"binary"` // in base64

	// For a disconnect.
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

// answer is the response: the outcome of the request.
type answer struct {
	Outcome     string  `json:"outcome"`               // received, closed, or failed
	RoundTripMS float64 `json:"roundTripMs,omitempty"` // if received
	Detail      string  `json:"detail,omitempty"`      // if failed
}

var errNoMessage = errors.New("the request has neither text nor binary")

// servePush pushes a message and answers once the client has read it.
func (c *Console) servePush(w http.ResponseWriter, r *http.Request) {
	c.act(w, r, "push", func(req request, conn *wspush.Conn) (answer, []any) {
		typ, data := wspush.Binary, req.Binary
		switch {
		case req.Text != nil:
			typ, data = wspush.Text, []byte(*req.Text)
		case data == nil:
			return outcome("", errNoMessage, 0), nil
		}
		ctx, cancel := context.WithTimeout(r.Context(), pushTimeout)
		defer cancel()
		receipt, err := conn.Push(ctx, typ, data, wspush.Confirmed())
		return outcome("received", err, receipt.RoundTrip), []any{"type", typ.String(), "bytes", len(data)}
	})
}

// serveDisconnect closes a connection.
func (c *Console) serveDisconnect(w http.ResponseWriter, r *http.Request) {
	c.act(w, r, "disconnect", func(req request, conn *wspush.Conn) (answer, []any) {
		err := conn.Close(req.Code, req.Reason)
		return outcome("closed", err, 0), []any{"code", req.Code, "reason", req.Reason}
	})
}

func outcome(success string, err error, rtt time.Duration) answer {
	if err != nil {
		return answer{Outcome: "failed", Detail: err.Error()}
	}
	return answer{Outcome: success, RoundTripMS: float64(rtt) / float64(time.Millisecond)}
}

// act runs do on the connection named in the request, logs it, and answers 200 with the outcome. Any other status means that
// nothing was done.
func (c *Console) act(w http.ResponseWriter, r *http.Request, what string, do func(request, *wspush.Conn) (answer, []any)) {
	if c.opts.ReadOnly {
		http.Error(w, "this console is read-only", http.StatusForbidden)
		return
	}
	// An HTML form on another site cannot send this type in any browser: a second lock on the same door.
	if typ, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); typ != "application/json" {
		http.Error(w, "the request must be application/json", http.StatusUnsupportedMediaType)
		return
	}
	var req request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&req); err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		http.Error(w, err.Error(), status)
		return
	}
	conn, ok := c.worker.Conn(c.handles.id(req.Connection))
	if !ok {
		http.Error(w, "this console knows no such connection: it has ended, or belongs to another worker", http.StatusGone)
		return
	}
	var user []any
	if c.opts.User != nil {
		user = []any{"user", c.opts.User(r)} // before do, so that a panic cannot leave an action unlogged
	}
	a, about := do(req, conn)
	about = append(about, user...)
	about = append(about, "conn", conn.String(), "remote", r.RemoteAddr, "outcome", a.Outcome, "detail", a.Detail)
	c.opts.Logger.Info("wspush/console: "+what, about...)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(a)
}
