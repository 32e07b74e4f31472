package wspush_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// confirmation is what a confirmed push returns.
type confirmation struct {
	roundTrip time.Duration
	err       error
}

// confirm pushes in a goroutine. A ctx without a deadline gets one that is far off, so that only what the test does ends the wait.
func confirm(ctx context.Context, conn *wspush.Conn, data string) <-chan confirmation {
	result := make(chan confirmation, 1)
	go func() {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Hour)
			defer cancel()
		}
		receipt, err := conn.Push(ctx, wspush.Text, []byte(data), wspush.Confirmed())
		result <- confirmation{receipt.RoundTrip, err}
	}()
	return result
}

// expectFrame reads a frame, and fails the test if it is another one.
func expectFrame(t testing.TB, client *testutil.Client, op testutil.Opcode, payload string) {
	t.Helper()
	if f := client.NextFrame(); f.Op != op || string(f.Payload) != payload || !f.Fin {
		t.Fatalf("the client got %v, want %v %q", f, op, payload)
	}
}

func pong(client *testutil.Client, number string) { client.Send(testutil.Pong, []byte(number)) }

// pending fails the test if something comes from the channel although nothing else is going on.
func pending(t testing.TB, result <-chan confirmation) {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-result:
		t.Fatalf("the push has returned %+v", r)
	default:
	}
}

// The ping goes out right after the message, and only its pong confirms the message.
func TestConfirmed(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		for i, size := range []int{0, 1, 125, 126, 65536, len(big)} {
			result := make(chan confirmation, 1)
			go func() {
				receipt, err := w.Push(context.Background(), conn.ID(), wspush.Binary, []byte(big[:size]), wspush.Confirmed())
				result <- confirmation{receipt.RoundTrip, err}
			}()
			number := strconv.Itoa(i + 1)
			expectFrame(t, client, testutil.Binary, big[:size])
			expectFrame(t, client, testutil.Ping, number)
			select {
			case r := <-result:
				t.Fatalf("confirmed before the pong: %+v", r)
			default:
			}
			pong(client, number)
			if r := receive(t, "the confirmation", result); r.err != nil || r.roundTrip <= 0 || r.roundTrip > time.Minute {
				t.Errorf("%d bytes: %+v", size, r)
			}
		}
		if rtt := conn.Info().RoundTrip; rtt <= 0 || rtt > time.Minute {
			t.Errorf("RoundTrip: %v", rtt)
		}
		if s := w.Stats(); s.Written != 6 || s.Confirmed != 6 || s.Refused != 0 || s.Unknown != 0 {
			t.Errorf("Stats: %+v", s)
		}
	})
}

// One ping is on its way at a time. One pong confirms everything that went out before its ping, and nothing after it, however
// often the timers have repeated it; only then comes the next ping, behind everything that wants it.
func TestConfirmCumulative(t *testing.T) {
	opts := &wspush.HandlerOptions{PingInterval: 10 * time.Second, IdleTimeout: time.Minute}
	bubble(t, wspush.WorkerOptions{}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx := context.Background()
		first := confirm(ctx, conn, "first")
		expectFrame(t, client, testutil.Text, "first")
		expectFrame(t, client, testutil.Ping, "1")
		<-time.After(time.Second)
		var later []<-chan confirmation
		for i := range 3 {
			later = append(later, confirm(ctx, conn, fmt.Sprint("later ", i)))
			expectFrame(t, client, testutil.Text, fmt.Sprint("later ", i))
		}
		expectFrame(t, client, testutil.Ping, "1") // the timers', 10 s later
		for _, n := range []string{"", "0", "01", "2", "18446744073709551617", "x"} {
			pong(client, n)
		}
		pending(t, first)
		pong(client, "1")
		if r := <-first; r != (confirmation{11 * time.Second, nil}) {
			t.Errorf("first: %+v", r)
		}
		expectFrame(t, client, testutil.Ping, "2")
		for _, l := range later {
			pending(t, l)
		}
		if rtt := conn.Info().RoundTrip; rtt != 11*time.Second {
			t.Errorf("RoundTrip: %v, want that of the first ping", rtt)
		}
		pong(client, "1") // the answer to the second of the same number
		pending(t, later[0])
		<-time.After(time.Second)
		pong(client, "2")
		for _, l := range later {
			if r := <-l; r != (confirmation{11 * time.Second, nil}) {
				t.Errorf("later: %+v", r)
			}
		}
		if rtt := conn.Info().RoundTrip; rtt != time.Second {
			t.Errorf("RoundTrip: %v, want that of the second ping", rtt)
		}
	})
}

