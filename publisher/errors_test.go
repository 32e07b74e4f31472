package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// An Error carries what the worker said.
func TestError(t *testing.T) {
	c := newClient(t, publisher.Options{Credential: "bearer-secret"})
	err := push(t, c, addressOf(testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "7")
		says(504, "application/problem+json", `{"type":"urn:wspush:unknown","detail":"half\n of \u202e `+id+` bearer-secret","connection":"gone"}`)(w, r)
	}))))
	var e *publisher.Error
	if !errors.As(err, &e) || e.Status != 504 || e.RetryAfter != 7*time.Second || e.Connection != "gone" || e.Detail != "half  of   … …" {
		t.Fatalf("got %+v", err)
	}
	err = push(t, c, addressOf(testutil.Serve(t, says(504, "application/problem+json", `{"type":"urn:wspush:unknown","connection":"`+id+`"}`))))
	if !errors.As(err, &e) || e.Connection != "" {
		t.Errorf("got %+v", err)
	}
}

// An error says everything once: where a worker has said what happened, the sentinel's text does not repeat it.
func TestErrorText(t *testing.T) {
	c := newClient(t, publisher.Options{})
	const problems = "application/problem+json"
	for want, answer := range map[string]http.HandlerFunc{
		`answered 503: "the worker is shutting down"; try again after 1s`: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "1")
			says(503, problems, `{"type":"urn:wspush:shutdown","detail":"the worker is shutting down"}`)(w, r)
		},
		`answered 410: "there is no such connection"`:                                                    says(410, problems, `{"type":"urn:wspush:gone","detail":"there is no such connection"}`),
		`no such connection: WHERE answered 410`:                                                         says(410, problems, `{"type":"urn:wspush:gone"}`),
		`busy, try again later: WHERE answered 429, and is no worker, or something in between is none`:   says(429, "text/html", "slow down"),
		`the request was refused: WHERE answered 404, and is no worker, or something in between is none`: says(404, "text/html", "what?"),
	} {
		url := testutil.Serve(t, answer)
		if !strings.Contains(want, "WHERE") {
			want = "WHERE " + want
		}
		if err := push(t, c, addressOf(url)); err == nil || err.Error() != "wspush: "+strings.ReplaceAll(want, "WHERE", url) {
			t.Errorf("got  %v\nwant wspush: %s", err, want)
		}
	}
	refused := newClient(t, publisher.Options{CredentialFunc: func(context.Context) (string, error) { return "from a file\n", nil }})
	if err := push(t, refused, addressOf("http://127.0.0.1:1")); strings.Count(fmt.Sprint(err), "wspush") != 1 || !strings.Contains(err.Error(), "line break") {
		t.Errorf("a credential with a line break: %v", err)
	}
}
