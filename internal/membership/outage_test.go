package membership_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// breaking is a directory of which some calls fail. It counts them.
type breaking struct {
	*membershiptest.Client
	mu     sync.Mutex
	broken map[string]bool // by call; "hanging": they hang, and do not fail at once
	counts map[string]int
}

var errBroken = errors.New("broken")

func newBreaking(e *membershiptest.Engine) *breaking {
	return &breaking{Client: e.Client(), broken: map[string]bool{}, counts: map[string]int{}}
}

func (b *breaking) set(call string, broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken[call] = broken
}

func (b *breaking) count(call string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[call]
}

func (b *breaking) is(ctx context.Context, call string) bool {
	b.mu.Lock()
	b.counts[call]++
	broken, hangs := b.broken[call], b.broken["hanging"]
	b.mu.Unlock()
	if broken && hangs {
		<-ctx.Done()
	}
	return broken
}

func (b *breaking) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	if b.is(ctx, "renew") {
		return directory.View{}, errBroken
	}
	return b.Client.Renew(ctx, l)
}

func (b *breaking) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	if b.is(ctx, "apply") {
		return errBroken
	}
	return b.Client.Apply(ctx, number, changes)
}

func (b *breaking) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	if b.is(ctx, "find") {
		return nil, errBroken
	}
	return b.Client.Find(ctx, keys)
}

// After the first call that the engine has let hang, others fail at once. It is tried once a second, and works as soon as it does.
func TestFailsFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		records, log := newRecords()
		m := start(t, b, "a", log)
		join(t, m, "u:1")
		testutil.Pass(time.Minute)
		b.Cut(true)
		begun := time.Now()
		if got := find(t, m, "u:2"); got != membership.ErrDirectory.Error() {
			t.Error(got)
		}
		if d := time.Since(begun); d > 3*time.Second {
			t.Errorf("the first takes %v", d)
		}
		testutil.Pass(time.Minute)
		renews, finds := b.count("renew"), b.count("find")
		for range 60 {
			begun = time.Now()
			for range 1000 {
				if _, err := m.Find(t.Context(), []string{"u:2"}); !errors.Is(err, membership.ErrDirectory) {
					t.Fatal(err)
				}
			}
			m.Set("u:3", true)
			if err := m.Wait(t.Context(), "u:3"); !errors.Is(err, membership.ErrDirectory) {
				t.Error(err)
			}
			if d := time.Since(begun); d > 0 {
				t.Fatalf("a thousand take %v", d)
			}
			testutil.Pass(time.Second)
		}
		// Each probe hangs for two seconds, and the next comes a second later.
		if n := b.count("renew") - renews; n < 19 || n > 21 || b.count("find") != finds {
			t.Errorf("%d probes in a minute, and %d lookups", n, b.count("find")-finds)
		}
		if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN ") {
			t.Errorf("%q", got)
		}
		if !m.Stats().Failing {
			t.Error("Stats does not say so")
		}
		b.Cut(false)
		testutil.Pass(4 * time.Second)
		wantFound(t, m, "u:2", "")
		if got := e.Named("u:3"); len(got) != 1 {
			t.Errorf("what was said meanwhile is named %v", got)
		}
		if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "INFO ") {
			t.Errorf("%q", got)
		}
	})
}

// A lookup that hangs ends as soon as it is known that the directory is down.
func TestLookupsUnderWayFailToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		m := start(t, e.Client(), "a", nil)
		testutil.Pass(time.Minute)
		e.Pause()
		ends := make(chan time.Time, 2)
		for i := range 2 {
			testutil.Pass(time.Duration(i) * time.Second)
			go func() {
				_, _ = m.Find(context.Background(), []string{"u:1"})
				ends <- time.Now()
			}()
		}
		if first, second := <-ends, <-ends; second.Sub(first) > 10*time.Millisecond {
			t.Errorf("%v later", second.Sub(first))
		}
		e.Resume()
	})
}

// An engine whose memory is full refuses changes, and answers lookups.
func TestOnlyChangesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		records, log := newRecords()
		a, m := start(t, e.Client(), "a", nil), start(t, b, "m", log)
		join(t, a, "u:1")
		testutil.Pass(time.Minute)
		b.set("apply", true)
		m.Set("u:2", true)
		if err := m.Wait(t.Context(), "u:2"); !errors.Is(err, membership.ErrDirectory) {
			t.Error(err)
		}
		testutil.Pass(time.Second / 2)
		applies := b.count("apply")
		for range 240 {
			wantFound(t, m, "u:1", "a")
			testutil.Pass(time.Second / 4)
		}
		if n := b.count("apply") - applies; n < 55 || n > 70 {
			t.Errorf("%d tries in a minute", n)
		}
		b.set("apply", false)
		testutil.Pass(1100 * time.Millisecond)
		if err := m.Wait(t.Context(), "u:2"); err != nil {
			t.Error(err)
		}
		wantFound(t, a, "u:2", "m")
		got := records.take()
		if len(got) != 2 || !strings.HasPrefix(got[0], "WARN ") || !strings.HasPrefix(got[1], "INFO ") {
			t.Errorf("%q", got)
		}
	})
}

