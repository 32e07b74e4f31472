package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
)

var errLeft = errors.New("the publisher has left")

// A question that is given up before it was sent is not sent, and its cause is told: while its link is being opened,
func TestAbandonOpening(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // which nobody accepts from
	asker := newWorker(t, &holder{}, nil)
	p := &Push{Peer: Peer{"http://" + listener.Addr().String(), 1}, Data: []byte("a")}
	done := asker.pushed(p)
	asker.Abandon(p, errLeft)
	select {
	case o := <-done:
		if !errors.Is(o.err, ErrNotSent) || !errors.Is(o.err, errLeft) {
			t.Errorf("the outcome is %v", o.err)
		}
	default:
		t.Error("there is no outcome")
	}
	asker.Abandon(p, errLeft) // too late
	if s := asker.Stats(); s.Asked != 0 || len(done) != 0 {
		t.Errorf("%+v, %d outcomes", s, len(done))
	}
}

// A push that has not been asked yet, or was refused at once, cannot be given up: nothing comes of that, then or later.
func TestAbandonNew(t *testing.T) {
	asked := newWorker(t, &holder{}, nil)
	asker := newWorker(t, &holder{}, nil)
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	p := &Push{Peer: Peer{asked.url, 1}, Data: []byte("b")}
	outcomes := make(chan error, 3)
	p.Done = func(_ int, _ Answer, err error) { outcomes <- err }
	asker.Abandon(p, errLeft)
	asker.Links.Push(p)
	if err := <-outcomes; err != nil {
		t.Errorf("after it was given up too early: %v", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	gone := Peer{"http://" + listener.Addr().String(), 1}
	for range 2 { // the second one is refused at once
		p = &Push{Peer: gone, Data: []byte("c"), Sequence: new(Sequence)}
		p.Done = func(_ int, _ Answer, err error) { outcomes <- err }
		asker.Links.Push(p)
		if err := <-outcomes; !errors.Is(err, ErrNotSent) {
			t.Errorf("to a worker that cannot be reached: %v", err)
		}
		asker.Abandon(p, errLeft)
	}
	if s := asker.Stats(); s.Asked != 0 || len(outcomes) != 0 {
		t.Errorf("%+v, %d further outcomes", s, len(outcomes))
	}
}

// while its large body is under way, or behind another one in its sequence. Those behind it go on.
func TestAbandonLarge(t *testing.T) {
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil)
	asker := newWorker(t, &holder{}, nil)
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	r.stall()
	var s Sequence
	push := func(name string, size int) (*Push, <-chan outcome) {
		p := &Push{Peer: Peer{asked.url, 1}, Data: named(name, size), Sequence: &s}
		return p, asker.pushed(p)
	}
	large, largeDone := push("large", 4<<20)
	second, secondDone := push("second", 1<<20)
	small, smallDone := push("small", 10)
	_, lastDone := push("last", 10)
	o := (*asker.outgoing.Load())[asked.url]
	testutil.Eventually(t, "the large body to be under way", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return large.body != nil && large.body.off > 0 && o.queue.head == nil
	})
	for i, p := range []*Push{small, large, second} {
		asker.Abandon(p, errLeft)
		if got := <-[]<-chan outcome{smallDone, largeDone, secondDone}[i]; !errors.Is(got.err, ErrNotSent) || !errors.Is(got.err, errLeft) {
			t.Errorf("%d: %v", i, got.err)
		}
	}
	r.resume()
	if got := <-lastDone; got.err != nil {
		t.Error(got.err)
	}
	if times := asked.holder.times(); len(times) != 2 || times["last"] != 1 {
		t.Errorf("executed: %v", times)
	}
	if n := asked.Stats().Taken; n != 0 {
		t.Errorf("%d questions are left", n)
	}
	// All credit has come back: as much goes through as before.
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: named("after", 2<<20)}); err != nil {
		t.Error(err)
	}
}

// A question that has been sent is withdrawn, if the handler can, and its answer counts.
func TestAbandonSent(t *testing.T) {
	taken, cancelled := make(chan *Incoming, 1), make(chan struct{}, 2)
	asked := newWorker(t, &holder{answer: func(in *Incoming) {
		in.Cancel = func() { cancelled <- struct{}{} }
		taken <- in
	}}, nil)
	asker := newWorker(t, &holder{}, nil)
	p := &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}
	done := asker.pushed(p)
	in := <-taken
	asker.Abandon(p, errLeft)
	asker.Abandon(p, errLeft)
	<-cancelled
	in.Answer(0, Answer{Code: 44})
	if o := <-done; o.err != nil || o.answer.Code != 44 {
		t.Errorf("%+v, %v", o.answer, o.err)
	}
	if _, err := asker.Ask(t.Context(), &Request{Peer: Peer{asked.url, 1}, Method: "GET"}); err != nil { // which comes after
		t.Fatal(err)
	}
	if len(cancelled) != 0 || len(done) != 0 {
		t.Error("something came twice")
	}
}