// A ping does not part the messages of others, and does not wait for those behind it that want none.
func TestConfirmAmongOthers(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx := context.Background()
		var plain sync.WaitGroup
		push := func(data string) {
			plain.Go(func() {
				if _, err := conn.Push(ctx, wspush.Text, []byte(data)); err != nil {
					t.Errorf("%q: %v", data, err)
				}
			})
			synctest.Wait() // on a pipe it waits until the client reads
		}
		push("a")
		confirmed := confirm(ctx, conn, "b")
		synctest.Wait()
		push("c")
		also := confirm(ctx, conn, "d")
		synctest.Wait()
		push("e")
		expectFrame(t, client, testutil.Text, "a")
		expectFrame(t, client, testutil.Text, "b")
		expectFrame(t, client, testutil.Ping, "1")
		pong(client, "1")
		if r := <-confirmed; r.err != nil {
			t.Errorf("b: %v", r.err)
		}
		expectFrame(t, client, testutil.Text, "c")
		expectFrame(t, client, testutil.Text, "d")
		expectFrame(t, client, testutil.Ping, "2")
		expectFrame(t, client, testutil.Text, "e")
		pong(client, "2")
		if r := <-also; r.err != nil {
			t.Errorf("d: %v", r.err)
		}
		plain.Wait()
	})
}

// A context ends the wait: before the message has begun it is withdrawn; from then on the outcome is unknown, and the
// connection unharmed.
func TestConfirmTimeout(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx, cancel := context.WithCancel(context.Background())
		result := confirm(ctx, conn, "hello")
		expectFrame(t, client, testutil.Text, "hello")
		expectFrame(t, client, testutil.Ping, "1")
		cancel()
		if r := receive(t, "the push", result); !errors.Is(r.err, wspush.ErrUnknown) || !strings.Contains(r.err.Error(), "open") {
			t.Errorf("written and not confirmed: %v", r.err)
		}
		if r := receive(t, "the push", confirm(ctx, conn, "never")); !errors.Is(r.err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", r.err)
		}
		pong(client, "1") // of which nobody is left to hear

		ctx, cancel = context.WithCancel(context.Background())
		stalled := stall(t, context.Background(), conn, client, []byte(big))
		result = confirm(ctx, conn, "never")
		cancel()
		if r := receive(t, "the push", result); !errors.Is(r.err, context.Canceled) {
			t.Errorf("not begun: %v", r.err)
		}
		client.Expect(testutil.Text, big)
		if err := <-stalled; err != nil {
			t.Error(err)
		}
		ctx, cancel = context.WithCancel(context.Background())
		result = confirm(ctx, conn, big)
		if op, _, err := peekMessage(client, 1000); err != nil || op != testutil.Text {
			t.Fatalf("the beginning of a long message: %v %v", op, err)
		}
		cancel()
		if r := receive(t, "the push", result); !errors.Is(r.err, wspush.ErrUnknown) {
			t.Errorf("half written: %v", r.err)
		}
	})
}

// peekMessage reads the header and n bytes of a message of 65536 bytes or more.
func peekMessage(client *testutil.Client, n int) (testutil.Opcode, []byte, error) {
	buf := make([]byte, 10+n)
	for { // pings come first
		if _, err := io.ReadFull(client.Conn(), buf[:2]); err != nil {
			return 0, nil, err
		}
		if buf[0]&0xf != byte(testutil.Ping) {
			break
		}
		if _, err := io.ReadFull(client.Conn(), buf[:buf[1]]); err != nil {
			return 0, nil, err
		}
	}
	_, err := io.ReadFull(client.Conn(), buf[2:])
	return testutil.Opcode(buf[0] & 0xf), buf[10:], err
}

