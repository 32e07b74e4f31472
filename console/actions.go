package console

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/wire"
)

const (
	maxRequest  = 2 << 20          // bytes: a message of 1 MiB in base64, with room to spare
	pushTimeout = 10 * time.Second // for a push to be written and confirmed
)

// request is the body of a request from the page. It names one of the first three.
type request struct {
	Connection string  `json:"connection"` // its handle
	User       *string `json:"user"`
	Group      *string `json:"group"`

	// For a push: one of the two.
	Text   *string `json:"text"`
	Binary []byte  `json:"binary"` // in base64

	// For a disconnect.
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

// answer is the response: the outcome of the request.
type answer struct {
	Outcome     string   `json:"outcome"`               // received, buffered, closed, failed, or unknown; or partly, of a user or a group
	RoundTripMS float64  `json:"roundTripMs,omitempty"` // if a connection's client has received the message
	Detail      string   `json:"detail,omitempty"`      // if failed, unknown, or partly
	Says        []string `json:"says,omitempty"`        // all of the outcome, in sentences: of a user or a group, or if a client is away
}

var errNoMessage = errors.New("the request has neither text nor binary")

// servePush pushes a message and answers once the client has read it, or, of a user or a group, once each member has its outcome. For a client that
// is away it waits as long as for one that does not read: the operator would rather hear that it is back.
func (c *Console) servePush(w http.ResponseWriter, r *http.Request) {
	c.act(w, r, "push", func(req request, to target) (answer, []any) {
		typ, data := wspush.Binary, req.Binary
		switch {
		case req.Text != nil:
			typ, data = wspush.Text, []byte(*req.Text)
		case data == nil:
			return outcome("", errNoMessage, 0), nil
		}
		ctx, cancel := context.WithTimeout(r.Context(), pushTimeout)
		defer cancel()
		about := []any{"type", typ.String(), "bytes", len(data)}
		if to.recipients != nil {
			out, err := to.recipients.Push(ctx, typ, data, wspush.Confirmed())
			return outcomeOfAll(out, err), append(about, countsOf(out)...)
		}
		receipt, err := to.conn.Push(ctx, typ, data, wspush.Confirmed())
		return outcomeOfPush(receipt, err), about
	})
}

// serveDisconnect closes a connection, or all those of a user or a group.
func (c *Console) serveDisconnect(w http.ResponseWriter, r *http.Request) {
	c.act(w, r, "disconnect", func(req request, to target) (answer, []any) {
		about := []any{"code", req.Code, "reason", req.Reason}
		if to.recipients == nil {
			return outcome("closed", to.conn.Close(req.Code, req.Reason), 0), about
		}
		if err := wire.CheckClose(req.Code, req.Reason); err != nil { // so that nothing has been tried
			return outcome("", err, 0), about
		}
		// A page that leaves in the middle must not leave a group half closed.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), pushTimeout)
		defer cancel()
		closed, err := to.recipients.Disconnect(ctx, req.Code, req.Reason)
		return outcomeOfClosing(closed, err), append(about, "closed", closed)
	})
}

func outcome(success string, err error, rtt time.Duration) answer {
	if err != nil {
		return answer{Outcome: failure(err), Detail: err.Error()}
	}
	return answer{Outcome: success, RoundTripMS: float64(rtt) / float64(time.Millisecond)}
}

// failure tells an action that came to nothing from one that may have been carried out: an operator who reads "failed" in the log would repeat it.
func failure(err error) string {
	if errors.Is(err, wspush.ErrUnknown) {
		return "unknown"
	}
	return "failed"
}

// act runs do on what the request names, logs it, and answers 200 with the outcome. Any other status means that nothing was done.
func (c *Console) act(w http.ResponseWriter, r *http.Request, what string, do func(request, target) (answer, []any)) {
	if c.opts.ReadOnly {
		http.Error(w, "this console is read-only", http.StatusForbidden)
		return
	}
	req, to, refused := c.read(w, r)
	if refused != nil {
		http.Error(w, refused.detail, refused.status)
		return
	}
	var user []any
	if c.opts.User != nil {
		user = []any{"user", c.opts.User(r)} // before do, so that a panic cannot leave an action unlogged
	}
	a, about := do(req, to)
	about = append(about, user...)
	about = append(about, to.attrs()...)
	about = append(about, "remote", r.RemoteAddr, "outcome", a.Outcome, "detail", a.Detail)
	c.opts.Logger.Info("wspush/console: "+what, about...)
	writeJSON(w, a)
}

// read reads a request, and finds what it names.
func (c *Console) read(w http.ResponseWriter, r *http.Request) (req request, to target, refused *refusal) {
	// An HTML form on another site cannot send this type in any browser: a second lock on the same door.
	if typ, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); typ != "application/json" {
		return req, to, &refusal{http.StatusUnsupportedMediaType, "the request must be application/json"}
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest)).Decode(&req); err != nil {
		status := http.StatusBadRequest
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		return req, to, &refusal{status, err.Error()}
	}
	to, refused = c.target(&req)
	return req, to, refused
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