// Beyond the bound, questions are refused at once, while sequences and other workers are not concerned.
func TestFull(t *testing.T) {
	var mu sync.Mutex // guards taken
	var taken []*Incoming
	asked := newWorker(t, &holder{answer: func(in *Incoming) {
		if strings.HasPrefix(string(in.Data), "sequence") {
			in.Answer(0, Answer{})
			return
		}
		mu.Lock()
		taken = append(taken, in)
		mu.Unlock()
	}}, nil)
	asker := newWorker(t, &holder{}, nil)
	var waiting []<-chan outcome
	for range MaxAsked {
		waiting = append(waiting, asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}))
	}
	if err := refusal(t, asker, asked.url); !errors.Is(err, ErrFull) {
		t.Errorf("the outcome is %v", err)
	}
	if _, err := asker.Ask(t.Context(), &Request{Peer: Peer{asked.url, 1}, Method: "GET"}); !errors.Is(err, ErrFull) {
		t.Errorf("a request's is %v", err)
	}
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("sequence"), Sequence: new(Sequence)}); err != nil {
		t.Errorf("in a sequence: %v", err)
	}
	testutil.Eventually(t, "all to be taken", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(taken) == MaxAsked
	})
	for _, in := range taken {
		in.Answer(0, Answer{})
	}
	for _, done := range waiting {
		if o := <-done; o.err != nil {
			t.Error(o.err)
		}
	}
	asked.holder.answer = nil
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("b")}); err != nil {
		t.Error(err)
	}
}

