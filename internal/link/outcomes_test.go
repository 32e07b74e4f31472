package link

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// fast makes everything happen soon.
func fast(b *bounds) {
	b.open, b.live, b.ask, b.tick, b.refuse = 500*time.Millisecond, 300*time.Millisecond, 100*time.Millisecond, 10*time.Millisecond, 200*time.Millisecond
	b.overlap = 100 * time.Millisecond
}

// named makes the body of a push: its name, and what fills it up to size.
func named(name string, size int) []byte {
	name += "\n"
	return []byte(name + strings.Repeat("x", max(size-len(name), 0)))
}

// nameOf returns the name in a body as the holder keeps it.
func nameOf(key string) string {
	name, _, _ := strings.Cut(key, "\n")
	return name
}

// times returns how often each name was executed.
func (h *holder) times() map[string]int {
	all := make(map[string]int)
	for _, key := range h.executed() {
		all[nameOf(key)]++
	}
	return all
}

func TestPushConcurrently(t *testing.T) {
	testutil.NoLeak(t)
	asked := newWorker(t, &holder{}, nil)
	asker := newWorker(t, &holder{}, nil)
	var running sync.WaitGroup
	for caller := range 64 {
		running.Go(func() {
			for i := range 50 {
				if a, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Path: "/ws", Data: named(fmt.Sprint(caller, i), 100)}); err != nil || a.Code != 1 {
					t.Errorf("%+v, %v", a, err)
				}
			}
		})
	}
	running.Wait()
	times := asked.holder.times()
	for name, n := range times {
		if n != 1 {
			t.Errorf("%s was executed %d times", name, n)
		}
	}
	if len(times) != 64*50 {
		t.Errorf("%d were executed", len(times))
	}
	if s := asker.Stats(); s.Opened != 1 || s.Asked != 0 {
		t.Errorf("the asker has %+v", s)
	}
}

// TestLosses cuts links at arbitrary bytes, in both directions, while pushes of all sizes go on, in sequences and without. Whatever
// happens, a push is executed once if it is answered, never if it was not sent, and at most once otherwise; and a sequence is
// executed in its order.
func TestLosses(t *testing.T) {
	testutil.NoLeak(t)
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil, fast)
	asker := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 }, fast, func(b *bounds) { b.refuse = 0 })
	random := rand.New(rand.NewPCG(1, 2))
	cuts := map[int]int64{}
	r.set(func(conn int, up bool, at int64, p []byte) ([]byte, bool) {
		if _, ok := cuts[conn]; !ok {
			cuts[conn] = 600 + random.Int64N(600_000)
		}
		left := cuts[conn] - at
		if !up {
			left = cuts[conn]/100 + 600 - at
		}
		if conn > 60 || left > int64(len(p)) {
			return p, false
		}
		return p[:max(left, 0)], true
	})
	var lost, unsent, answered atomic.Int64
	outcomes := make(map[string]error)
	var mu sync.Mutex // guards outcomes
	var running sync.WaitGroup
	for caller := range 8 {
		running.Go(func() {
			var s *Sequence
			depth := 1
			if caller%2 == 0 {
				s, depth = new(Sequence), 16
			}
			random := rand.New(rand.NewPCG(3, uint64(caller)))
			places := make(chan struct{}, depth)
			for i := range 200 {
				name := fmt.Sprintf("%d-%d", caller, i)
				size := 100
				switch random.IntN(6) {
				case 0:
					size = 10 << 10
				case 1:
					size = 20 << 10
				case 2:
					size = 100 << 10
				}
				places <- struct{}{}
				asker.Push(&Push{Peer: Peer{asked.url, 1}, Data: named(name, size), Sequence: s, Done: func(_ int, _ Answer, err error) {
					mu.Lock()
					_, twice := outcomes[name]
					outcomes[name] = err
					mu.Unlock()
					switch {
					case twice:
						t.Errorf("%s has two outcomes", name)
					case err == nil:
						answered.Add(1)
					case errors.Is(err, ErrLost) && !errors.Is(err, ErrNotSent):
						lost.Add(1)
					case errors.Is(err, ErrNotSent) && !errors.Is(err, ErrLost):
						unsent.Add(1)
					default:
						t.Errorf("%s: %v", name, err)
					}
					<-places
				}})
			}
			for range depth {
				places <- struct{}{}
			}
		})
	}
	running.Wait()
	testutil.Eventually(t, "the links to come to rest", func() bool { return asked.Stats().Taken == 0 })
	times := asked.holder.times()
	for name, err := range outcomes {
		n := times[name]
		switch {
		case err == nil && n != 1, errors.Is(err, ErrNotSent) && n != 0, n > 1:
			t.Errorf("%s: %v, and executed %d times", name, err, n)
		}
	}
	last := make(map[int]int)
	for _, key := range asked.holder.executed() {
		var caller, i int
		if _, err := fmt.Sscanf(key, "%d-%d", &caller, &i); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[caller]; ok && caller%2 == 0 && i < before {
			t.Errorf("%d-%d was executed after %d-%d", caller, i, caller, before)
		}
		last[caller] = i
	}
	t.Logf("%d answered, %d unknown, %d not sent, over %d connections", answered.Load(), lost.Load(), unsent.Load(), r.connections())
	if lost.Load() == 0 || answered.Load() < 200 || r.connections() < 10 {
		t.Error("that is no test")
	}
}

