package link

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
	"weak"

	"github.com/coder/websocket"

	"github.com/wspush/wspush/internal/testutil"
)

// A link without questions is closed by its opener, in order, and opened again when it is needed.
func TestIdle(t *testing.T) {
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast, func(b *bounds) { b.idle = 50 * time.Millisecond })
	for i := range 2 {
		if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, "the link to end", func() bool { return asker.Stats() == Stats{} && asked.Stats() == Stats{} })
		if n := r.connections(); n != i+1 {
			t.Errorf("%d connections", n)
		}
	}
}

// Pings keep a link alive on which nothing is asked, and let the other side know that it is.
func TestSilence(t *testing.T) {
	r := newRelay(t)
	deaf := func(b *bounds) { b.silence, b.deaf = 30*time.Millisecond, 200*time.Millisecond }
	asked := behind(t, r, &holder{}, nil, fast, deaf)
	asker := newWorker(t, &holder{}, nil, fast, deaf)
	var pinged atomic.Int64
	r.set(func(_ int, up bool, _ int64, p []byte) ([]byte, bool) {
		if !up {
			pinged.Add(1)
		}
		return p, false
	})
	links := 0
	for pinged.Load() <= 20 { // for three times as long as a deaf link lives
		if links++; links > 10 {
			t.Fatal("no link lasts")
		}
		if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
			t.Fatal(err)
		}
		pinged.Store(0)
		// A machine that stands still for as long as a deaf link lives ends it, too.
		testutil.Eventually(t, "pings to be answered", func() bool { return pinged.Load() > 20 || asker.Stats().Opened == 0 })
	}
	if s := asked.Stats(); s.Accepted != 1 || r.connections() != links {
		t.Errorf("%+v, %d connections, want %d", s, r.connections(), links)
	}
	// Without them, both sides give it up.
	r.stall()
	testutil.Eventually(t, "the silent link to be lost", func() bool { return asker.Stats().Opened == 0 && asked.Stats().Accepted == 0 })
}

// Drain: what has been taken is answered, and what comes later is not taken, and goes nowhere.
func TestDrain(t *testing.T) {
	taken := make(chan *Incoming, 10)
	asked := newWorker(t, &holder{answer: func(in *Incoming) { taken <- in }}, nil)
	asker := newWorker(t, &holder{}, nil)
	first := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("a")})
	in := <-taken
	asked.Drain()
	testutil.Eventually(t, "the goodbye to arrive", func() bool {
		o := (*asker.outgoing.Load())[asked.url]
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.link == nil
	})
	if err := refusal(t, asker, asked.url); errors.Is(err, ErrNotWorker) || errors.Is(err, ErrFull) {
		t.Errorf("the outcome is %v", err)
	}
	if instance, err := asker.Probe(t.Context(), asked.url); instance != 1 || err != nil {
		t.Errorf("the probe says %d, %v", instance, err)
	}
	in.Answer(0, Answer{Code: 3})
	if o := <-first; o.err != nil || o.answer.Code != 3 {
		t.Errorf("%+v, %v", o.answer, o.err)
	}
	testutil.Eventually(t, "the link to end", func() bool { return asker.Stats() == Stats{} && asked.Stats() == Stats{} })
}

// While a worker drains under load, no outcome becomes unknown.
func TestDrainUnderLoad(t *testing.T) {
	testutil.NoLeak(t)
	asked := newWorker(t, &holder{}, nil)
	asker := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 })
	var answered, refused atomic.Int64
	done := make(chan struct{})
	for range 16 {
		var p *Push
		size := 50_000 * int(answered.Load()%2)
		p = &Push{Peer: Peer{asked.url, 1}, Data: named("a", size+10), Done: func(_ int, _ Answer, err error) {
			switch {
			case err == nil:
				if answered.Add(1) == 2000 {
					close(done)
				}
				asker.Push(p)
			case errors.Is(err, ErrNotSent):
				refused.Add(1)
			default:
				t.Error(err)
				refused.Add(1)
			}
		}}
		asker.Push(p)
	}
	<-done
	asked.Close(t.Context())
	testutil.Eventually(t, "all to be refused", func() bool { return refused.Load() == 16 })
	if n := asked.holder.times()["a"]; n != int(answered.Load()) {
		t.Errorf("%d executed, %d answered", n, answered.Load())
	}
}