// Lookups that hang while all else works fail fast. One is tried each second, whether or not anyone asks.
func TestOnlyLookupsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		m := start(t, b, "m", nil)
		testutil.Pass(time.Minute)
		b.set("hanging", true)
		b.set("find", true)
		_ = find(t, m, "u:1")
		testutil.Pass(time.Second)
		begun, before := time.Now(), b.count("find")
		for range 100 {
			if _, err := m.Find(t.Context(), []string{"u:1"}); !errors.Is(err, membership.ErrDirectory) {
				t.Error(err)
			}
		}
		if d := time.Since(begun); d > 0 {
			t.Errorf("a hundred take %v", d)
		}
		testutil.Pass(time.Minute)
		if n := b.count("find") - before; n < 18 || n > 21 { // each hangs for two seconds
			t.Errorf("%d tries in a minute", n)
		}
		join(t, m, "u:2") // changes go on
		b.set("find", false)
		testutil.Pass(3100 * time.Millisecond)
		wantFound(t, m, "u:1", "")
	})
}

// An engine that is gone makes calls fail at once. They are not repeated for long.
func TestConnectionRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		records, log := newRecords()
		m := start(t, b, "m", log)
		testutil.Pass(time.Minute)
		for _, call := range []string{"renew", "apply", "find"} {
			b.set(call, true)
		}
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				if _, err := m.Find(t.Context(), []string{fmt.Sprint("u:", i)}); !errors.Is(err, membership.ErrDirectory) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := b.count("find"); n > 20 {
			t.Errorf("%d calls", n)
		}
		testutil.Pass(time.Minute)
		if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN ") {
			t.Errorf("%q", got)
		}
	})
}

// wrongType is a directory with a key that something else has put a value of another type under: calls that touch it fail.
type wrongType struct{ *membershiptest.Client }

const wrongKey = "u:wrong"

func (w *wrongType) Apply(ctx context.Context, number uint64, changes []directory.Change) error {
	if slices.ContainsFunc(changes, func(c directory.Change) bool { return c.Key == wrongKey }) {
		return errBroken
	}
	return w.Client.Apply(ctx, number, changes)
}

func (w *wrongType) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	if slices.Contains(keys, wrongKey) {
		return nil, errBroken
	}
	return w.Client.Find(ctx, keys)
}

// One key that the directory refuses costs only those who need it.
func TestOneKeyIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		records, log := newRecords()
		a, b := start(t, &wrongType{e.Client()}, "a", nil), start(t, &wrongType{e.Client()}, "b", log)
		testutil.Pass(time.Minute)
		for i := range 100 {
			a.Set(fmt.Sprint("u:", i), true)
			if i == 50 {
				a.Set(wrongKey, true)
			}
		}
		testutil.Pass(2 * time.Minute)
		if n := e.Entries(); n != 100 {
			t.Errorf("%d entries", n)
		}
		if err := a.Wait(t.Context(), wrongKey); !errors.Is(err, membership.ErrDirectory) {
			t.Error(err)
		}
		if err := a.Wait(t.Context(), "u:7"); err != nil {
			t.Error(err)
		}
		for round := range 10 {
			var wg sync.WaitGroup
			for i := range 100 {
				key, want := fmt.Sprint("u:", i), "a"
				if i == 50 {
					key, want = wrongKey, membership.ErrDirectory.Error()
				}
				wg.Go(func() { wantFound(t, b, key, want) })
			}
			wg.Wait()
			if b.Stats().Failing {
				t.Errorf("round %d: it is an outage", round)
			}
		}
		if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN ") {
			t.Errorf("%q", got)
		}
		e.Lose(0)
		e.Lose(1)
		testutil.Pass(5 * time.Minute)
		if n := e.Entries(); n != 100 {
			t.Errorf("%d entries after a loss", n)
		}
		a.Set(wrongKey, false)
		testutil.Pass(time.Minute)
		if s := a.Stats(); s.Failing {
			t.Logf("%+v", s)
		}
	})
}

// A directory that is down at the start, or that answers with the wrong number of answers, is an outage like others.
func TestDownAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		b.set("renew", true)
		m := start(t, b, "m", nil)
		m.Set("u:1", true)
		if err := m.Wait(t.Context(), "u:1"); !errors.Is(err, membership.ErrDirectory) {
			t.Error(err)
		}
		if got := find(t, m, "u:2"); got != membership.ErrDirectory.Error() {
			t.Error(got)
		}
		b.set("renew", false)
		testutil.Pass(1100 * time.Millisecond)
		join(t, m, "u:1")
		short := &shortAnswers{Directory: e.Client()}
		m2 := start(t, short, "m2", nil)
		if got := find(t, m2, "u:1"); got != membership.ErrDirectory.Error() {
			t.Error(got)
		}
	})
}

// shortAnswers answers about all keys but the last.
type shortAnswers struct{ directory.Directory }

func (s *shortAnswers) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	found, err := s.Directory.Find(ctx, keys)
	return slices.Clone(found[:len(found)-1]), err
}

// snapping is a directory of which one Find fails, as over a connection that has broken.
type snapping struct {
	directory.Directory
	breaks *atomic.Bool
}

func (d snapping) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	if d.breaks.CompareAndSwap(true, false) {
		return nil, io.EOF
	}
	return d.Directory.Find(ctx, keys)
}

// A lookup that fails once is made again, and no key is blamed for it.
func TestConnectionBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logged, log := newRecords()
		e := newEngine()
		d := snapping{e.Client(), new(atomic.Bool)}
		a, b := start(t, d, "a", log), start(t, e.Client(), "b", nil)
		join(t, b, "u:1")
		testutil.Pass(time.Minute)
		d.breaks.Store(true)
		wantFound(t, a, "u:1", "b")
		if all := logged.take(); len(all) > 0 {
			t.Errorf("%q", all)
		}
	})
}
