package wspush

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

const never = math.MaxInt64

// sleeper is timers that only record when they are woken, and are then set anew or not at all. What it expects changes together
// with its alarm, under timers.mu, which fire holds while it looks at the stamps.
type sleeper struct {
	timers
	t     *testing.T
	begin time.Time
	due   time.Duration        // when it is to be woken; negative: not at all
	woken []time.Duration      // when it was woken
	again func() time.Duration // how long to sleep on after being woken; nil: for ever
}

func newSleeper(t *testing.T, a *alarms[*timers]) *sleeper {
	s := &sleeper{t: t, begin: time.Now(), due: -1}
	s.timers = timers{alarms: a, pingInterval: -1, idleTimeout: never, timed: s, running: true}
	return s
}

// stamps is called by fire, with timers.mu held. fire then sets the alarm anew, for the end of the idle timeout, which is the longest
// there is.
func (s *sleeper) stamps() (now, received, sent time.Duration) {
	at := time.Since(s.begin)
	if s.due < 0 || at < s.due || at > s.due+alarmTick {
		s.t.Errorf("woken at %v, want %v", at, s.due)
	}
	s.woken = append(s.woken, at)
	wait := time.Duration(never)
	if s.again != nil {
		wait = s.again()
	}
	s.expect(wait)
	return never - wait, 0, 0
}

func (s *sleeper) left(time.Duration) time.Duration { return forever }
func (s *sleeper) ping()                            { s.t.Error("a ping") }
func (s *sleeper) expire(*CloseError)               { s.t.Error("an end") }

func (s *sleeper) expect(wait time.Duration) {
	s.due = -1
	if at := time.Since(s.begin); wait <= never-at {
		s.due = at + wait
	}
}

// set and drop are what the tests do with the alarm.
func (s *sleeper) set(wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expect(wait)
	s.alarms.set(&s.timers, wait)
}

func (s *sleeper) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due = -1
	s.alarms.drop(&s.timers)
}

// checkAlarms fails the test if something is wrong with the heap.
func checkAlarms(t *testing.T, a *alarms[*timers], want int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) != want {
		t.Errorf("%d alarms are set, want %d", len(a.queue), want)
	}
	for i, q := range a.queue {
		if q.alarm.index != i+1 || i > 0 && a.queue.Less(i, (i-1)/2) {
			t.Errorf("alarm %d of %d, due at %v, has the index %d and is behind %v", i, len(a.queue), q.alarm.at, q.alarm.index, a.queue[(i-1)/2].alarm.at)
		}
	}
}

// Every sleeper is woken when its alarm is due, or alarmTick later at most, however often many goroutines set, move and drop alarms at the same time.
// None is forgotten, and none is woken whose alarm was dropped.
func TestAlarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const sleepers, hands, moves = 60, 6, 300
		a := newAlarms[*timers]()
		all := make([]*sleeper, sleepers)
		for i := range all {
			s := newSleeper(t, a)
			if i%3 == 0 {
				s.again = func() time.Duration { // on the same even instants
					if len(s.woken)%4 == 0 {
						return never
					}
					return 2 * time.Duration(1+rand.IntN(50_000)) * time.Microsecond
				}
			}
			all[i] = s
		}
		var wg sync.WaitGroup
		for range hands {
			wg.Go(func() {
				// Alarms are due at even microseconds, and touched at odd ones, so that there is no doubt which comes first.
				<-time.After(time.Microsecond)
				for range moves {
					s := all[rand.IntN(sleepers)]
					switch rand.IntN(4) {
					case 0:
						s.drop()
					case 1:
						s.set(2*time.Duration(rand.IntN(100))*time.Microsecond + time.Microsecond)
					default:
						s.set(2*time.Duration(rand.IntN(50_000))*time.Microsecond + time.Microsecond)
					}
					testutil.Pass(2 * time.Duration(rand.IntN(500)) * time.Microsecond)
				}
			})
		}
		wg.Wait()
		<-time.After(time.Hour)
		synctest.Wait()
		woken := 0
		for i, s := range all {
			woken += len(s.woken)
			if s.due >= 0 {
				t.Errorf("sleeper %d is still to be woken at %v", i, s.due)
			}
		}
		if woken < sleepers {
			t.Errorf("only %d alarms", woken) // a test of nothing
		}
		checkAlarms(t, a, 0)
	})
}