// Close waits for what is under way, but no longer than its context lasts.
func TestClose(t *testing.T) {
	testutil.NoLeak(t)
	taken := make(chan *Incoming, 10)
	asked := newWorker(t, &holder{answer: func(in *Incoming) { taken <- in }}, nil)
	asker := newWorker(t, &holder{}, nil)
	first := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("a")})
	in := <-taken
	closed := make(chan struct{})
	go func() {
		asker.Close(context.Background())
		close(closed)
	}()
	testutil.Eventually(t, "Close to begin", func() bool {
		o := (*asker.outgoing.Load())[asked.url]
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.closed
	})
	refusal(t, asker, asked.url)
	select {
	case <-closed:
		t.Error("Close does not wait")
	default:
	}
	in.Answer(0, Answer{Code: 3})
	if o := <-first; o.err != nil {
		t.Errorf("the outcome is %v", o.err)
	}
	<-closed
	if _, err := asker.push(t, &Push{Peer: Peer{"http://127.0.0.1:1", 1}}); !errors.Is(err, ErrNotSent) {
		t.Errorf("after Close: %v", err)
	}
	asker.Close(context.Background()) // again

	other := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 })
	second := other.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("b")})
	<-taken
	for _, w := range []*worker{asked, other} { // neither gets any further
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		w.Close(ctx)
		cancel()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("Close took %v", took)
		}
	}
	if o := <-second; !errors.Is(o.err, ErrLost) {
		t.Errorf("the outcome is %v", o.err)
	}
}

// A request whose handler waits for ever does not hold Close up, since its context ends.
func TestCloseAsk(t *testing.T) {
	testutil.NoLeak(t)
	asking := make(chan struct{})
	asked := newWorker(t, &holder{reply: func(ctx context.Context, _ *Request) *Reply {
		close(asking)
		<-ctx.Done()
		return nil
	}}, nil)
	asker := newWorker(t, &holder{}, nil)
	result := make(chan error, 1)
	go func() {
		_, err := asker.Ask(context.Background(), &Request{Peer: Peer{asked.url, 1}, Method: "GET"})
		result <- err
	}()
	<-asking
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	asked.Close(ctx)
	if err := <-result; !errors.Is(err, ErrLost) {
		t.Errorf("the outcome is %v", err)
	}
}

// Close ends an opening, and those that wait for it.
func TestCloseOpening(t *testing.T) {
	testutil.NoLeak(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // which nobody accepts from
	asker := newWorker(t, &holder{}, nil)
	done := asker.pushed(&Push{Peer: Peer{"http://" + listener.Addr().String(), 1}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	asker.Close(ctx)
	select {
	case o := <-done:
		if !errors.Is(o.err, ErrNotSent) {
			t.Errorf("the outcome is %v", o.err)
		}
	default:
		t.Error("there is no outcome after Close")
	}
}

// A new link of an opener is read only when its older one has been read to its end. If that shows no end, it is cut.
func TestNewerLink(t *testing.T) {
	r := newRelay(t)
	release := make(chan struct{})
	asked := behind(t, r, &holder{answer: func(in *Incoming) {
		if string(in.Data) == "slow" {
			<-release
		}
		in.Answer(0, Answer{})
	}}, nil, fast)
	asker := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 }, fast, func(b *bounds) { b.live = time.Minute })
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	slow := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("slow")})
	testutil.Eventually(t, "the slow push to begin", func() bool { return asked.holder.count("slow") == 1 })
	behindIt := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("behind")})
	r.orphan()
	if o := <-slow; !errors.Is(o.err, ErrLost) {
		t.Errorf("the outcome is %v", o.err)
	}
	<-behindIt
	next := asker.pushed(&Push{Peer: Peer{asked.url, 1}, Data: []byte("next")})
	testutil.Eventually(t, "the newer link to prove itself", func() bool {
		asked.mu.Lock()
		defer asked.mu.Unlock()
		for link := range asked.accepted {
			link.mu.Lock()
			cut := link.lost != nil
			link.mu.Unlock()
			if cut { // the older one
				return true
			}
		}
		return false
	})
	if n := asked.holder.count("next"); n != 0 {
		t.Error("a newer push was started during an older one")
	}
	close(release)
	if o := <-next; o.err != nil {
		t.Errorf("the outcome is %v", o.err)
	}
	order := asked.holder.executed()
	if last := order[len(order)-1]; last != "next" {
		t.Errorf("executed in this order: %v", order)
	}
	testutil.Eventually(t, "the older link to be forgotten", func() bool { return asked.Stats().Accepted == 1 })
}

