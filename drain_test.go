package wspush_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// crowd is a worker in a testing/synctest bubble, and its clients.
type crowd struct {
	t       *testing.T
	w       *wspush.Worker
	handler http.Handler
	push    *pipes
	members []*member
}

// member is one client. A goroutine reads its messages until its connection ends.
type member struct {
	*testutil.Client
	conn  *wspush.Conn
	got   []string // the messages; to be looked at when nothing goes on any more
	ended chan struct{}
	at    time.Time // when it ended
	err   error     // and how
}

// gather connects n clients, each of which waits for latency before it reads a message.
func gather(t *testing.T, n int, wopts wspush.WorkerOptions, copts testutil.Options, latency time.Duration) *crowd {
	t.Helper()
	c := &crowd{t: t, push: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}}
	wopts.Listener, wopts.Advertise = c.push, []string{"http://push.test"}
	c.w = newWorker(t, &wopts)
	c.handler = newHandler(t, c.w, nil)
	copts.Timeout = -1
	for range n {
		m := &member{Client: testutil.Handshake(t, testutil.Pipe(t, c.handler), copts), ended: make(chan struct{})}
		m.conn, _ = greeted(t, c.w, m.Client)
		c.members = append(c.members, m)
		go func() {
			defer close(m.ended)
			for {
				testutil.Pass(latency)
				_, data, err := m.Message()
				if err != nil {
					m.at, m.err = time.Now(), err
					return
				}
				m.got = append(m.got, string(data))
			}
		}()
	}
	synctest.Wait()
	return c
}

func (m *member) hasEnded() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// sort returns the clients that are open and those that have ended.
func (c *crowd) sort() (open, ended []*member) {
	synctest.Wait()
	for _, m := range c.members {
		if m.hasEnded() {
			ended = append(ended, m)
		} else {
			open = append(open, m)
		}
	}
	return open, ended
}

// shutdown calls Shutdown in a goroutine. The channel gets its error.
func (c *crowd) shutdown(ctx context.Context) <-chan error {
	result := make(chan error, 1)
	go func() { result <- c.w.Shutdown(ctx) }()
	return result
}

// closed returns, in order, how long after begin each of these members was closed. It fails the test for those that were not
// closed with 1012.
func (c *crowd) closed(begin time.Time, members []*member) (after []time.Duration) {
	c.t.Helper()
	for _, m := range members {
		<-m.ended
		var closed *testutil.CloseError
		if !errors.As(m.err, &closed) || closed.Code != 1012 || closed.Reason != "service restart" {
			c.t.Errorf("a client ended after %v with: %v", m.at.Sub(begin), m.err)
		}
		after = append(after, m.at.Sub(begin))
	}
	slices.Sort(after)
	return after
}

// request sends a request to the push listener, and returns the answer with its body in memory.
func (c *crowd) request(method, target, body string) *http.Response {
	c.t.Helper()
	publisher, server := net.Pipe()
	defer publisher.Close()
	c.push.conns <- server
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", method, target, len(body))
	if _, err := io.WriteString(publisher, head+body); err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(publisher), &http.Request{Method: method})
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(data)))
	return resp
}

// even returns when each of n clients is closed if they are spread evenly over d.
func even(n int, d time.Duration) (after []time.Duration) {
	for i := range n {
		after = append(after, d*time.Duration(i)/time.Duration(n))
	}
	return after
}