// Whatever ends the connection between the message and its pong, the push returns at once: unknown, and gone. If the client
// answers before it closes, the message has been received all the same.
func TestConfirmEnds(t *testing.T) {
	ends := map[string]struct {
		end      func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client)
		received bool
		within   time.Duration
	}{
		"the client closes": {end: func(t *testing.T, _ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) {
			client.SendClose(1000, "")
		}},
		"the client is lost": {end: func(t *testing.T, _ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) { client.Close() }},
		"the client is wrong": {end: func(t *testing.T, _ *wspush.Worker, _ *wspush.Conn, client *testutil.Client) {
			client.Write([]byte{0x81, 0x00})
		}},
		"the client says nothing": {within: 2 * time.Minute},
		"closed, and no answer": {within: 2 * time.Second, end: func(t *testing.T, _ *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
			conn.Close(1000, "")
			expectFrame(t, client, testutil.Close, "\x03\xe8")
		}},
		"closed, and answered": {received: true, end: func(t *testing.T, _ *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
			conn.Close(1000, "")
			expectFrame(t, client, testutil.Close, "\x03\xe8")
			pong(client, "1")
			client.SendClose(1000, "")
		}},
		"shutdown, and answered": {received: true, end: func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
			go w.Shutdown(context.Background())
			expectFrame(t, client, testutil.Close, "\x03\xf4service restart")
			pong(client, "1")
			client.SendClose(1012, "")
		}},
		"cut": {end: func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
			ended, cancel := context.WithCancel(context.Background())
			cancel()
			_ = w.Shutdown(ended)
		}},
	}
	for name, tt := range ends {
		t.Run(name, func(t *testing.T) {
			opts := &wspush.HandlerOptions{PingInterval: 50 * time.Second, IdleTimeout: time.Minute}
			bubble(t, wspush.WorkerOptions{}, opts, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
				result := confirm(context.Background(), conn, "hello")
				expectFrame(t, client, testutil.Text, "hello")
				expectFrame(t, client, testutil.Ping, "1")
				begin := time.Now()
				var reading sync.WaitGroup
				if tt.end != nil {
					tt.end(t, w, conn, client)
				}
				reading.Go(func() { _, _ = io.Copy(io.Discard, client.Conn()) })
				r := <-result
				if took := time.Since(begin); took > tt.within {
					t.Errorf("it took %v", took)
				}
				switch {
				case tt.received && r.err != nil:
					t.Errorf("received, but: %v", r.err)
				case !tt.received && (!errors.Is(r.err, wspush.ErrUnknown) || !strings.Contains(r.err.Error(), "gone")):
					t.Errorf("%+v", r)
				}
				client.Close()
				reading.Wait()
			})
		})
	}
}

// A message that waits for the second ping when its connection is closed gets that ping before the close frame.
func TestConfirmBeforeClose(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx := context.Background()
		first := confirm(ctx, conn, "first")
		expectFrame(t, client, testutil.Text, "first")
		expectFrame(t, client, testutil.Ping, "1")
		second := confirm(ctx, conn, "second")
		expectFrame(t, client, testutil.Text, "second")
		third := confirm(ctx, conn, "third") // on a pipe, it is under way until the client reads it
		synctest.Wait()
		never := confirm(ctx, conn, "never")
		synctest.Wait()
		if err := conn.Close(1000, ""); err != nil {
			t.Fatal(err)
		}
		if r := <-never; !errors.Is(r.err, wspush.ErrGone) {
			t.Errorf("not begun: %v", r.err)
		}
		expectFrame(t, client, testutil.Text, "third")
		expectFrame(t, client, testutil.Ping, "2")
		expectFrame(t, client, testutil.Close, "\x03\xe8")
		pong(client, "2") // the latest is enough (RFC 6455 section 5.5.3)
		for i, result := range []<-chan confirmation{first, second, third} {
			if r := <-result; r.err != nil {
				t.Errorf("%d: %v", i, r.err)
			}
		}
		client.SendClose(1000, "")
	})
}

// confirmations is two clients whose callbacks push to each other, or to themselves, with Confirmed, in a bubble.
type confirmations struct {
	a, b    *testutil.Client
	results chan confirmedPush
	release chan struct{} // lets callbacks go on that got "wait"
}

type confirmedPush struct {
	from, to *wspush.Conn
	confirmation
	took time.Duration
}