// A link that is lost while the handler has a push: the outcome is unknown, and the handler hears of it.
func TestLostWithHandler(t *testing.T) {
	r := newRelay(t)
	cancelled := make(chan struct{})
	taken := make(chan *Incoming, 1)
	asked := behind(t, r, &holder{answer: func(in *Incoming) {
		in.Cancel = func() { close(cancelled) }
		taken <- in
	}}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast)
	done := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("a")})
	in := <-taken
	r.cut()
	if o := <-done; !errors.Is(o.err, ErrLost) || errors.Is(o.err, ErrNotSent) {
		t.Errorf("the outcome is %v", o.err)
	}
	<-cancelled
	in.Answer(0, Answer{}) // nobody hears it
	testutil.Eventually(t, "the link to be forgotten", func() bool { return asked.Stats() == Stats{} && asker.Stats() == Stats{} })
}

// A link that is lost between two pushes: the second one goes by a new link, and is not lost.
func TestLostBetween(t *testing.T) {
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast)
	for i := range 20 {
		if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: named(fmt.Sprint(i), 10)}); err != nil {
			t.Fatal(err)
		}
		r.cut()
		testutil.Eventually(t, "the loss to be noticed", func() bool { return asker.Stats().Opened == 0 })
	}
	if n := r.connections(); n != 20 {
		t.Errorf("there were %d connections", n)
	}
}

// A link that is lost in the middle of a large body: the other side cannot have executed it, so it goes by a new link, and is
// executed once.
func TestLostWithinBody(t *testing.T) {
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast)
	r.set(func(conn int, up bool, at int64, p []byte) ([]byte, bool) { return p, conn < 3 && up && at > 100_000 })
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: named("a", 1<<20)}); err != nil {
		t.Fatal(err)
	}
	if n, conns := asked.holder.times()["a"], r.connections(); n != 1 || conns != 3 {
		t.Errorf("executed %d times, over %d connections", n, conns)
	}
	// But not for ever.
	r.set(func(_ int, up bool, at int64, p []byte) ([]byte, bool) { return p, up && at > 100_000 })
	r.cut()
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: named("b", 1<<20)}); !errors.Is(err, ErrNotSent) {
		t.Errorf("the outcome is %v", err)
	}
	if n := asked.holder.times()["b"]; n != 0 {
		t.Errorf("executed %d times", n)
	}
}

