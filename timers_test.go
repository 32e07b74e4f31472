package wspush

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// connection is a connection as the timers see it, in a bubble of fake time.
type connection struct {
	start          time.Time
	received, sent atomic.Int64
	expires, ahead time.Duration // guarded by timers.mu: when it expires, or 0, and how far the system's clock is ahead
	events         []string
	timers
}

func startConnection(ping, idle time.Duration) *connection {
	c := &connection{start: time.Now()}
	c.timers.start(newAlarms[*timers](), ping, idle, c)
	return c
}

func (c *connection) stamps() (now, received, sent time.Duration) {
	return c.now(), time.Duration(c.received.Load()), time.Duration(c.sent.Load())
}

func (c *connection) left(now time.Duration) time.Duration {
	if c.expires == 0 {
		return forever
	}
	return c.expires - now - c.ahead
}

// lasts has it expire, and the timers look at that, as they otherwise do when they start.
func (c *connection) lasts(d time.Duration) {
	c.mu.Lock()
	c.expires = d
	c.mu.Unlock()
	c.fire()
}

// sets sets the system's clock ahead.
func (c *connection) sets(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = d
}

func (c *connection) ping() { c.note("ping") }
func (c *connection) expire(reason *CloseError) {
	c.note(fmt.Sprintf("%d %s", reason.Code, reason.Reason))
}

func (c *connection) now() time.Duration { return time.Since(c.start) }

func (c *connection) note(what string) { c.events = append(c.events, fmt.Sprint(c.now(), " ", what)) }

// wait lets time pass, which takes none in a bubble.
func (c *connection) wait(d time.Duration) {
	testutil.Pass(d)
	synctest.Wait()
}

func (c *connection) receive() { c.received.Store(int64(c.now())) }
func (c *connection) send()    { c.sent.Store(int64(c.now())) }