// Alarms are set before the one that the time.Timer is set for, moved behind others, and dropped while others wait. In each case the
// time.Timer must be set anew, or left as it is.
func TestAlarmsMoved(t *testing.T) {
	const s = time.Second
	tests := map[string]struct {
		script func(wait func(time.Duration), a, b *sleeper)
		a, b   []time.Duration // when they are woken
	}{
		"an earlier one":             {func(wait func(time.Duration), a, b *sleeper) { a.set(10 * s); wait(s); b.set(2 * s) }, []time.Duration{10 * s}, []time.Duration{3 * s}},
		"the first is moved back":    {func(wait func(time.Duration), a, b *sleeper) { a.set(s); b.set(5 * s); a.set(9 * s) }, []time.Duration{9 * s}, []time.Duration{5 * s}},
		"the last is moved forward":  {func(wait func(time.Duration), a, b *sleeper) { a.set(5 * s); b.set(9 * s); wait(s); b.set(s) }, []time.Duration{5 * s}, []time.Duration{2 * s}},
		"the first is dropped":       {func(wait func(time.Duration), a, b *sleeper) { a.set(s); b.set(2 * s); a.drop(); a.drop() }, nil, []time.Duration{2 * s}},
		"all are dropped":            {func(wait func(time.Duration), a, b *sleeper) { a.set(s); b.set(2 * s); b.drop(); a.drop() }, nil, nil},
		"and set again":              {func(wait func(time.Duration), a, b *sleeper) { a.set(s); a.drop(); wait(5 * s); a.set(s); b.set(s) }, []time.Duration{6 * s}, []time.Duration{6 * s}},
		"one that is due at once":    {func(wait func(time.Duration), a, b *sleeper) { a.set(s); b.set(0) }, []time.Duration{s}, []time.Duration{0}},
		"both together":              {func(wait func(time.Duration), a, b *sleeper) { a.set(3 * s); wait(s); b.set(2 * s) }, []time.Duration{3 * s}, []time.Duration{3 * s}},
		"for ever":                   {func(wait func(time.Duration), a, b *sleeper) { a.set(never); wait(s); b.set(s) }, nil, []time.Duration{2 * s}},
		"for ever, later":            {func(wait func(time.Duration), a, b *sleeper) { wait(s); a.set(s); a.set(never); b.set(never - 1) }, nil, nil},
		"for longer than any life":   {func(wait func(time.Duration), a, b *sleeper) { a.set(never - 1); b.set(1 << 62); wait(s); a.set(s) }, []time.Duration{2 * s}, nil},
		"until the end of the scale": {func(wait func(time.Duration), a, b *sleeper) { wait(s); a.set(never - s); b.set(never - s + 1) }, nil, nil},
		"again and again": {func(wait func(time.Duration), a, b *sleeper) {
			for _, one := range []*sleeper{a, b} {
				one.again = func() time.Duration {
					if len(one.woken) == 3 {
						return never
					}
					return 2 * s
				}
			}
			a.set(s)
			b.set(4 * s)
		}, []time.Duration{s, 3 * s, 5 * s}, []time.Duration{4 * s, 6 * s, 8 * s}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				alarms := newAlarms[*timers]()
				a, b := newSleeper(t, alarms), newSleeper(t, alarms)
				tt.script(func(d time.Duration) { testutil.Pass(d); synctest.Wait() }, a, b)
				<-time.After(time.Hour)
				synctest.Wait()
				a.drop()
				b.drop()
				if !slices.Equal(a.woken, tt.a) || !slices.Equal(b.woken, tt.b) {
					t.Errorf("woken at %v and %v, want %v and %v", a.woken, b.woken, tt.a, tt.b)
				}
				checkAlarms(t, alarms, 0)
			})
		})
	}
}

// answering is a connection whose client answers each ping after a while; it tells the timers as a life does.
type answering struct {
	connection
	after  time.Duration
	pings  int
	looked atomic.Int64 // how often the timers have looked at the stamps: whenever they are woken, and at each answer
}

func (c *answering) stamps() (now, received, sent time.Duration) {
	c.looked.Add(1)
	return c.connection.stamps()
}

func (c *answering) ping() {
	c.pings++
	time.AfterFunc(c.after, func() {
		c.receive()
		c.fire()
	})
}

// The timers of a silent connection that answers its pings are woken for each ping and for nothing else: the answer itself moves the
// alarm. Otherwise they would be woken once more in every interval, for nothing.
func TestAlarmOncePerPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval, after = 30 * time.Second, 20 * time.Millisecond
		c := &answering{connection: connection{start: time.Now()}, after: after}
		c.timers.start(newAlarms[*timers](), interval, 40*time.Second, c)
		const rounds = 1000
		c.wait(rounds*(interval+after) + time.Second)
		c.stop()
		woken := int(c.looked.Load()) - 1 - rounds // but for begin and the answers
		if c.pings != rounds || woken != rounds {
			t.Errorf("%d pings in %d rounds, woken %d times", c.pings, rounds, woken)
		}
	})
}

// Alarms that follow each other within alarmTick share a wake-up; one that is alone, or due with others, is exact.
func TestAlarmsShareWakeUps(t *testing.T) {
	const ms = time.Millisecond
	for _, test := range []struct{ due, woken []time.Duration }{
		{[]time.Duration{100 * ms}, []time.Duration{100 * ms}},
		{[]time.Duration{100 * ms, 100 * ms, 100 * ms}, []time.Duration{100 * ms, 100 * ms, 100 * ms}},
		{[]time.Duration{100 * ms, 111 * ms, 122 * ms}, []time.Duration{100 * ms, 111 * ms, 122 * ms}},
		{[]time.Duration{104 * ms, 110 * ms, 100 * ms}, []time.Duration{110 * ms, 110 * ms, 110 * ms}},
		{[]time.Duration{109 * ms, 118 * ms, 140 * ms, 100 * ms}, []time.Duration{110 * ms, 118 * ms, 140 * ms, 110 * ms}},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := newAlarms[*timers]()
			all := make([]*sleeper, len(test.due))
			for i, due := range test.due {
				all[i] = newSleeper(t, a)
				all[i].set(due)
			}
			testutil.Pass(time.Second)
			synctest.Wait()
			for i, s := range all {
				if !slices.Equal(s.woken, test.woken[i:i+1]) {
					t.Errorf("%v: the one that is due at %v is woken at %v, want %v", test.due, test.due[i], s.woken, test.woken[i])
				}
			}
			checkAlarms(t, a, 0)
		})
	}
}
