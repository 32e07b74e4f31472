package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/wspush/wspush/publisher"
)

const (
	pushTimeout = 10 * time.Second // for a message to all of a user's devices
	retryAfter  = 2 * time.Second  // unless a worker says otherwise
	maxAddress  = 64 << 10
	maxMessage  = 1 << 20 // what a worker accepts
	maxUser     = 256     // bytes in a name
)

// service is the HTTP side.
type service struct {
	addresses Addresses
	client    *publisher.Client
	log       *slog.Logger
}

func (s *service) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /users/{user}/address", s.putAddress)
	mux.HandleFunc("POST /users/{user}/messages", s.postMessage)
	// A page of another site must not make a browser on this machine call it.
	return http.NewCrossOriginProtection().Handler(mux)
}

// putAddress adds an address to a user's. Looking it up checks that it leads to the workers, without which nothing is sent, and
// to a live connection.
func (s *service) putAddress(w http.ResponseWriter, r *http.Request) {
	body, ok := read(w, r, maxAddress)
	if !ok {
		return
	}
	user, address := r.PathValue("user"), strings.TrimSpace(string(body))
	if len(user) > maxUser {
		http.Error(w, "the user's name is too long", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pushTimeout)
	defer cancel()
	_, err := s.client.Lookup(ctx, address)
	switch {
	case err == nil:
	case errors.Is(err, publisher.ErrAddress):
		s.log.Warn("an address was refused", "user", user, "error", err) // the error does not contain the address
		http.Error(w, "the address is not one of the workers'", http.StatusBadRequest)
		return
	case errors.Is(err, publisher.ErrGone):
		http.Error(w, "the connection is gone", http.StatusGone)
		return
	default:
		s.log.Warn("an address could not be looked up", "user", user, "error", err)
		later(w, err, "the worker does not answer")
		return
	}
	switch err := s.addresses.Set(ctx, user, address, true); {
	case errors.Is(err, errFull):
		http.Error(w, err.Error(), http.StatusInsufficientStorage)
	case err != nil:
		s.failed(w, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// outcomes counts the outcomes of a message at a user's devices.
type outcomes struct {
	Written int `json:"written"` // to the client's socket
	Gone    int `json:"gone"`    // not written, and the address forgotten
	Later   int `json:"later"`   // not written; a retry may succeed
	Unknown int `json:"unknown"` // perhaps written
	Refused int `json:"refused"` // not written, and a retry will not change that
}

// postMessage pushes a text to all of a user's devices. If it was written to any, the answer is 200 with the count of each
// outcome, since sending it again would send it twice to those. Any other status but 504 means that it was written nowhere.
func (s *service) postMessage(w http.ResponseWriter, r *http.Request) {
	text, ok := read(w, r, maxMessage)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pushTimeout)
	defer cancel()
	user := r.PathValue("user")
	addresses, err := s.addresses.Of(ctx, user)
	switch {
	case err != nil:
		s.failed(w, err)
		return
	case len(addresses) == 0:
		http.Error(w, "the user has no address: not connected, or unknown", http.StatusNotFound)
		return
	}
	o, worst := s.pushAll(ctx, user, addresses, text)
	switch {
	case o.Written > 0:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(o) // it fails only if the caller has left
	case o.Unknown > 0:
		http.Error(w, "the message may have been written: sending it again may duplicate it", http.StatusGatewayTimeout)
	case o.Later > 0:
		later(w, worst, "nothing was written; try again later")
	case o.Refused > 0:
		refused(w, worst)
	default:
		http.Error(w, "the user has left; nothing was written", http.StatusGone)
	}
}

// pushAll pushes to all addresses at once, so a slow device never blocks the others. If nothing was written, worst is the most
// telling error.
func (s *service) pushAll(ctx context.Context, user string, addresses []string, text []byte) (o outcomes, worst error) {
	errs := make(chan error, len(addresses))
	for _, address := range addresses {
		go func() {
			_, err := s.client.Push(ctx, address, publisher.Text, text)
			if errors.Is(err, publisher.ErrGone) { // and no other error: ErrAddress may be a mistake in this service's own settings
				s.forget(user, address)
			}
			errs <- err
		}()
	}
	for range addresses {
		err := <-errs
		if err != nil {
			s.log.Info("not pushed", "user", user, "error", err)
		}
		switch o.count(err) {
		case &o.Later:
			worst = longest(worst, err)
		case &o.Refused:
			if worst == nil {
				worst = err
			}
		}
	}
	return o, worst
}

// count counts the outcome of one push, and returns its counter.
func (o *outcomes) count(err error) *int {
	n := &o.Later // 429, 503, 502 or no listener: keep the address, since the worker may come back
	switch {
	case err == nil:
		n = &o.Written
	case errors.Is(err, publisher.ErrGone):
		n = &o.Gone
	case errors.Is(err, publisher.ErrUnknown):
		n = &o.Unknown
	case errors.Is(err, publisher.ErrTooLarge), errors.Is(err, publisher.ErrInvalidUTF8), errors.Is(err, publisher.ErrForbidden),
		errors.Is(err, publisher.ErrAddress):
		n = &o.Refused
	}
	*n++
	return n
}

// forget removes an address that is gone. It has its own context: the address is gone even if the caller has left.
func (s *service) forget(user, address string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.addresses.Set(ctx, user, address, false); err != nil {
		s.log.Error("an address could not be forgotten", "user", user, "error", err)
	}
}

// longest returns the error with the longer Retry-After.
func longest(a, b error) error {
	if a != nil && wait(a) > wait(b) {
		return a
	}
	return b
}

// wait returns how long to wait before a retry.
func wait(err error) time.Duration {
	if e := (*publisher.Error)(nil); errors.As(err, &e) && e.RetryAfter > 0 {
		return e.RetryAfter
	}
	return retryAfter
}

func later(w http.ResponseWriter, err error, detail string) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait(err).Seconds()))))
	http.Error(w, detail, http.StatusServiceUnavailable)
}

func refused(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, publisher.ErrTooLarge):
		http.Error(w, "the message is larger than a worker accepts", http.StatusRequestEntityTooLarge)
	case errors.Is(err, publisher.ErrInvalidUTF8):
		http.Error(w, "the message is not UTF-8", http.StatusBadRequest)
	case errors.Is(err, publisher.ErrAddress):
		http.Error(w, "this service may not push to the user's address: see -workers", http.StatusBadGateway)
	default:
		http.Error(w, "the workers refuse pushes from this service: see PUSH_TOKEN", http.StatusBadGateway)
	}
}

func (s *service) failed(w http.ResponseWriter, err error) {
	s.log.Error("addresses", "error", err)
	http.Error(w, "addresses cannot be stored or looked up at the moment", http.StatusInternalServerError)
}

// read reads a body, and answers the request if it cannot.
func read(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
	} else if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
	}
	return body, err == nil
}