// Clients are closed with 1012, evenly over DrainOver, or faster if Shutdown's deadline requires it: the last of them is to have
// 3 s.
func TestDrainIsEven(t *testing.T) {
	const s = time.Second
	for name, tt := range map[string]struct {
		n        int
		over     time.Duration
		deadline time.Duration // 0: none
		silent   bool          // nobody answers the close frame, so that each lasts for 2 s more
		want     time.Duration // over which they are closed
	}{
		"ten in 10 s":             {n: 10, over: 10 * s, want: 10 * s},
		"seven in 1 s":            {n: 7, over: s, want: s},
		"many in a day":           {n: 100, over: 24 * time.Hour, want: 24 * time.Hour},
		"one":                     {n: 1, over: 10 * s, want: 10 * s},
		"nobody":                  {over: 10 * s},
		"nobody, with a deadline": {over: 10 * s, deadline: 5 * s},
		"by default":              {n: 10},
		"negative":                {n: 10, over: -10 * s},
		"deadline far off":        {n: 10, over: 10 * s, deadline: time.Hour, want: 10 * s},
		"deadline that suffices":  {n: 10, over: 10 * s, deadline: 13 * s, want: 10 * s},
		"deadline too early":      {n: 10, over: time.Hour, deadline: 13 * s, want: 10 * s},
		"deadline in 3 s":         {n: 10, over: 10 * s, deadline: 3 * s},
		"deadline in 1 s":         {n: 10, over: 10 * s, deadline: s},
		"silent":                  {n: 10, over: 10 * s, silent: true, want: 10 * s},
		"silent, with a deadline": {n: 10, over: time.Hour, deadline: 13 * s, silent: true, want: 10 * s},
		"silent, late":            {n: 10, over: 10 * s, deadline: 2500 * time.Millisecond, silent: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := gather(t, tt.n, wspush.WorkerOptions{DrainOver: tt.over}, testutil.Options{Silent: tt.silent}, 0)
				ctx, cancel := context.WithCancel(context.Background())
				if tt.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				}
				defer cancel()
				begin := time.Now()
				if err := c.w.Shutdown(ctx); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				took := time.Since(begin)
				want := even(tt.n, tt.want)
				if got := c.closed(begin, c.members); !slices.Equal(got, want) {
					t.Errorf("closed after %v, want %v", got, want)
				}
				var last time.Duration
				if tt.n > 0 {
					last = want[tt.n-1]
				}
				if tt.silent {
					last += 2 * s
				}
				if took != last {
					t.Errorf("Shutdown took %v, want %v", took, last)
				}
			})
		})
	}
}