// Large bodies arrive whole, whatever goes on beside them, and small pushes do not wait for them.
func TestLarge(t *testing.T) {
	pattern := make([]byte, 18<<20)
	for i := range pattern {
		pattern[i] = byte(i * 31 >> 3)
	}
	body := func(from, size int) []byte {
		return append(binary.BigEndian.AppendUint64(nil, uint64(from)), pattern[from:from+size]...)
	}
	asked := newWorker(t, &holder{answer: func(in *Incoming) {
		if from := int(binary.BigEndian.Uint64(in.Data)); !bytes.Equal(in.Data, body(from, len(in.Data)-8)) {
			t.Errorf("%d bytes are wrong", len(in.Data))
		}
		in.Answer(0, Answer{})
	}}, nil)
	asker := newWorker(t, &holder{}, nil)
	var running sync.WaitGroup
	for i := range 11 {
		size := []int{maxSmall - 8, maxSmall - 7, 100_000, 1 << 20, 5 << 20, 17 << 20}[i%6]
		running.Go(func() {
			if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: body(i, size)}); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		})
	}
	for range 4 {
		running.Go(func() {
			for i := range 200 {
				if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: body(i, 100)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
}

// A body over MaxBody is answered without being held. Its asker stops sending it, and the link goes on.
func TestTooLarge(t *testing.T) {
	for _, limit := range []int64{1000, 100_000, 1 << 20} {
		asked := newWorker(t, &holder{}, func(c *Config) { c.MaxBody = limit })
		asker := newWorker(t, &holder{}, nil)
		for _, size := range []int64{limit, limit + 1, 10 * limit, 64 * limit} {
			name := "a"
			done := make(chan Answer, 5)
			asker.Push(&Push{Peer: Peer{asked.url, 1}, More: make([][16]byte, 2), Data: named(name, int(size)), Done: func(_ int, a Answer, err error) {
				if err != nil {
					t.Error(err)
				}
				done <- a
			}})
			want := uint8(1)
			if size > limit {
				want = 99
			}
			for range 3 {
				if a := <-done; a.Code != want {
					t.Errorf("limit %d, %d bytes: code %d", limit, size, a.Code)
				}
			}
		}
		if n := asked.holder.times()["a"]; n != 1 {
			t.Errorf("limit %d: %d executed", limit, n)
		}
	}
}

func TestAsk(t *testing.T) {
	var got *Request
	reply := &Reply{Status: 200, Header: http.Header{"A": {"b", "c"}, "D": {""}}, Body: []byte("body")}
	asked := newWorker(t, &holder{reply: func(_ context.Context, r *Request) *Reply { got = r; return reply }}, nil)
	asker := newWorker(t, &holder{}, nil)
	r := &Request{Peer: Peer{asked.url, 7}, Method: "DELETE", ID: [16]byte{1, 2}, Path: "/ws", AnyPath: true, Query: "a=b&c"}
	for _, size := range []int{0, 1, maxSmall, maxSmall + 1, 1 << 20, maxReply} {
		reply.Body = []byte(strings.Repeat("x", size))
		y, err := asker.Ask(t.Context(), r)
		if err != nil || y.Status != 200 || len(y.Header) != 2 || strings.Join(y.Header["A"], ",") != "b,c" || string(y.Body) != string(reply.Body) {
			t.Fatalf("%d bytes: %v, %v", size, y, err)
		}
	}
	want := *r
	want.Peer.Address = ""
	if *got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []*Reply{nil, {}, {Status: 1000}, {Status: 200, Body: make([]byte, maxReply+1)}, {Status: 200, Header: http.Header{"A": {strings.Repeat("x", maxHeader)}}}} {
		reply = bad
		if y, err := asker.Ask(t.Context(), r); err != nil || y.Status != 500 {
			t.Errorf("%v, %v", y, err)
		}
	}
	if _, err := asker.Ask(t.Context(), &Request{Peer: r.Peer, Query: strings.Repeat("x", maxRequest+1)}); !errors.Is(err, ErrNotSent) {
		t.Errorf("a long query: %v", err)
	}
	if _, err := asker.push(t, &Push{Peer: r.Peer, Path: strings.Repeat("x", maxPath+1)}); !errors.Is(err, ErrNotSent) {
		t.Errorf("a long path: %v", err)
	}
	refused := 0
	asker.Push(&Push{Peer: r.Peer, More: make([][16]byte, maxMore+1), Done: func(target int, _ Answer, err error) {
		if target != refused || !errors.Is(err, ErrNotSent) {
			t.Errorf("many targets: %d, %v", target, err)
		}
		refused++
	}})
	if refused != maxMore+2 {
		t.Errorf("%d of many targets were refused", refused)
	}
}

// An asker that gives up does not wait, and the handler hears of it.
func TestAskCancelled(t *testing.T) {
	asking, ended := make(chan struct{}, 1), make(chan struct{}, 1)
	asked := newWorker(t, &holder{reply: func(ctx context.Context, _ *Request) *Reply {
		asking <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return &Reply{Status: 200, Body: make([]byte, maxReply)}
	}}, nil)
	asker := newWorker(t, &holder{}, nil)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-asking
			cancel()
		}()
		if _, err := asker.Ask(ctx, &Request{Peer: Peer{asked.url, 1}}); !errors.Is(err, ErrLost) || !errors.Is(err, context.Canceled) {
			t.Errorf("the outcome is %v", err)
		}
		<-ended
		if _, err := asker.Ask(ctx, &Request{Peer: Peer{asked.url, 1}}); !errors.Is(err, ErrNotSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	}
	testutil.Eventually(t, "the replies to have arrived", func() bool { return asker.Stats().Asked == 0 })
	if s := asker.Stats(); s.Opened != 1 {
		t.Errorf("%+v", s)
	}
}

// room is a Room of so many bytes.
type room struct {
	limit int64
	held  atomic.Int64
	most  atomic.Int64
}

func (r *room) Take(n int64) bool {
	held := r.held.Add(n)
	if held > r.limit {
		r.held.Add(-n)
		return false
	}
	for most := r.most.Load(); held > most && !r.most.CompareAndSwap(most, held); most = r.most.Load() {
	}
	return true
}

func (r *room) Give(n int64) { r.held.Add(-n) }

// A large body for which there is no room is refused at once, and the link goes on. Whatever becomes of the others, they give theirs
// back.
func TestRoom(t *testing.T) {
	r := &room{limit: 300_000}
	asked := newWorker(t, &holder{}, func(c *Config) { c.Room, c.Full = r, 98 })
	asker := newWorker(t, &holder{}, nil)
	var running sync.WaitGroup
	var refused, taken atomic.Int64
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: named("a", 100)}); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		size := []int{100, 100_000, 200_000, 400_000}[i%4]
		running.Go(func() {
			p := &Push{Peer: Peer{asked.url, 1}, Data: named("a", size)}
			if i%5 == 4 {
				over := make(chan struct{})
				p.Done = func(int, Answer, error) { close(over) }
				asker.Push(p)
				asker.Abandon(p, errors.New("nobody waits"))
				<-over
				return
			}
			a, err := asker.push(t, p)
			switch {
			case err != nil || a.Code != 1 && a.Code != 98 || a.Code == 98 && size == 100 || a.Code != 98 && size == 400_000:
				t.Errorf("%d bytes: code %d, %v", size, a.Code, err)
			case a.Code == 98:
				refused.Add(1)
			default:
				taken.Add(1)
			}
		})
	}
	running.Wait()
	if refused.Load() == 0 || taken.Load() == 0 || r.most.Load() == 0 {
		t.Errorf("%d were refused, %d taken; %d bytes were held at most", refused.Load(), taken.Load(), r.most.Load())
	}
	testutil.Eventually(t, "the room to be given back", func() bool { return r.held.Load() == 0 })

	// A link that ends in the middle of bodies gives theirs back, too.
	for range 8 {
		asker.Push(&Push{Peer: Peer{asked.url, 1}, Data: named("b", 250_000), Done: func(int, Answer, error) {}})
	}
	testutil.Eventually(t, "a body to begin", func() bool { return r.held.Load() > 0 || asked.holder.times()["b"] > 0 })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	asker.Close(ended)
	testutil.Eventually(t, "the room to be given back", func() bool { return r.held.Load() == 0 })
}