// A worker that reads nothing fills the sockets up. No call waits for that: the link is given up, and those behind it with it.
func TestPushDoesNotWait(t *testing.T) {
	r := newRelay(t)
	asked := behind(t, r, &holder{}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast, func(b *bounds) { b.live = 2 * time.Second })
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	r.stall()
	var waiting []<-chan outcome
	for i := range 2000 {
		p := &Push{Peer: Peer{asked.url, 1}, Data: make([]byte, maxSmall)}
		if i%2 == 0 {
			p.Sequence = new(Sequence)
		}
		start := time.Now()
		waiting = append(waiting, asker.pushed(p))
		if took := time.Since(start); took > time.Second {
			t.Errorf("a call took %v", took)
		}
	}
	for _, done := range waiting {
		if o := <-done; o.err == nil {
			t.Error("answered")
		}
	}
}

// A place among the links is given back when a link ends. Without one, the opener is told, and nothing is executed.
func TestAdopt(t *testing.T) {
	var places atomic.Int64
	places.Store(1)
	asked := newWorker(t, &holder{}, func(c *Config) {
		c.Adopt = func(conn net.Conn) (func(), bool) {
			if conn.LocalAddr() == nil {
				t.Error("no connection")
			}
			if places.Add(-1) < 0 {
				places.Add(1)
				return nil, false
			}
			return func() { places.Add(1) }, true
		}
	}, fast)
	first := newWorker(t, &holder{}, func(c *Config) { c.Instance = 1 })
	if _, err := first.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	second := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 }, fast, func(b *bounds) { b.refuse = time.Hour })
	for range 2 { // the second one is refused at once
		if err := refusal(t, second, asked.url); !errors.Is(err, ErrFull) {
			t.Errorf("the outcome is %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	first.Close(ctx)
	testutil.Eventually(t, "the place to be given back", func() bool { return places.Load() == 1 })
	third := newWorker(t, &holder{}, func(c *Config) { c.Instance = 3 })
	if _, err := third.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("c")}); err != nil {
		t.Error(err)
	}
	if times := asked.holder.times(); times["a"] != 1 || times["c"] != 1 {
		t.Errorf("executed: %v", times)
	}
}

// A link that has ended leaves nothing in memory, on either side.
func TestForgotten(t *testing.T) {
	asked := newWorker(t, &holder{}, nil, fast)
	asker := newWorker(t, &holder{}, nil, fast, func(b *bounds) { b.idle = 50 * time.Millisecond })
	if _, err := asker.push(t, &Push{Peer: Peer{asked.url, 1}, Data: []byte("a")}); err != nil {
		t.Fatal(err)
	}
	var sockets []weak.Pointer[websocket.Conn]
	o := (*asker.outgoing.Load())[asked.url]
	o.mu.Lock()
	sockets = append(sockets, weak.Make(o.link.ch.ws))
	o.mu.Unlock()
	asked.mu.Lock()
	for link := range asked.accepted {
		sockets = append(sockets, weak.Make(link.ch.ws))
	}
	asked.mu.Unlock()
	testutil.Eventually(t, "the link to be collected", func() bool {
		runtime.GC()
		return sockets[0].Value() == nil && sockets[1].Value() == nil
	})
}

// What comes over an older link for the first time when a newer one has proved itself, or even ended, is not carried out: the opener
// has given the older one up.
func TestLateOlderLink(t *testing.T) {
	asked := newWorker(t, &holder{}, nil)
	asker := newWorker(t, &holder{}, func(c *Config) { c.Instance = 2 })
	var links []*channel
	for range 3 {
		ch, err := asker.dial(t.Context(), asked.url)
		if err != nil {
			t.Fatal(err)
		}
		defer ch.ws.CloseNow()
		links = append(links, ch)
	}
	say := func(ch *channel, data string) {
		p := &Push{Peer: Peer{asked.url, 1}, Data: []byte(data)}
		p.left, p.answered = 1, newMarks(1)
		if _, err := ch.write(p.append(make([]byte, 0, bufSize), 1)); err != nil {
			t.Error(err)
		}
	}
	accepted := func(n int) func() bool { return func() bool { return asked.Stats().Accepted == n } }
	say(links[2], "newest")
	testutil.Eventually(t, "the newest to be carried out", func() bool { return asked.holder.count("newest") == 1 })
	say(links[1], "older")
	testutil.Eventually(t, "the older link to be refused", accepted(2))
	links[2].ws.CloseNow()
	testutil.Eventually(t, "the newest link to end", accepted(1))
	say(links[0], "oldest")
	testutil.Eventually(t, "the oldest link to be refused", accepted(0))
	if got := asked.holder.executed(); len(got) != 1 {
		t.Errorf("carried out: %v", got)
	}
	asked.mu.Lock()
	defer asked.mu.Unlock()
	if len(asked.latest) != 0 {
		t.Error("the opener is not forgotten")
	}
}