// While the worker drains, Draining reports it, handshakes are refused with 503, and open connections can still be pushed to and
// looked at. A push to a closed connection gets its error.
func TestDrainMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := gather(t, 6, wspush.WorkerOptions{DrainOver: 6 * time.Second}, testutil.Options{}, 0)
		if c.w.Draining() {
			t.Error("Draining before Shutdown")
		}
		begin, ctx := time.Now(), context.Background()
		stopped := c.shutdown(ctx)
		delivered := make(map[*member][]string)
		for i := range 6 {
			open, ended := c.sort()
			if !c.w.Draining() {
				t.Errorf("not Draining after %v", time.Since(begin))
			}
			if len(ended) != i+1 {
				t.Fatalf("%d are closed after %v", len(ended), time.Since(begin))
			}
			if i == 5 {
				break // that was the last, and the worker has ended
			}
			_, resp, err := testutil.TryHandshake(t, testutil.Pipe(t, c.handler), testutil.Options{Timeout: -1})
			if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
				t.Errorf("a handshake is answered %v, %v", resp, err)
			}
			for _, m := range open {
				target := "/ws/@connections/" + m.conn.ID()
				if _, err := c.w.Push(ctx, m.conn.ID(), wspush.Text, []byte("by ID")); err != nil {
					t.Errorf("Worker.Push: %v", err)
				}
				if _, err := m.conn.Push(ctx, wspush.Text, []byte("by Conn")); err != nil {
					t.Errorf("Conn.Push: %v", err)
				}
				if _, err := c.w.Push(ctx, m.conn.ID(), wspush.Text, []byte("confirmed"), wspush.Confirmed()); err != nil {
					t.Errorf("a confirmed push: %v", err)
				}
				if resp := c.request("POST", target, "by HTTP"); resp.StatusCode != 204 {
					t.Errorf("POST is answered %s", resp.Status)
				}
				resp := c.request("POST", target+"?confirm=received", "confirmed by HTTP")
				if resp.StatusCode != 204 || resp.Header.Get("Wspush-Rtt") == "" {
					t.Errorf("POST to be confirmed is answered %s", resp.Status)
				}
				if resp := c.request("GET", target, ""); resp.StatusCode != 200 {
					t.Errorf("GET is answered %s", resp.Status)
				}
				delivered[m] = append(delivered[m], "by ID", "by Conn", "confirmed", "by HTTP", "confirmed by HTTP", "to each")
			}
			n := 0
			for _, err := range c.w.PushEach(ctx, c.w.Conns(), wspush.Text, []byte("to each")) {
				if err != nil {
					t.Errorf("PushEach: %v", err)
				}
				n++
			}
			if n != len(open) {
				t.Errorf("PushEach reached %d of %d", n, len(open))
			}
			for _, m := range ended {
				target := "/ws/@connections/" + m.conn.ID()
				if _, err := c.w.Push(ctx, m.conn.ID(), wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
					t.Errorf("Worker.Push to a client that is closed: %v", err)
				}
				if _, err := m.conn.Push(ctx, wspush.Text, nil); !errors.Is(err, wspush.ErrShutdown) {
					t.Errorf("Conn.Push to a client that is closed: %v", err)
				}
				if _, err := m.conn.Push(ctx, wspush.Text, nil, wspush.Confirmed()); !errors.Is(err, wspush.ErrShutdown) {
					t.Errorf("a confirmed push to a client that is closed: %v", err)
				}
				for _, query := range []string{"", "?confirm=received"} {
					if resp := c.request("POST", target+query, "late"); resp.StatusCode != 410 {
						t.Errorf("POST to a client that is closed is answered %s", resp.Status)
					}
				}
			}
			<-time.After(time.Second)
		}
		if err := <-stopped; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if got, want := c.closed(begin, c.members), even(6, 6*time.Second); !slices.Equal(got, want) {
			t.Errorf("closed after %v, want %v", got, want)
		}
		for i, m := range c.members {
			if !slices.Equal(m.got, delivered[m]) {
				t.Errorf("client %d got %q, want %q", i, m.got, delivered[m])
			}
		}
		if !c.w.Draining() {
			t.Error("not Draining after the end")
		}
		if _, err := c.w.Push(ctx, c.members[0].conn.ID(), wspush.Text, nil); !errors.Is(err, wspush.ErrShutdown) {
			t.Errorf("Push after the end: %v", err)
		}
	})
}

// However shortly before the end of its connection a message is pushed, it is either confirmed or not written: a client that
// answers pings also answers the one that precedes the close frame.
func TestDrainConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := gather(t, 5, wspush.WorkerOptions{DrainOver: time.Second}, testutil.Options{}, 3*time.Millisecond)
		type result struct {
			pushed []string
			last   error
		}
		results := make(map[*member][]result)
		var mu sync.Mutex // guards results
		var wg sync.WaitGroup
		for _, m := range c.members {
			for publisher := range 3 {
				wg.Go(func() {
					var r result
					for i := 0; r.last == nil; i++ {
						message := fmt.Sprint(publisher, " ", i)
						if _, r.last = m.conn.Push(context.Background(), wspush.Text, []byte(message), wspush.Confirmed()); r.last == nil {
							r.pushed = append(r.pushed, message)
						}
					}
					mu.Lock()
					defer mu.Unlock()
					results[m] = append(results[m], r)
				})
			}
		}
		<-time.After(100 * time.Millisecond)
		if err := c.w.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		wg.Wait()
		synctest.Wait()
		for _, m := range c.members {
			var confirmed []string
			for _, r := range results[m] {
				confirmed = append(confirmed, r.pushed...)
				if len(r.pushed) == 0 {
					t.Error("a publisher pushed nothing")
				}
				if !errors.Is(r.last, wspush.ErrShutdown) {
					t.Errorf("a publisher's last push: %v", r.last)
				}
			}
			slices.Sort(confirmed)
			slices.Sort(m.got)
			if !slices.Equal(confirmed, m.got) {
				t.Errorf("confirmed were\n%q, and the client got\n%q", confirmed, m.got)
			}
		}
	})
}