// newConfirmations connects two clients, neither of which answers pings by itself. A message "push to self" or "push to other"
// has the callback push "hello"; "wait and …" has it wait for release before.
func newConfirmations(t *testing.T, ctx context.Context) *confirmations {
	w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"http://push.test"}})
	c := &confirmations{results: make(chan confirmedPush, 10), release: make(chan struct{})}
	conns := make([]*wspush.Conn, 2)
	h := newHandler(t, w, &wspush.HandlerOptions{OnMessage: func(from *wspush.Conn, _ wspush.MessageType, data []byte) {
		what, waits := strings.CutPrefix(string(data), "wait and ")
		if waits {
			<-c.release
		}
		to := from
		if what == "push to other" {
			if to = conns[0]; from == to {
				to = conns[1]
			}
		} else if what != "push to self" {
			return
		}
		begun := time.Now()
		receipt, err := to.Push(ctx, wspush.Text, []byte("hello"), wspush.Confirmed())
		c.results <- confirmedPush{from, to, confirmation{receipt.RoundTrip, err}, time.Since(begun)}
	}})
	for i, client := range []**testutil.Client{&c.a, &c.b} {
		*client = testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
		conns[i], _ = greeted(t, w, *client)
	}
	return c
}

// A callback may wait for the confirmation of another connection, also while that runs a callback, and whichever began first.
func TestConfirmInCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConfirmations(t, t.Context())
		for _, pair := range [][2]*testutil.Client{{c.a, c.b}, {c.b, c.a}} {
			from, to := pair[0], pair[1]
			from.Send(testutil.Text, []byte("wait and push to other"))
			synctest.Wait()
			to.Send(testutil.Text, []byte("wait and return"))
			synctest.Wait() // both callbacks have begun
			c.release <- struct{}{}
			synctest.Wait() // from's is pushing, while to's still runs
			select {
			case r := <-c.results:
				t.Fatalf("%+v, while the other callback runs", r)
			default:
			}
			c.release <- struct{}{}
			expectFrame(t, to, testutil.Text, "hello")
			ping := to.NextFrame()
			to.Send(testutil.Pong, ping.Payload)
			if r := <-c.results; r.err != nil || r.from == r.to {
				t.Errorf("%+v", r)
			}
		}
		c.a.SendClose(1000, "")
		c.b.SendClose(1000, "")
	})
}

// Nobody reads the pong to a push in a callback of the same connection, nor if two callbacks wait for each other's. Then the push
// waits until its context ends, or for 5 s if that has no deadline, although the message is written.
func TestConfirmInOwnCallback(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration // of the context; 0: none
		to      string
		want    time.Duration
	}{
		"without a deadline":           {0, "push to self", 5 * time.Second},
		"with an earlier one":          {time.Second, "push to self", time.Second},
		"with a later one":             {time.Minute, "push to self", time.Minute},
		"two that wait for each other": {0, "push to other", 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tt.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				c := newConfirmations(t, ctx)
				begun := time.Now()
				for _, client := range []*testutil.Client{c.a, c.b} {
					client.Send(testutil.Text, []byte("wait and "+tt.to))
				}
				synctest.Wait()
				for range 2 {
					c.release <- struct{}{}
				}
				for _, client := range []*testutil.Client{c.a, c.b} { // it is written, and confirmed, and this is not read
					expectFrame(t, client, testutil.Text, "hello")
					ping := client.NextFrame()
					go client.Send(testutil.Pong, ping.Payload)
				}
				if time.Since(begun) != 0 {
					t.Errorf("the message was written after %v", time.Since(begun))
				}
				unknown := 0
				for range 2 {
					r := <-c.results
					if errors.Is(r.err, wspush.ErrUnknown) {
						unknown++
					}
					if r.took != tt.want {
						t.Errorf("%v after %v, want it after %v", r.err, r.took, tt.want)
					}
				}
				// Of two that wait for each other, one may see the other's callback return in the same instant.
				if unknown == 0 || unknown == 1 && tt.to == "push to self" {
					t.Errorf("the outcome of %d is unknown", unknown)
				}
				// The connections are as good as before.
				go func() { c.release <- struct{}{} }()
				c.a.Send(testutil.Text, []byte("wait and return"))
				c.a.SendClose(1000, "")
				c.b.SendClose(1000, "")
			})
		})
	}
}

