package publisher_test

import (
	"errors"
	"net/http"
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