func TestTimers(t *testing.T) {
	every := func(d, until time.Duration, do func(*connection)) func(*connection) {
		return func(c *connection) {
			for c.now() < until {
				c.wait(d)
				do(c)
			}
		}
	}
	silent := func(d time.Duration) func(*connection) { return func(c *connection) { c.wait(d) } }
	tests := []struct {
		name       string
		ping, idle time.Duration
		script     func(*connection)
		want       []string
	}{
		{"silence: a ping each interval, then the close", time.Second, 3500 * time.Millisecond, silent(time.Minute),
			[]string{"1s ping", "2s ping", "3s ping", "3.5s 1001 idle timeout"}},
		{"a ping and the close together: only the close", time.Second, 3 * time.Second, silent(time.Minute),
			[]string{"1s ping", "2s ping", "3s 1001 idle timeout"}},
		{"a byte begins the silence anew, from when it came", time.Second, 10 * time.Second,
			func(c *connection) { c.wait(2300 * time.Millisecond); c.receive(); c.wait(2 * time.Second) },
			[]string{"1s ping", "2s ping", "3.3s ping", "4.3s ping"}},
		{"so does a message sent", time.Second, 10 * time.Second,
			func(c *connection) { c.wait(2300 * time.Millisecond); c.send(); c.wait(2 * time.Second) },
			[]string{"1s ping", "2s ping", "3.3s ping", "4.3s ping"}},
		{"a client that talks is not pinged", 2 * time.Second, 3 * time.Second,
			every(time.Second, time.Hour, (*connection).receive), nil},
		{"no drift", time.Second, time.Hour, silent(59 * time.Minute), func() (all []string) {
			for d := time.Second; d <= 59*time.Minute; d += time.Second {
				all = append(all, fmt.Sprint(d, " ping"))
			}
			return all
		}()},
		{"a dead peer under constant pushing is pinged once, and closed", 2 * time.Second, 10 * time.Second,
			every(time.Second, time.Minute, (*connection).send),
			[]string{"10s ping", "20s 1001 no answer"}},
		{"unless it answers", 2 * time.Second, 10 * time.Second,
			func(c *connection) {
				for c.now() < 33*time.Second {
					c.wait(time.Second)
					c.send()
					if c.now() == 11*time.Second || c.now() == 22*time.Second {
						c.receive()
					}
				}
			},
			[]string{"10s ping", "21s ping", "32s ping"}},
		{"no second ping when one has gone out since the last byte", 2 * time.Second, 10 * time.Second,
			func(c *connection) {
				c.wait(2 * time.Second) // the silence is pinged
				every(time.Second, time.Minute, (*connection).send)(c)
			},
			[]string{"2s ping", "20s 1001 no answer"}},
		{"a pong in the very moment of the ping is after it", 2 * time.Second, 10 * time.Second,
			func(c *connection) {
				c.wait(2 * time.Second)
				c.receive()
				every(time.Second, time.Minute, (*connection).send)(c)
			},
			[]string{"2s ping", "12s ping", "22s 1001 no answer"}},
		{"a callback that holds up reading stops that clock", 2 * time.Second, 10 * time.Second,
			func(c *connection) {
				every(time.Second, 5*time.Second, (*connection).send)(c)
				c.pause()
				every(time.Second, 55*time.Second, (*connection).send)(c)
				c.resume()
				every(time.Second, 80*time.Second, (*connection).send)(c)
			},
			[]string{"1m0s ping", "1m10s 1001 no answer"}},
		{"and a byte ends the excuse", 2 * time.Second, 10 * time.Second,
			func(c *connection) {
				c.pause()
				every(time.Second, 50*time.Second, (*connection).send)(c)
				c.resume()
				c.receive()
				every(time.Second, 80*time.Second, (*connection).send)(c)
			},
			[]string{"1m0s ping", "1m10s 1001 no answer"}},
		{"it does not stop the idle clock", time.Second, 3 * time.Second,
			func(c *connection) { c.pause(); c.wait(time.Minute) },
			[]string{"1s ping", "2s ping", "3s 1001 idle timeout"}},
		{"no pings, no dead-peer rule", -1, 10 * time.Second,
			func(c *connection) {
				every(time.Second, time.Minute, (*connection).send)(c)
				c.wait(time.Minute)
			},
			[]string{"1m10s 1001 idle timeout"}},
		{"no idle timeout, no dead-peer rule", 20 * time.Second, -1,
			func(c *connection) {
				every(time.Second, time.Minute, (*connection).send)(c)
				c.wait(50 * time.Second)
			},
			[]string{"1m20s ping", "1m40s ping"}},
		{"an age ends a client that answers", 2 * time.Second, 3 * time.Second,
			func(c *connection) {
				c.lasts(7 * time.Second)
				every(time.Second, time.Minute, (*connection).receive)(c)
			},
			[]string{"7s 3000 expired"}},
		{"and one that is silent", time.Second, 3 * time.Second,
			func(c *connection) { c.lasts(2500 * time.Millisecond); c.wait(time.Minute) },
			[]string{"1s ping", "2s ping", "2.5s 3000 expired"}},
		{"silence may come first", time.Second, 3 * time.Second,
			func(c *connection) { c.lasts(4 * time.Second); c.wait(time.Minute) },
			[]string{"1s ping", "2s ping", "3s 1001 idle timeout"}},
		{"both at once: it has expired", time.Second, 3 * time.Second,
			func(c *connection) { c.lasts(3 * time.Second); c.wait(time.Minute) },
			[]string{"1s ping", "2s ping", "3s 3000 expired"}},
		{"a callback that holds up reading stops no age", time.Second, time.Hour,
			func(c *connection) { c.lasts(1500 * time.Millisecond); c.pause(); c.wait(time.Minute) },
			[]string{"1s ping", "1.5s 3000 expired"}},
		{"a clock that is set ahead is noticed at the next ping", time.Minute, time.Hour,
			func(c *connection) {
				c.lasts(time.Hour)
				c.wait(30 * time.Second)
				c.sets(time.Hour)
				c.wait(time.Hour)
			},
			[]string{"1m0s 3000 expired"}},
		{"or, without pings, by the interval", -1, -1,
			func(c *connection) {
				c.lasts(time.Hour)
				c.wait(12 * time.Minute)
				c.sets(time.Hour)
				c.wait(time.Hour)
			},
			[]string{"15m0s 3000 expired"}},
		{"one that is set back gives time", -1, -1,
			func(c *connection) {
				c.lasts(time.Hour)
				c.wait(12 * time.Minute)
				c.sets(-10 * time.Minute)
				c.wait(24 * time.Hour)
			},
			[]string{"1h10m0s 3000 expired"}},
		{"neither", -1, -1, silent(24 * time.Hour), nil},
		{"durations beyond any life do not overflow", 1 << 61, 1 << 62, silent(24 * time.Hour), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := startConnection(tt.ping, tt.idle)
				defer c.stop()
				tt.script(c)
				if !slices.Equal(c.events, tt.want) {
					t.Errorf("got  %v\nwant %v", brief(c.events), brief(tt.want))
				}
			})
		})
	}
}