// What has no deadline gets one, so that nobody waits for ever for a client that does not answer.
func TestConfirmDefaultTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"http://push.test"}})
		client := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, nil)), testutil.Options{Timeout: -1})
		conn, _ := greeted(t, w, client)
		for _, push := range []func() (wspush.Receipt, error){
			func() (wspush.Receipt, error) { return conn.Push(t.Context(), wspush.Text, nil, wspush.Confirmed()) },
			func() (wspush.Receipt, error) {
				return w.Push(t.Context(), conn.ID(), wspush.Text, nil, wspush.Confirmed())
			},
		} {
			begun := time.Now()
			result := make(chan error, 1)
			go func() { result <- outcome(push()) }()
			expectFrame(t, client, testutil.Text, "")
			ping := client.NextFrame()
			if err := <-result; !errors.Is(err, wspush.ErrUnknown) || time.Since(begun) != 5*time.Second {
				t.Errorf("%v after %v", err, time.Since(begun))
			}
			pong(client, string(ping.Payload))
		}
		client.SendClose(1000, "")
	})
}

// Many publishers confirm on one connection with few pings: those that come while one is on its way share the next.
func TestConfirmFewPings(t *testing.T) {
	const publishers, each = 512, 100
	w := newWorker(t, quiet())
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{Timeout: time.Minute})
	pings, read := 0, 0
	var reading, pushing sync.WaitGroup
	reading.Go(func() {
		for read < publishers*each {
			f, err := client.ReadFrame()
			switch {
			case err != nil:
				t.Error(err)
				return
			case f.Op == testutil.Ping:
				pings++
				if err := client.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: f.Payload}); err != nil {
					t.Error(err)
					return
				}
			default:
				read++
			}
		}
		for { // the last ping comes after the last message
			f, err := client.ReadFrame()
			if err != nil {
				return
			}
			if f.Op == testutil.Ping {
				pings++
				_ = client.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: f.Payload})
			}
		}
	})
	for range publishers {
		pushing.Go(func() {
			for range each {
				if _, err := conn.Push(context.Background(), wspush.Text, []byte("hello"), wspush.Confirmed()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	pushing.Wait()
	client.Close()
	reading.Wait()
	t.Logf("%d pings for %d confirmed pushes of %d publishers", pings, publishers*each, publishers)
	if pings > publishers*each/10 {
		t.Errorf("%d pings for %d pushes", pings, publishers*each)
	}
}

// What is said to be received has been read by the client, whatever the client's pace, and whatever else is sent: a client
// that answers late, only the latest, or twice.
func TestConfirmedIsReceived(t *testing.T) {
	staged(t, quiet(), func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		const publishers, each = 8, 50
		var mu sync.Mutex // guards read
		read := make(map[string]int)
		var reading, pushing sync.WaitGroup
		reading.Go(func() {
			random := rand.New(rand.NewPCG(1, 2))
			for {
				f, err := client.ReadFrame()
				if err != nil {
					return
				}
				if f.Op != testutil.Ping {
					mu.Lock()
					read[string(f.Payload)]++
					mu.Unlock()
					continue
				}
				answer := testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: f.Payload}
				for range 1 + random.IntN(2) {
					_ = client.WriteFrame(answer)
				}
			}
		})
		for p := range publishers {
			pushing.Go(func() {
				random := rand.New(rand.NewPCG(3, uint64(p)))
				for i := range each {
					data := fmt.Sprintf("%d of %d%s", i, p, strings.Repeat(".", random.IntN(3)*random.IntN(3)*10_000))
					ctx, cancel := context.WithCancel(context.Background())
					var stop func() bool
					if random.IntN(4) == 0 {
						stop = context.AfterFunc(ctx, func() {})
						time.AfterFunc(time.Duration(random.IntN(200))*time.Microsecond, cancel)
					}
					var err error
					if random.IntN(3) == 0 {
						_, err = conn.Push(ctx, wspush.Text, []byte(data))
					} else if _, err = conn.Push(ctx, wspush.Text, []byte(data), wspush.Confirmed()); err == nil {
						mu.Lock()
						if read[data] != 1 {
							t.Errorf("confirmed, and read %d times", read[data])
						}
						mu.Unlock()
					}
					if stop == nil && err != nil || err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, wspush.ErrUnknown) {
						t.Errorf("%v", err)
					}
					cancel()
				}
			})
		}
		pushing.Wait()
		client.Close()
		reading.Wait()
	})
}

// The same by HTTP, with the plain requests that take the short way and those that do not.
func TestConfirmHTTP(t *testing.T) {
	for name, authorize := range map[string]func(*http.Request) error{"anyone": nil, "authorized": func(*http.Request) error { return nil }} {
		t.Run(name, func(t *testing.T) {
			w := newWorker(t, &wspush.WorkerOptions{AuthorizePush: authorize, PushTimeout: 200 * time.Millisecond})
			client, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})
			push := func(query string) <-chan *http.Response {
				result := make(chan *http.Response, 1)
				req := newRequest(t, http.MethodPost, address+query, strings.NewReader("hello"))
				go func() {
					resp, err := try(req)
					if err != nil {
						t.Error(err)
					}
					result <- resp
				}()
				return result
			}
			number := 0
			pushed := func(query string) <-chan *http.Response {
				t.Helper()
				result := push(query)
				number++
				expectFrame(t, client, testutil.Text, "hello")
				expectFrame(t, client, testutil.Ping, strconv.Itoa(number))
				return result
			}
			if got := details(t, address); got["rttMs"] != nil {
				t.Errorf("rttMs before the first pong: %v", got["rttMs"])
			}
			for _, query := range []string{"?confirm=received", "?timeout=99h&confirm=received", "?confirm=received&type=text&timeout=1m0.5s"} {
				result := pushed(query)
				pong(client, strconv.Itoa(number))
				resp := receive(t, "the answer", result)
				rtt, err := strconv.ParseFloat(resp.Header.Get("Wspush-Rtt"), 64)
				whole, decimals, _ := strings.Cut(resp.Header.Get("Wspush-Rtt"), ".")
				if resp.StatusCode != http.StatusNoContent || err != nil || rtt <= 0 || rtt > 10_000 || len(decimals) != 3 || whole == "" {
					t.Errorf("%s: %s, Wspush-Rtt %q", query, resp.Status, resp.Header.Get("Wspush-Rtt"))
				}
			}
			if rtt, ok := details(t, address)["rttMs"].(float64); !ok || rtt <= 0 || rtt > 10_000 {
				t.Errorf("rttMs: %v", rtt)
			}

			// Longer than PushTimeout, and shorter than the default.
			begin := time.Now()
			checkUnconfirmed(t, receive(t, "the answer", pushed("?confirm=received&timeout=300ms")), "open")
			if took := time.Since(begin); took < 300*time.Millisecond || took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			pong(client, strconv.Itoa(number))

			for _, query := range []string{
				"?confirm=read", "?confirm=", "?confirm", "?confirm=received&confirm=written", "?confirm=received&confirm=received", "?confirm=received&timeout=5", "?confirm=received&timeout=",
				"?timeout=0s", "?confirm=received&timeout=-1s", "?confirm=received&timeout=1s&timeout=2s", "?timeout=soon",
			} {
				if resp := <-push(query); resp.StatusCode != http.StatusBadRequest {
					t.Errorf("%s: %s", query, resp.Status)
				}
			}

			result := pushed("?confirm=received&timeout=30s")
			client.Close()
			checkUnconfirmed(t, receive(t, "the answer", result), "gone")
			<-conn.Context().Done()
			if resp := <-push("?confirm=received"); resp.StatusCode != http.StatusGone || resp.Header.Get("Wspush-Rtt") != "" {
				t.Errorf("after the end: %s", resp.Status)
			}
			if s := w.Stats(); s.Confirmed != 3 || s.Unknown != 2 {
				t.Errorf("Stats: %+v", s)
			}
		})
	}
}

