package wspush_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// decisions are what Accept and AuthorizePush can return, the answers, and how they are logged.
var decisions = []struct {
	name  string
	err   error
	want  want
	level slog.Level
}{
	{"unauthorized", wspush.ErrUnauthorized, want{status: 401, kind: "unauthorized", detail: "needs authorization: send a credential, or a better one"}, slog.LevelDebug},
	{"forbidden", wspush.ErrForbidden, want{status: 403, kind: "forbidden", amazon: "ForbiddenException", detail: "is forbidden to whoever sent this"}, slog.LevelDebug},
	{"unavailable", wspush.ErrUnavailable, unavailable, slog.LevelDebug},
	{"unauthorized, wrapped", fmt.Errorf("no session: %w", wspush.ErrUnauthorized), want{status: 401, kind: "unauthorized"}, slog.LevelDebug},
	{"forbidden, joined", errors.Join(errors.New("banned"), wspush.ErrForbidden), want{status: 403, kind: "forbidden", amazon: "ForbiddenException"}, slog.LevelDebug},
	{"unavailable, with its reason", fmt.Errorf("%w: %w", wspush.ErrUnavailable, context.DeadlineExceeded), unavailable, slog.LevelDebug},
	{"another error", errors.New("dial tcp: connection refused"), unavailable, slog.LevelWarn},
	{"out of time", fmt.Errorf("asking the database: %w", context.DeadlineExceeded), unavailable, slog.LevelWarn},
	{"cancelled", context.Canceled, unavailable, slog.LevelWarn},
	{"the library's own", wspush.ErrShutdown, unavailable, slog.LevelWarn},
}

var unavailable = want{status: 503, kind: "unavailable", detail: "try again later", header: http.Header{"Retry-After": {"1"}}}

// levels is a slog.Handler that keeps the level of each record about a callback.
type levels struct {
	slog.Handler
	callback string
	is       bool // the record is about that callback
	seen     chan slog.Level
}

func (levels) Enabled(context.Context, slog.Level) bool { return true }
func (h levels) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.is = h.is || slices.ContainsFunc(attrs, func(a slog.Attr) bool { return a.Key == "callback" && a.Value.String() == h.callback })
	return h
}
func (h levels) Handle(_ context.Context, r slog.Record) error {
	if h.is {
		h.seen <- r.Level
	}
	return nil
}

func newLevels(callback string) (h levels, log *slog.Logger) {
	h = levels{Handler: slog.DiscardHandler, callback: callback, seen: make(chan slog.Level, 1)}
	return h, slog.New(h)
}

// A client learns whether to log in, to give up, or to try again.
func TestAcceptRefuses(t *testing.T) {
	for _, tc := range decisions {
		t.Run(tc.name, func(t *testing.T) {
			h, log := newLevels("Accept")
			w := newWorker(t, &wspush.WorkerOptions{Logger: log})
			server := serve(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) { return nil, tc.err }})
			_, resp, err := testutil.TryDial(t, server, testutil.Options{})
			if err == nil || resp == nil {
				t.Fatalf("connected, or no answer: %v", err)
			}
			// Every 401 has a challenge. Browsers ask their users for a password on Basic.
			challenge := ""
			if tc.want.status == 401 {
				challenge = `Bearer realm="wspush"`
			}
			if got := resp.Header.Get("WWW-Authenticate"); got != challenge {
				t.Errorf("WWW-Authenticate is %q, want %q", got, challenge)
			}
			tc.want.check(t, "GET", resp)
			if level := <-h.seen; level != tc.level {
				t.Errorf("logged at %v, want %v", level, tc.level)
			}
			if s := w.Stats(); s.Handshakes.Accept != 1 || s.Handshakes.Failed != 0 {
				t.Errorf("%+v", s.Handshakes)
			}
		})
	}
}

// A publisher learns the same, whatever it asks for.
func TestAuthorizePushRefuses(t *testing.T) {
	for _, tc := range decisions {
		t.Run(tc.name, func(t *testing.T) {
			h, log := newLevels("AuthorizePush")
			w := newWorker(t, &wspush.WorkerOptions{Logger: log, AuthorizePush: func(*http.Request) error { return tc.err }})
			for _, target := range []string{"POST /ws/@connections/" + unknownID, "GET /ws/@connections/" + unknownID, "DELETE /ws", "POST /ws/@connections"} {
				method, path, _ := strings.Cut(target, " ")
				resp := do(t, newRequest(t, method, "http://"+w.Addr().String()+path, nil))
				challenge := ""
				if tc.want.status == 401 {
					challenge = `Basic realm="wspush"`
				}
				if got := resp.Header.Get("WWW-Authenticate"); got != challenge {
					t.Errorf("%s: WWW-Authenticate is %q, want %q", target, got, challenge)
				}
				tc.want.check(t, method, resp)
				if level := <-h.seen; level != tc.level {
					t.Errorf("logged at %v, want %v", level, tc.level)
				}
			}
			if n := w.Stats().Problems[tc.want.status]; n != 4 {
				t.Errorf("counted %d times", n)
			}
		})
	}
}

// A client that leaves while Accept waits for a database is no failure of the application.
func TestAcceptAfterClientLeft(t *testing.T) {
	h, log := newLevels("Accept")
	w := newWorker(t, &wspush.WorkerOptions{Logger: log})
	handler := newHandler(t, w, &wspush.HandlerOptions{Accept: func(r *http.Request) (any, error) {
		return nil, fmt.Errorf("asking the database: %w", r.Context().Err())
	}})
	server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		handler.ServeHTTP(rw, r.WithContext(ctx))
	}))
	if _, resp, err := testutil.TryDial(t, server, testutil.Options{}); err == nil || resp == nil || resp.StatusCode != 503 {
		t.Errorf("%v, %v", resp, err)
	}
	if level := <-h.seen; level != slog.LevelDebug {
		t.Errorf("logged at %v", level)
	}
}