// A message that the client received after the ping for the message before it needs a ping of its own, which goes out before the
// close frame.
func TestDrainConfirmsTheLast(t *testing.T) {
	wopts := wspush.WorkerOptions{DrainOver: time.Second}
	bubble(t, wopts, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		push := func(message string) <-chan error {
			result := make(chan error, 1)
			go func() {
				result <- outcome(conn.Push(context.Background(), wspush.Text, []byte(message), wspush.Confirmed()))
			}()
			return result
		}
		first := push("first")
		client.Expect(testutil.Text, "first")
		ping := client.NextFrame()
		second := push("second")
		client.Expect(testutil.Text, "second")
		synctest.Wait()
		stopped := make(chan error, 1)
		go func() { stopped <- w.Shutdown(context.Background()) }()
		last := client.NextFrame()
		if ping.Op != testutil.Ping || last.Op != testutil.Ping {
			t.Errorf("after the messages came %v and %v, want pings", ping, last)
		}
		client.Send(testutil.Pong, last.Payload)
		if code, _ := client.AwaitClose(); code != 1012 {
			t.Errorf("closed with %d", code)
		}
		if err := errors.Join(<-first, <-second, <-stopped); err != nil {
			t.Error(err)
		}
	})
}

// Clients that leave by themselves do not change when the others are closed. When nobody is left, Shutdown returns at once.
func TestDrainWhileClientsLeave(t *testing.T) {
	for _, leavers := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(leavers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := gather(t, 4, wspush.WorkerOptions{DrainOver: 4 * time.Second}, testutil.Options{}, 0)
				begin := time.Now()
				stopped := c.shutdown(context.Background())
				<-time.After(500 * time.Millisecond)
				open, first := c.sort()
				for i, m := range open[:leavers] {
					if i == 0 {
						m.Close()
					} else {
						m.SendClose(1000, "bye")
					}
				}
				if err := <-stopped; err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				took := time.Since(begin)
				after := c.closed(begin, append(first, open[leavers:]...))
				for i, d := range after {
					if d%time.Second != 0 || i > 0 && d == after[i-1] {
						t.Errorf("closed after %v", after)
						break
					}
				}
				if last := max(after[len(after)-1], 500*time.Millisecond); took != last {
					t.Errorf("Shutdown took %v, want %v", took, last)
				}
			})
		})
	}
}

// If the context ends during the drain, the connections that are left end at once, and Shutdown returns.
func TestDrainCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := gather(t, 10, wspush.WorkerOptions{DrainOver: 10 * time.Second}, testutil.Options{}, 0)
		ctx, cancel := context.WithCancel(context.Background())
		begin := time.Now()
		stopped := c.shutdown(ctx)
		<-time.After(3500 * time.Millisecond)
		open, ended := c.sort()
		cancel()
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Errorf("Shutdown: %v", err)
		}
		if took := time.Since(begin); took != 3500*time.Millisecond {
			t.Errorf("Shutdown took %v", took)
		}
		if got, want := c.closed(begin, ended), even(4, 4*time.Second); !slices.Equal(got, want) {
			t.Errorf("before, clients were closed after %v, want %v", got, want)
		}
		for _, m := range open {
			<-m.ended
			if after := m.at.Sub(begin); after != 3500*time.Millisecond {
				t.Errorf("a client ended after %v", after)
			}
		}
		if n := c.w.Len(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

// A client that does not read delays neither the other clients nor, beyond its deadline, Shutdown.
func TestDrainWithStalledClient(t *testing.T) {
	for name, tt := range map[string]struct {
		writeTimeout time.Duration
		want         error
	}{
		"cut off by itself":   {time.Second, nil},
		"cut off by Shutdown": {time.Hour, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := gather(t, 9, wspush.WorkerOptions{DrainOver: time.Hour, WriteTimeout: tt.writeTimeout}, testutil.Options{}, 0)
				stalled := testutil.Handshake(t, testutil.Pipe(t, c.handler), testutil.Options{Timeout: -1})
				conn, _ := greeted(t, c.w, stalled)
				waiting := start(context.Background(), conn, big)
				ctx, cancel := context.WithTimeout(context.Background(), 13*time.Second)
				defer cancel()
				begin := time.Now()
				err := c.w.Shutdown(ctx)
				if took := time.Since(begin); !errors.Is(err, tt.want) || took > 13*time.Second {
					t.Errorf("Shutdown took %v: %v", took, err)
				}
				if err := returned(t, waiting); err == nil {
					t.Error("a message that nobody has read was written")
				}
				after := c.closed(begin, c.members)
				for i, d := range after { // one of the ten moments was the stalled client's
					if d%time.Second != 0 || d > 9*time.Second || i > 0 && d == after[i-1] {
						t.Errorf("the others were closed after %v", after)
						break
					}
				}
			})
		})
	}
}