// A worker that hangs: nothing comes from it, and after a while the link is lost. Questions to other workers go on meanwhile.
func TestHung(t *testing.T) {
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil, fast)
	healthy := newWorker(t, &holder{}, nil)
	asker := newWorker(t, &holder{}, nil, fast)
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	r.stall()
	var waiting []<-chan outcome
	for i := range 100 {
		size := 100
		if i%10 == 9 {
			size = 1 << 20
		}
		waiting = append(waiting, asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: named("b", size)}))
	}
	if _, err := asker.push(t, &Push{Peer: Peer{healthy.url, 1}, Data: []byte("a")}); err != nil {
		t.Error(err)
	}
	for i, done := range waiting {
		o := <-done
		if o.err == nil || errors.Is(o.err, ErrLost) == errors.Is(o.err, ErrNotSent) || i%10 == 9 && !errors.Is(o.err, ErrNotSent) {
			t.Errorf("%d: %v", i, o.err)
		}
	}
	r.resume()
	testutil.Eventually(t, "the worker to be reached again", func() bool {
		_, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("c")})
		return err == nil
	})
}

// A handler that takes its time is no reason to believe that its worker hangs: pings are answered meanwhile.
func TestSlowHandler(t *testing.T) {
	taken := make(chan *Incoming, 1)
	asked := newWorker(t, &holder{answer: func(in *Incoming) { taken <- in }}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast)
	done := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("a")})
	in := <-taken
	select {
	case o := <-done:
		t.Fatalf("it ended: %v", o.err)
	case <-time.After(time.Second): // more than three times as long as a silent link lives
	}
	in.Answer(0, Answer{Code: 5})
	if o := <-done; o.err != nil || o.answer.Code != 5 {
		t.Errorf("%+v, %v", o.answer, o.err)
	}
}

// Patience ends with an unknown outcome, and the handler is told. An answer that comes later is ignored.
func TestPatience(t *testing.T) {
	taken, cancelled := make(chan *Incoming, 2), make(chan struct{}, 2)
	asked := newWorker(t, &holder{answer: func(in *Incoming) {
		in.Cancel = func() { cancelled <- struct{}{} }
		taken <- in
	}}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast)
	p := &Push{Peer: Peer{asked.url, 1}, Data: []byte("a"), Patience: 400 * time.Millisecond} // within which a slow machine opens a link
	if _, err := asker.push(t, p); !errors.Is(err, ErrLost) {
		t.Errorf("the outcome is %v", err)
	}
	<-cancelled
	(<-taken).Answer(0, Answer{Code: 1})
	done := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("b")})
	(<-taken).Answer(0, Answer{Code: 2})
	if o := <-done; o.err != nil || o.answer.Code != 2 {
		t.Errorf("%+v, %v", o.answer, o.err)
	}
	if s := asker.Stats(); s.Opened != 1 || s.Asked != 0 {
		t.Errorf("the asker has %+v", s)
	}
}

// A push with several targets is answered for each, in any order. When the link is lost, those that are answered keep their answers.
func TestTargets(t *testing.T) {
	for _, size := range []int{10, 100 << 10} {
		for _, targets := range []int{2, 65, 1000, 1 + maxMore} {
			r := newRelay(t)
			more := make([][16]byte, targets-1)
			for i := range more {
				more[i] = [16]byte{byte(i), byte(i >> 8), 1}
			}
			taken := make(chan *Incoming, 1)
			asked := behind(t, r, &holder{answer: func(in *Incoming) { taken <- in }}, logTo(t))
			asker := newWorker(t, &holder{}, nil)
			type told struct {
				target int
				code   uint8
				err    error
			}
			outcomes := make(chan told, 2*targets)
			asker.Push(&Push{Peer: Peer{asked.url, 1}, More: more, Data: named("a", size), Done: func(target int, a Answer, err error) {
				outcomes <- told{target, a.Code, err}
			}})
			var in *Incoming
			select {
			case in = <-taken:
			case o := <-outcomes:
				t.Fatal(o.err)
			}
			if len(in.Data) != size || len(in.More) != targets-1 {
				t.Fatalf("%d bytes, %d targets", len(in.Data), len(in.More))
			}
			for i := range more {
				if in.Target(1+i) != more[i] {
					t.Fatalf("target %d is %v", 1+i, in.Target(1+i))
				}
			}
			answered := targets / 2
			for i := range answered {
				in.Answer(targets-1-i, Answer{Code: uint8(i)})
				in.Answer(targets-1-i, Answer{Code: 100}) // ignored
			}
			for i := range answered {
				if o := <-outcomes; o != (told{targets - 1 - i, uint8(i), nil}) {
					t.Fatalf("%+v", o)
				}
			}
			if s := asker.Stats(); s.Asked != 1 {
				t.Errorf("the asker has %+v", s)
			}
			r.cut()
			for i := range targets - answered {
				if o := <-outcomes; o.target != i || !errors.Is(o.err, ErrLost) {
					t.Fatalf("%+v", o)
				}
			}
			if len(outcomes) > 0 {
				t.Error("there are too many outcomes")
			}
		}
	}
}

