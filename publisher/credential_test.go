package publisher_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// counted is a CredentialFunc that returns another credential each time.
type counted struct{ n atomic.Int64 }

func (c *counted) credential(context.Context) (string, error) {
	return "credential-" + string(rune('a'+c.n.Add(1)-1)), nil
}

// Each request is sent with what CredentialFunc returns for it, once for a call, and once for a request of a stream.
func TestCredentialFunc(t *testing.T) {
	seen := make(chan string, 10)
	worker := new(worker)
	server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Method + " " + r.Header.Get("Authorization")
		switch {
		case strings.HasSuffix(r.URL.Path, "/@connections"):
			worker.ServeHTTP(w, r)
		case r.Method == http.MethodGet:
			says(200, "application/json", `{"connectionId":"`+id+`"}`)(w, r)
		default:
			w.WriteHeader(204)
		}
	}))
	var credentials counted
	c := newClient(t, publisher.Options{CredentialFunc: credentials.credential})
	s := c.NewStream()
	ctx := context10(t)
	for want, call := range map[string]func() error{
		"POST":   func() error { return outcome(c.Push(ctx, addressOf(server), publisher.Text, nil)) },
		"GET":    func() error { _, err := c.Lookup(ctx, addressOf(server)); return err },
		"DELETE": func() error { return c.Disconnect(ctx, addressOf(server), 1000, "") },
	} {
		want += " Bearer credential-" + string(rune('a'+credentials.n.Load()))
		if err := inError(t, call()); err != nil {
			t.Error(err)
		}
		if got := <-seen; got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	for range 2 { // over one request
		if err := inError(t, outcome(s.Push(ctx, addressOf(server), publisher.Text, []byte("hello")))); err != nil {
			t.Error(err)
		}
	}
	_ = s.Close()
	s = c.NewStream()
	defer s.Close()
	if err := inError(t, outcome(s.Push(ctx, addressOf(server), publisher.Text, []byte("hello")))); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"POST Bearer credential-d", "POST Bearer credential-e"} {
		if got := <-seen; got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	if len(seen) > 0 || credentials.n.Load() != 5 {
		t.Errorf("%d more requests; asked for %d credentials", len(seen), credentials.n.Load())
	}
}

// Where there is no credential to be had, nothing is sent, and the error matches that of CredentialFunc.
func TestCredentialFuncFails(t *testing.T) {
	server := testutil.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("somebody was asked") }))
	errExpired := errors.New("the key has expired")
	for name, f := range map[string]func(context.Context) (string, error){
		"an error":         func(context.Context) (string, error) { return "bearer-secret", errExpired },
		"a bad credential": func(context.Context) (string, error) { return "bearer-secret\r\nX: y", nil },
	} {
		c := newClient(t, publisher.Options{CredentialFunc: f})
		s := c.NewStream()
		defer s.Close()
		ctx := context10(t)
		_, lookup := c.Lookup(ctx, addressOf(server))
		sent := make(chan error, 1)
		if err := s.Send(ctx, addressOf(server), publisher.Text, nil, func(r publisher.Receipt, err error) {
			if r != (publisher.Receipt{}) {
				t.Errorf("%s: %+v", name, r)
			}
			sent <- err
		}); err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"push":       outcome(c.Push(ctx, addressOf(server), publisher.Text, nil)),
			"lookup":     lookup,
			"disconnect": c.Disconnect(ctx, addressOf(server), 1000, ""),
			"stream":     outcome(s.Push(ctx, addressOf(server), publisher.Text, nil)),
			"send":       <-sent,
		} {
			if inError(t, err); err == nil || errors.Is(err, publisher.ErrUnknown) || !strings.Contains(err.Error(), "CredentialFunc") {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if name == "an error" && !errors.Is(err, errExpired) {
				t.Errorf("%s does not match what CredentialFunc returned: %v", what, err)
			}
		}
	}
}

// A CredentialFunc that waits for its context delays a Stream for no longer than Timeout. Nothing is sent meanwhile, and everyone
// learns that.
func TestCredentialFuncWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, publisher.Options{Timeout: 10 * time.Second, CredentialFunc: func(ctx context.Context) (string, error) {
			<-ctx.Done()
			return "bearer-secret", ctx.Err()
		}})
		s := c.NewStream()
		began := time.Now()
		sent := make(chan error, 1)
		if err := s.Send(t.Context(), addressOf("http://127.0.0.1:1"), publisher.Text, nil, func(_ publisher.Receipt, err error) { sent <- err }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		other := strings.Replace(addressOf("http://127.0.0.1:1"), "/ws/", "/other/", 1)
		err := outcome(s.Push(ctx, other, publisher.Text, nil)) // the first on its route
		if inError(t, err); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("Push: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		third := strings.Replace(other, "/other/", "/third/", 1)
		for _, err := range s.PushEach(ctx, slices.Values([]string{third}), publisher.Text, nil) {
			if inError(t, err); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, publisher.ErrUnknown) {
				t.Errorf("PushEach: %v", err)
			}
		}
		if d := time.Since(began); d != 2*time.Second {
			t.Errorf("the two took %v", d)
		}
		_ = s.Close()
		if err := <-sent; !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("Send: %v", err)
		}
		if d := time.Since(began); d > 12*time.Second {
			t.Errorf("Close took %v", d)
		}
		c.Close()
	})
}

// What a server repeats of a credential is in no error, also where the credential changes.
func TestCredentialHidden(t *testing.T) {
	server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		says(403, "application/problem+json", `{"type":"urn:wspush:forbidden","detail":"bad `+r.Header.Get("Authorization")+`"}`)(w, r)
	}))
	var credentials counted
	c := newClient(t, publisher.Options{CredentialFunc: credentials.credential})
	s := c.NewStream()
	defer s.Close()
	for range 3 {
		for _, err := range []error{
			outcome(c.Push(context10(t), addressOf(server), publisher.Text, nil)),
			outcome(s.Push(context10(t), addressOf(server), publisher.Text, nil)),
		} {
			if !errors.Is(err, publisher.ErrForbidden) || !strings.Contains(err.Error(), "bad Bearer …") || strings.Contains(err.Error(), "credential-") {
				t.Error(err)
			}
		}
	}
}

func TestCredentialExclusive(t *testing.T) {
	_, err := publisher.New(&publisher.Options{
		Hosts: []string{"h"}, Credential: "a", CredentialFunc: func(context.Context) (string, error) { return "b", nil },
	})
	if err == nil || !strings.Contains(err.Error(), "exclude each other") {
		t.Error(err)
	}
}
