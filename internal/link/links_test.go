package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/address"
	"github.com/wspush/wspush/internal/seal"
	"github.com/wspush/wspush/internal/testutil"
)

// holder is a Handler that counts what it executes: the body of a push is its name.
type holder struct {
	answer func(in *Incoming)                     // nil: at once, with code 1
	reply  func(context.Context, *Request) *Reply // nil: 204

	mu    sync.Mutex // guards what follows
	names map[string]int
	order []string
}

func (h *holder) Push(batch []*Incoming) {
	for _, in := range batch {
		name := string(in.Data)
		if len(name) > 100 {
			name = name[:100]
		}
		h.mu.Lock()
		if h.names == nil {
			h.names = make(map[string]int)
		}
		h.names[name]++
		h.order = append(h.order, name)
		h.mu.Unlock()
		if h.answer != nil {
			h.answer(in)
		} else {
			for target := range in.targets {
				in.Answer(target, Answer{Code: 1})
			}
		}
	}
}

func (h *holder) Ask(ctx context.Context, r *Request) *Reply {
	if h.reply != nil {
		return h.reply(ctx, r)
	}
	return &Reply{Status: http.StatusNoContent}
}

// count returns how often the push with the name was executed.
func (h *holder) count(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.names[name]
}

func (h *holder) executed() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.order...)
}

func secret(b byte) []byte { return testutil.Key(string(b)) }

func newKeys(tb testing.TB, secrets ...byte) *seal.Keys {
	tb.Helper()
	if len(secrets) == 0 {
		secrets = []byte{1}
	}
	var all [][]byte
	for _, b := range secrets {
		all = append(all, secret(b))
	}
	keys, err := seal.New(all)
	if err != nil {
		tb.Fatal(err)
	}
	return keys
}

// worker is Links behind a server.
type worker struct {
	*Links
	url    string
	holder *holder
}

// newWorker serves the links of a worker until the test ends.
func newWorker(tb testing.TB, h *holder, change func(*Config), times ...func(*bounds)) *worker {
	tb.Helper()
	w := &worker{holder: h}
	w.url = testutil.Serve(tb, w.serve())
	w.start(tb, change, times...)
	return w
}

func newTLSWorker(tb testing.TB, h *holder, change func(*Config)) (*worker, *tls.Config) {
	tb.Helper()
	w := &worker{holder: h}
	url, client := testutil.ServeTLS(tb, w.serve())
	w.url = url
	w.start(tb, change)
	return w, client
}

func (w *worker) serve() http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		nonce, ok := address.ReadLink(r)
		if !ok {
			http.NotFound(rw, r)
			return
		}
		w.ServeHTTP(rw, r, nonce)
	})
}

func (w *worker) start(tb testing.TB, change func(*Config), times ...func(*bounds)) {
	tb.Helper()
	c := Config{Keys: newKeys(tb), Address: w.url, Instance: 1, MaxBody: -1, TooLarge: 99, Handler: w.holder}
	if change != nil {
		change(&c)
	}
	b := defaultBounds()
	for _, f := range times {
		f(&b)
	}
	w.Links = newLinks(c, b)
	tb.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		w.Close(ctx)
	})
}

// push pushes and waits for the outcome.
func (w *worker) push(tb testing.TB, p *Push) (Answer, error) {
	tb.Helper()
	done := w.pushed(p)
	select {
	case o := <-done:
		return o.answer, o.err
	case <-time.After(30 * time.Second):
		tb.Error("no outcome")
		return Answer{}, nil
	}
}

// pushed pushes, and returns a channel that gets the outcome.
func (w *worker) pushed(p *Push) <-chan outcome {
	done := make(chan outcome, 2) // 2, so that a second call shows
	p.Done = func(target int, a Answer, err error) { done <- outcome{target: target, answer: a, err: err} }
	w.Push(p)
	return done
}

func TestPush(t *testing.T) {
	var got *Incoming
	h := &holder{answer: func(in *Incoming) {
		got = in
		in.Answer(0, Answer{Code: 7, RoundTrip: 3 * time.Millisecond})
	}}
	asked := newWorker(t, h, nil)
	asker := newWorker(t, &holder{}, nil)
	p := &Push{
		Peer: Peer{asked.url, 5}, ID: [16]byte{1, 2, 3}, Path: "/ws", Binary: true, Confirm: true, Timeout: time.Second, Refusal: 9, Data: []byte("hello"),
	}
	a, err := asker.push(t, p)
	if err != nil || a != (Answer{7, 3 * time.Millisecond}) {
		t.Fatalf("%+v, %v", a, err)
	}
	want := Incoming{Instance: 5, ID: p.ID, Path: "/ws", Binary: true, Confirm: true, Timeout: time.Second, Refusal: 9, Data: []byte("hello")}
	have := Incoming{Instance: got.Instance, ID: got.ID, Path: got.Path, AnyPath: got.AnyPath, Binary: got.Binary, Confirm: got.Confirm, Timeout: got.Timeout, Refusal: got.Refusal, Data: got.Data}
	if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", have) {
		t.Errorf("got %+v, want %+v", have, want)
	}
	if s := asker.Stats(); s != (Stats{Opened: 1}) {
		t.Errorf("the asker has %+v", s)
	}
	if s := asked.Stats(); s != (Stats{Accepted: 1}) {
		t.Errorf("the other worker has %+v", s)
	}
}

// logTo lets a worker log to the test.
func logTo(t *testing.T) func(*Config) {
	return func(c *Config) { c.Log = slog.New(slog.NewTextHandler(t.Output(), nil)) }
}
