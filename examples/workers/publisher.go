package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/wspush/wspush/publisher"
)

// servePublisher is the publisher's process, until ctx ends. It knows the public name, but neither the workers nor their keys.
func servePublisher(ctx context.Context, s settings, ready func(addresses) error) error {
	listener, err := listen(s.At.App)
	if err != nil {
		return err
	}
	defer listener.Close() // in case a later step fails; otherwise the server closes it
	pusher, err := publisher.New(&publisher.Options{
		Hosts:      []string{s.PublicURL}, // addresses come from pages: pushes must go nowhere else
		Credential: s.PushToken,
	})
	if err != nil {
		return err
	}
	defer pusher.Close()
	v := &visitors{pusher: pusher, byKey: make(map[string]*visitor)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /visitors", v.list)
	mux.HandleFunc("POST /visitors", v.register)
	mux.HandleFunc("POST /visitors/leave", v.leave)
	mux.HandleFunc("POST /visitors/send", v.send)
	server := &http.Server{
		// Other sites must not make their visitors send messages here.
		Handler:           http.NewCrossOriginProtection().Handler(mux),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       10 * time.Second,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	err = ready(addresses{App: listener.Addr().String()})
	if err == nil {
		select {
		case err = <-served:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, within(sendTimeout+time.Second, server.Shutdown))
}

const (
	sendTimeout = 5 * time.Second
	maxVisitors = 1000
	maxText     = 1000 // bytes in a message
	maxBody     = 8 << 10
)

// visitors holds the visitors that have registered an address. examples/publisher shows how a service stores addresses
// permanently.
type visitors struct {
	pusher *publisher.Client

	mu    sync.Mutex          // guards the fields below
	byKey map[string]*visitor // by a secret of the visitor's page: anyone who knows it can take the visitor's place
	named int
}

type visitor struct{ name, address string }

// register stores a page's address. A page that registers again with the same key, as it does with each new session, keeps its name.
func (v *visitors) register(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	key, address := r.PostFormValue("key"), r.PostFormValue("address")
	if len(key) < 16 || len(key) > 64 {
		http.Error(w, "key must have 16 to 64 characters", http.StatusBadRequest)
		return
	}
	// Looking it up also checks that the address leads where pushes may go, and to a live connection.
	ctx, cancel := context.WithTimeout(r.Context(), sendTimeout)
	defer cancel()
	if _, err := v.pusher.Lookup(ctx, address); err != nil {
		refuse(w, err)
		return
	}
	name, ok := v.put(key, address)
	if !ok {
		http.Error(w, "too many visitors", http.StatusServiceUnavailable)
		return
	}
	reply(w, name)
}

func (v *visitors) put(key, address string) (name string, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	one := v.byKey[key]
	if one == nil {
		if len(v.byKey) >= maxVisitors {
			return "", false
		}
		v.named++
		one = &visitor{name: fmt.Sprint("Visitor ", v.named)}
		v.byKey[key] = one
	}
	one.address = address
	return one.name, true
}

// list answers with everyone's name. Addresses stay private.
func (v *visitors) list(w http.ResponseWriter, _ *http.Request) {
	v.mu.Lock()
	names := make([]string, 0, len(v.byKey))
	for _, one := range v.byKey {
		names = append(names, one.name)
	}
	v.mu.Unlock()
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // 2 before 10
	reply(w, names)
}

// leave forgets a page that is closing. A visitor that vanishes is forgotten at the first push that finds it gone.
func (v *visitors) leave(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	key := r.PostFormValue("key")
	v.mu.Lock()
	delete(v.byKey, key)
	v.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// sent is what became of a message that somebody has or will have.
type sent struct {
	RTT      float64 `json:"rttMs"`                 // the other's browser has read it, so many milliseconds after it was written
	Buffered float64 `json:"bufferedFor,omitempty"` // it was cut off, and gets it again if it is back within so many seconds
}

// send pushes a text from one visitor to another, and answers when the other's browser has read it. It waits for one that is away.
func (v *visitors) send(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	key, to, text := r.PostFormValue("key"), r.PostFormValue("to"), r.PostFormValue("text")
	if text == "" || len(text) > maxText {
		http.Error(w, fmt.Sprintf("the text must have 1 to %d bytes", maxText), http.StatusBadRequest)
		return
	}
	from, address := v.find(key, to)
	switch {
	case from == "":
		http.Error(w, "you are not registered", http.StatusForbidden)
		return
	case address == "":
		http.Error(w, to+" has left", http.StatusGone)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), sendTimeout)
	defer cancel()
	receipt, err := v.pusher.Push(ctx, address, publisher.Text, []byte(from+": "+text), publisher.Confirmed())
	if errors.Is(err, publisher.ErrGone) {
		v.forget(address)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if receipt.State == publisher.Buffered {
		reply(w, sent{Buffered: receipt.BufferedFor.Seconds()})
		return
	}
	reply(w, sent{RTT: float64(receipt.RoundTrip) / float64(time.Millisecond)})
}

// find returns the sender's name and the receiver's address.
func (v *visitors) find(key, to string) (from, address string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if one := v.byKey[key]; one != nil {
		from = one.name
	}
	for _, one := range v.byKey {
		if one.name == to {
			address = one.address
		}
	}
	return from, address
}

// forget forgets the visitor that still has that address; a newer address stays.
func (v *visitors) forget(address string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.byKey, func(_ string, one *visitor) bool { return one.address == address })
}

// refuse answers with the error of a push or lookup.
func refuse(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, publisher.ErrAddress):
		http.Error(w, "the address does not lead to the workers", http.StatusBadRequest)
	case errors.Is(err, publisher.ErrGone):
		http.Error(w, "the connection is gone; nothing was written", http.StatusGone)
	case errors.Is(err, publisher.ErrSuspended):
		http.Error(w, "the page is away; nothing was written", http.StatusConflict)
	case errors.Is(err, publisher.ErrUnknown):
		http.Error(w, "the message may have been written, but was not confirmed", http.StatusGatewayTimeout)
	case errors.Is(err, publisher.ErrUnreachable):
		http.Error(w, "the worker that holds the connection cannot be reached; nothing was written", http.StatusBadGateway)
	default:
		http.Error(w, "try again later; nothing was written", http.StatusServiceUnavailable)
	}
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // it fails only if the caller has left
}