func brief(events []string) []string {
	if len(events) > 10 {
		return append(slices.Clone(events[:10]), fmt.Sprint("… ", len(events), " in all"))
	}
	return events
}

// Nothing becomes due after stop.
func TestTimersStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startConnection(time.Second, 3*time.Second)
		c.wait(time.Second)
		c.stop()
		c.wait(time.Hour)
		if want := []string{"1s ping"}; !slices.Equal(c.events, want) {
			t.Errorf("got %v, want %v", c.events, want)
		}
	})
}

// unmoved is a connection on which nothing happens.
type unmoved struct{ start time.Time }

func (u unmoved) stamps() (now, received, sent time.Duration) { return time.Since(u.start), 0, 0 }
func (unmoved) left(time.Duration) time.Duration              { return forever }
func (unmoved) ping()                                         {}
func (unmoved) expire(*CloseError)                            {}

// The cost of an alarm among those of many connections: to look at the stamps, and to be set anew.
func BenchmarkTimers(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			a, u := newAlarms[*timers](), unmoved{time.Now()}
			all := make([]timers, n)
			for i := range all {
				all[i].start(a, time.Hour, 2*time.Hour, u)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				all[i%n].fire()
			}
			for i := range all {
				all[i].stop()
			}
		})
	}
}

// blocking is a connection whose pings block until proceed is closed, as if the network took no more.
type blocking struct {
	*connection
	proceed chan struct{}
	blocked atomic.Int64 // pings
}

func (b *blocking) ping() {
	b.blocked.Add(1)
	<-b.proceed
}

func startBlocking(a *alarms[*timers], ping, idle time.Duration) *blocking {
	b := &blocking{connection: &connection{start: time.Now()}, proceed: make(chan struct{})}
	b.timers.start(a, ping, idle, b)
	return b
}

// A ping is sent with no lock held: one that blocks holds up neither the timers of other connections, nor the end of its own,
// whether that is due or stop has been called.
func TestPingBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAlarms[*timers]()
		first := startBlocking(a, time.Second, 4*time.Second)
		second := startBlocking(a, time.Second, time.Hour)
		defer close(first.proceed)
		defer close(second.proceed)
		first.wait(500 * time.Millisecond)
		other := &connection{start: time.Now()}
		other.timers.start(a, time.Second, 3500*time.Millisecond, other)
		other.wait(500*time.Millisecond + alarmPatience) // the second is due at the same time as the first
		if first.blocked.Load() != 1 || second.blocked.Load() != 1 {
			t.Fatalf("%d and %d pings block, want 1 each", first.blocked.Load(), second.blocked.Load())
		}
		second.stop()
		other.wait(time.Minute)
		if want := []string{"1s ping", "2s ping", "3s ping", "3.5s 1001 idle timeout"}; !slices.Equal(other.events, want) {
			t.Errorf("the other connection: got %v, want %v", other.events, want)
		}
		if want := []string{"4s 1001 idle timeout"}; !slices.Equal(first.events, want) {
			t.Errorf("the connection whose pings block: got %v, want %v", first.events, want)
		}
		if n := second.blocked.Load(); n != 1 {
			t.Errorf("%d pings after stop", n-1)
		}
	})
}