// details is what GET tells of a connection.
func details(t *testing.T, address string) (got map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text(t, do(t, newRequest(t, http.MethodGet, address, nil)))), &got); err != nil {
		t.Fatal(err)
	}
	return got
}

func checkUnconfirmed(t *testing.T, resp *http.Response, connection string) {
	t.Helper()
	var p struct{ Type, Connection, Detail string }
	if err := json.Unmarshal([]byte(text(t, resp)), &p); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusGatewayTimeout || p.Type != "urn:wspush:unconfirmed" || p.Connection != connection || p.Detail == "" {
		t.Errorf("%s %+v, want connection %s", resp.Status, p, connection)
	}
}

// The timeout of a push by HTTP bounds its wait exactly: 5 s unless it says something else, and 30 s at most, whatever
// PushTimeout is. Without confirm it bounds the wait for the write.
func TestConfirmTimeoutHTTP(t *testing.T) {
	for query, want := range map[string]struct {
		wait   time.Duration
		status int
	}{
		"?confirm=received":                {5 * time.Second, 504},
		"?confirm=received&timeout=1500ms": {1500 * time.Millisecond, 504},
		"?confirm=received&timeout=30s":    {30 * time.Second, 504},
		"?confirm=received&timeout=1h":     {30 * time.Second, 504},
		"?timeout=1s":                      {time.Second, 429},
		"?timeout=1h":                      {20 * time.Second, 429},
	} {
		t.Run(query, func(t *testing.T) {
			wopts := wspush.WorkerOptions{PushTimeout: 20 * time.Second, WriteTimeout: time.Hour}
			bubble(t, wopts, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
				if want.status == 504 {
					go func() { // reads, and says nothing
						_, _ = io.Copy(io.Discard, client.Conn())
					}()
				} else {
					ahead, cancel := context.WithTimeout(context.Background(), time.Minute)
					defer cancel()
					go conn.Push(ahead, wspush.Text, []byte("ahead"))
					synctest.Wait()
				}
				begin := time.Now()
				resp := httptest.NewRecorder()
				w.ServeHTTP(resp, httptest.NewRequest(http.MethodPost, conn.PathAddresses()[0]+query, strings.NewReader("hello")))
				if took := time.Since(begin); took != want.wait || resp.Code != want.status {
					t.Errorf("%d after %v", resp.Code, took)
				}
				client.Close()
			})
		})
	}
}