// A second Shutdown waits for the same end. If it has less time, the first becomes faster.
func TestDrainTwice(t *testing.T) {
	t.Run("no deadline", func(t *testing.T) {
		for _, later := range []time.Duration{0, 2500 * time.Millisecond} {
			synctest.Test(t, func(t *testing.T) {
				c := gather(t, 10, wspush.WorkerOptions{DrainOver: 10 * time.Second}, testutil.Options{}, 0)
				begin := time.Now()
				first := c.shutdown(context.Background())
				testutil.Pass(later)
				second := c.shutdown(context.Background())
				if err := errors.Join(<-first, <-second); err != nil {
					t.Errorf("Shutdown: %v", err)
				}
				if took := time.Since(begin); took != 9*time.Second {
					t.Errorf("both took %v, want 9s", took)
				}
				if got, want := c.closed(begin, c.members), even(10, 10*time.Second); !slices.Equal(got, want) {
					t.Errorf("the second after %v: closed after %v, want %v", later, got, want)
				}
			})
		}
	})
	t.Run("deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := gather(t, 10, wspush.WorkerOptions{DrainOver: time.Hour}, testutil.Options{Silent: true}, 0)
			first := c.shutdown(context.Background())
			<-time.After(2500 * time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			begin := time.Now()
			second := c.shutdown(ctx)
			if err := errors.Join(<-first, <-second); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			if after := c.closed(begin, c.members); after[9] > 2*time.Second {
				t.Errorf("the last was closed after %v", after[9])
			}
		})
	})
	t.Run("cancelled", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := gather(t, 10, wspush.WorkerOptions{DrainOver: 10 * time.Second}, testutil.Options{}, 0)
			first := c.shutdown(context.Background())
			<-time.After(2500 * time.Millisecond)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			begin := time.Now()
			if err := c.w.Shutdown(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("the second Shutdown: %v", err)
			}
			if err := <-first; err != nil {
				t.Errorf("the first Shutdown: %v", err)
			}
			if took := time.Since(begin); took != 0 {
				t.Errorf("they took %v", took)
			}
		})
	})
}

// While a long drain is under way, a connection whose client has left is not kept until its turn would have come.
func TestDrainReleases(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{DrainOver: time.Hour})
	server := serve(t, w, &wspush.HandlerOptions{Accept: func(*http.Request) (any, error) { return new(thing), nil }})
	values := make(map[string]func() bool)
	var clients []*testutil.Client
	for i := range 10 {
		client, conn, _ := dial(t, w, server, testutil.Options{})
		clients = append(clients, client)
		values[fmt.Sprint("the Value of client ", i)] = weakly(conn.Value().(*thing))
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	go func() { stopped <- w.Shutdown(ctx) }()
	testutil.Eventually(t, "the first to be closed", func() bool { return w.Len() == 9 })
	last := clients[9]
	for _, client := range clients[:9] {
		client.Close()
	}
	testutil.Eventually(t, "the clients to leave", func() bool { return w.Len() <= 1 })
	var left int
	testutil.Eventually(t, "their Values to be collected", func() bool {
		runtime.GC()
		left = 0
		for _, isCollected := range values {
			if !isCollected() {
				left++
			}
		}
		return left <= 1
	})
	if left > 1 {
		t.Errorf("%d Values are in memory", left)
	}
	cancel()
	last.Close()
	<-stopped // nil or the context's error: the last client has been quick, or not
}