// A push with To is one question, whatever the handler makes of it: a Reply of any size, or an Answer.
func TestTo(t *testing.T) {
	testutil.NoLeak(t)
	var h holder
	asked := newWorker(t, &h, logTo(t))
	asker := newWorker(t, &holder{}, nil)
	for _, size := range []int{10, 100 << 10} {
		for _, except := range []int{0, 2, maxMore} {
			for name, reply := range map[string]*Reply{"small": {Status: 200, Body: []byte("a")}, "large": {Status: 200, Body: named("b", maxReply)}, "an answer": nil} {
				var got *Incoming
				h.answer = func(in *Incoming) {
					got = in
					in.Answer(1, Answer{Code: 7}) // there is no such target
					if reply == nil {
						in.Answer(0, Answer{Code: 8})
					} else {
						in.Reply(reply)
						in.Answer(0, Answer{Code: 9}) // it is answered
					}
				}
				replies := make(chan *Reply, 2)
				p := &Push{Peer: Peer{Address: asked.url}, To: "g:all", Detail: true, More: make([][16]byte, except), Data: named("a", size), Replied: func(y *Reply) { replies <- y }}
				answers := asker.pushed(p)
				var answer *outcome
				var have *Reply
				select {
				case have = <-replies:
				case o := <-answers:
					answer = &o
				}
				switch {
				case got.To != "g:all" || !got.Detail || got.Path != "" || len(got.More) != except || len(got.Data) != size:
					t.Errorf("%s: the handler got %q, %v, %q, %d, %d bytes", name, got.To, got.Detail, got.Path, len(got.More), len(got.Data))
				case reply == nil && (answer == nil || answer.err != nil || answer.answer.Code != 8):
					t.Errorf("%s: %+v", name, answer)
				case reply != nil && (have == nil || have.Status != 200 || !slices.Equal(have.Body, reply.Body)):
					t.Errorf("%s: %+v", name, have)
				case len(replies)+len(answers) > 0:
					t.Errorf("%s: a second outcome", name)
				}
			}
		}
	}
}

// When the link is lost, or the push is refused before the handler sees it, a push with To has one outcome, too.
func TestToLost(t *testing.T) {
	r := newRelay(t)
	taken := make(chan *Incoming, 1)
	asked := behind(t, r, &holder{answer: func(in *Incoming) { taken <- in }}, func(c *Config) { c.MaxBody, c.TooLarge = 200<<10, 9 })
	asker := newWorker(t, &holder{}, nil)
	push := func(size int) <-chan outcome {
		return asker.pushed(&Push{Peer: Peer{Address: asked.url}, To: "u:a", More: make([][16]byte, 3), Data: named("a", size), Replied: func(*Reply) { t.Error("replied") }})
	}
	if o := <-push(300 << 10); o.err != nil || o.answer.Code != 9 || o.target != 0 {
		t.Errorf("too large: %+v", o)
	}
	done := push(10)
	<-taken
	r.cut()
	if o := <-done; !errors.Is(o.err, ErrLost) || o.target != 0 {
		t.Errorf("lost: %+v", o)
	}
	if len(done) > 0 {
		t.Error("a second outcome")
	}
}