// The client's close frame comes within a message that is to be confirmed, and the client goes on to read that.
func TestConfirmClosedWithin(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		result := confirm(context.Background(), conn, big)
		synctest.Wait()
		client.SendClose(1000, "")
		expectFrame(t, client, testutil.Text, big)
		expectFrame(t, client, testutil.Ping, "1") // which was in line already
		expectFrame(t, client, testutil.Close, "\x03\xe8")
		if r := <-result; !errors.Is(r.err, wspush.ErrUnknown) {
			t.Error(r)
		}
	})
}

// Nobody would hear the answer to a ping behind the client's close frame.
func TestNoPingAfterClose(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		first := confirm(context.Background(), conn, "first")
		expectFrame(t, client, testutil.Text, "first")
		expectFrame(t, client, testutil.Ping, "1")
		second := confirm(context.Background(), conn, "second")
		expectFrame(t, client, testutil.Text, "second")
		client.SendClose(1000, "")
		expectFrame(t, client, testutil.Close, "\x03\xe8")
		for _, result := range []<-chan confirmation{first, second} {
			if r := <-result; !errors.Is(r.err, wspush.ErrUnknown) {
				t.Error(r)
			}
		}
	})
}

// A pong means nothing if it comes before its ping is out, or is one of long ago.
func TestConfirmStrayPongs(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		confirmed := confirm(context.Background(), conn, "to learn the numbers")
		expectFrame(t, client, testutil.Text, "to learn the numbers")
		expectFrame(t, client, testutil.Ping, "1")
		pong(client, "1")
		<-confirmed
		first := start(context.Background(), conn, big)
		confirmed = confirm(context.Background(), conn, "2")
		synctest.Wait()
		pong(client, "2")
		expectFrame(t, client, testutil.Text, big)
		if err := returned(t, first); err != nil {
			t.Error(err)
		}
		for _, number := range []string{"2", "3", "4"} {
			expectFrame(t, client, testutil.Text, number)
			expectFrame(t, client, testutil.Ping, number)
			pending(t, confirmed)
			pong(client, "1")
			pending(t, confirmed)
			pong(client, number)
			if r := <-confirmed; r.err != nil {
				t.Error(r)
			}
			pong(client, "2")
			synctest.Wait()
			if number != "4" {
				confirmed = confirm(context.Background(), conn, string(number[0]+1))
			}
		}
	})
}

// Pongs of a client's own, which RFC 6455 section 5.5.3 allows, confirm nothing, whatever they count.
func TestHeartbeatsConfirmNothing(t *testing.T) {
	staged(t, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx, cancel := context.WithCancel(context.Background())
		result := confirm(ctx, conn, "hello")
		expectFrame(t, client, testutil.Text, "hello")
		expectFrame(t, client, testutil.Ping, "1")
		for i := range 20 {
			client.Write(wire(frame(true, testutil.Pong, strconv.Itoa(i))))
		}
		client.Write(wire(frame(true, testutil.Ping, "are you there?")))
		expectFrame(t, client, testutil.Pong, "are you there?") // so the others have been read
		select {
		case r := <-result:
			t.Errorf("the push has returned %+v", r)
		default:
		}
		cancel()
		<-result
	})
}

// What the client has read is confirmed before what waits behind it is written.
func TestConfirmAheadOfBacklog(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ctx := context.Background()
		first := confirm(ctx, conn, "first")
		expectFrame(t, client, testutil.Text, "first")
		expectFrame(t, client, testutil.Ping, "1")
		second := confirm(ctx, conn, "second")
		expectFrame(t, client, testutil.Text, "second")
		var later []<-chan confirmation
		for range 5 {
			later = append(later, confirm(ctx, conn, "later"))
			synctest.Wait()
		}
		pong(client, "1")
		<-first
		expectFrame(t, client, testutil.Text, "later") // has begun already
		expectFrame(t, client, testutil.Ping, "2")
		pong(client, "2")
		for _, result := range []<-chan confirmation{second, later[0]} {
			if r := <-result; r.err != nil {
				t.Error(r)
			}
		}
		pending(t, later[1])
		expectFrame(t, client, testutil.Text, "later")
		expectFrame(t, client, testutil.Ping, "3")
		for range 3 {
			expectFrame(t, client, testutil.Text, "later")
		}
		pong(client, "3")
		expectFrame(t, client, testutil.Ping, "4")
		pong(client, "4")
		for _, l := range later[1:] {
			if r := <-l; r.err != nil {
				t.Error(r)
			}
		}
	})
}

// A callback that began before anyone confirmed anything is not taken for every other.
func TestConfirmDuringEarlyCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"http://push.test"}})
		var early *wspush.Conn
		results := make(chan error, 1)
		release := make(chan bool)
		h := newHandler(t, w, &wspush.HandlerOptions{OnMessage: func(c *wspush.Conn, _ wspush.MessageType, data []byte) {
			if string(data) == "wait" {
				<-release
				return
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := early.Push(ctx, wspush.Text, []byte("x"), wspush.Confirmed())
			results <- err
		}})
		b := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
		early, _ = greeted(t, w, b)
		b.Send(testutil.Text, []byte("wait"))
		synctest.Wait()
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = io.Copy(io.Discard, b.Conn()) })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := early.Push(ctx, wspush.Text, nil, wspush.Confirmed()); !errors.Is(err, wspush.ErrUnknown) {
			t.Errorf("from no callback: %v", err)
		}
		a := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
		greeted(t, w, a)
		a.Send(testutil.Text, nil)
		if err := <-results; !errors.Is(err, wspush.ErrUnknown) {
			t.Errorf("from another's callback: %v", err)
		}
		close(release)
		a.Close()
		b.Close()
		reading.Wait()
	})
}

// A receipt says how far the message has come, whichever way it was pushed; an error comes without one.
func TestReceipts(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		for _, _, err := client.Message(); err == nil; _, _, err = client.Message() {
		}
	}()
	ctx := t.Context()
	for name, push := range map[string]func(typ wspush.MessageType, opts ...wspush.PushOption) (wspush.Receipt, error){
		"Conn": func(typ wspush.MessageType, opts ...wspush.PushOption) (wspush.Receipt, error) {
			return conn.Push(ctx, typ, nil, opts...)
		},
		"Worker": func(typ wspush.MessageType, opts ...wspush.PushOption) (wspush.Receipt, error) {
			return holder.Push(ctx, conn.ID(), typ, nil, opts...)
		},
		"another worker": func(typ wspush.MessageType, opts ...wspush.PushOption) (wspush.Receipt, error) {
			return other.Push(ctx, conn.SealedID(), typ, nil, opts...)
		},
	} {
		for _, none := range [][]wspush.PushOption{nil, {{}}} {
			if r, err := push(wspush.Text, none...); err != nil || r != (wspush.Receipt{State: wspush.Written}) {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		}
		if r, err := push(wspush.Binary, wspush.PushOption{}, wspush.Confirmed(), wspush.PushOption{}); err != nil || r.State != wspush.Received || r.RoundTrip <= 0 {
			t.Errorf("%s, confirmed: %+v, %v", name, r, err)
		}
		if r, err := push(0, wspush.Confirmed()); err == nil || r != (wspush.Receipt{}) {
			t.Errorf("%s, of no type: %+v, %v", name, r, err)
		}
	}
	client.Close()
	<-reading
}
