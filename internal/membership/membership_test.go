package membership_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// newEngine makes an engine whose calls take some time.
func newEngine() *membershiptest.Engine {
	e := membershiptest.NewEngine(2, rand.New(rand.NewPCG(1, 2)))
	e.Set(membershiptest.Faults{Latency: 10 * time.Millisecond})
	return e
}

// records keeps what is logged.
type records struct {
	slog.Handler
	mu  sync.Mutex
	all []string
}

func newRecords() (*records, *slog.Logger) {
	r := &records{Handler: slog.DiscardHandler}
	return r, slog.New(r)
}

func (r *records) Enabled(context.Context, slog.Level) bool { return true }

func (r *records) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, record.Level.String()+" "+record.Message)
	return nil
}

// take returns what has been logged since the last call.
func (r *records) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

// start starts a worker, and ends it with the test.
func start(t *testing.T, dir directory.Directory, address string, log *slog.Logger) *membership.Membership {
	t.Helper()
	m := membership.New(membership.Config{Directory: dir, Address: address, Seal: seal(address), Open: open, Log: log})
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = m.Close(ctx)
	})
	return m
}

// join says that a worker has a key, and waits until that is known.
func join(t *testing.T, m *membership.Membership, key string) {
	t.Helper()
	m.Set(key, true)
	if err := m.Wait(t.Context(), key); err != nil {
		t.Fatalf("join %s: %v", key, err)
	}
}

// find returns whom to ask about a key, those that are not named with a question mark, and a last "?" if that is not sure.
func find(t *testing.T, m *membership.Membership, key string) string {
	t.Helper()
	found, err := m.Find(t.Context(), []string{key})
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, w := range found[0].Workers {
		if w.Named {
			all = append(all, w.Address)
		} else {
			all = append(all, w.Address+"?")
		}
	}
	if !found[0].Sure {
		all = append(all, "?")
	}
	return strings.Join(all, " ")
}

func wantFound(t *testing.T, m *membership.Membership, key, want string) {
	t.Helper()
	if got := find(t, m, key); got != want {
		t.Errorf("at %v, %s is at %q, and not %q", time.Now().Format(time.TimeOnly), key, got, want)
	}
}

func TestJoinAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute)
		wantFound(t, b, "u:1", "")
		join(t, a, "u:1")
		wantFound(t, b, "u:1", "a")
		wantFound(t, a, "u:1", "") // itself is not returned
		a.Set("u:1", false)
		if err := a.Wait(t.Context(), "u:1"); err != nil {
			t.Error(err)
		}
		wantFound(t, b, "u:1", "")
		if n := e.Entries(); n != 0 {
			t.Errorf("%d entries are left", n)
		}
		if s := a.Stats(); s != (membership.Stats{Workers: 1}) {
			t.Errorf("%+v", s)
		}
	})
}

func TestWithoutDirectory(t *testing.T) {
	m := membership.New(membership.Config{})
	m.Set("u:1", true)
	if err := m.Wait(t.Context(), "u:1"); err != nil {
		t.Error(err)
	}
	l := m.Lookup("u:1")
	if workers, err := l.Next(t.Context()); len(workers) > 0 || err != nil || l.Verdict() != membership.Gone {
		t.Errorf("%v, %v, %v", workers, err, l.Verdict())
	}
	m.Leave()
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A change that comes while nothing is applied goes out at once. All that come meanwhile share the next Apply.
func TestChangesShareAnApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		m := start(t, e.Client(), "a", nil)
		testutil.Pass(time.Minute)
		m.Set("u:first", true)
		synctest.Wait() // it is under way
		if s := m.Stats(); s.Pending != 1 {
			t.Errorf("%+v", s)
		}
		for i := range 900 {
			m.Set(fmt.Sprint("u:", i), true)
		}
		if err := m.Wait(t.Context(), "u:899"); err != nil {
			t.Error(err)
		}
		if c := e.Counts(); c.Applies > 4 || c.Changes != 901 { // the second has few, since the directory may be slow
			t.Errorf("%+v", c)
		}
		for i := range 2500 {
			m.Set(fmt.Sprint("g:", i), true)
		}
		if err := m.Wait(t.Context(), "g:2499"); err != nil {
			t.Error(err)
		}
		if c := e.Counts(); c.Applies > 4+6 { // one may have gone ahead, the next have few, and none has more than a thousand
			t.Errorf("%+v", c)
		}
	})
}

// What has come before the worker has a lease goes out once, as all else.
func TestChangesBeforeTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		m := start(t, e.Client(), "a", nil)
		for i := range 5000 {
			m.Set(fmt.Sprint("u:", i), true)
		}
		testutil.Pass(time.Minute)
		if c := e.Counts(); c.Changes != 5000 || e.Entries() != 5000 || m.Stats().Pending != 0 {
			t.Errorf("%+v, %d entries, %+v", c, e.Entries(), m.Stats())
		}
	})
}

// While the directory is down, only the last state of each key is kept. What has come and gone leaves nothing.
func TestStateWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		m := start(t, line, "a", nil)
		join(t, m, "u:stays")
		join(t, m, "u:goes")
		join(t, m, "u:returns")
		line.Cut(true)
		testutil.Pass(10 * time.Second)
		before := e.Counts()
		m.Set("u:goes", false)
		m.Set("u:comes", true)
		for i := range 100_000 {
			m.Set(fmt.Sprint("u:", i), true)
			m.Set("u:returns", i%2 == 1)
			m.Set(fmt.Sprint("u:", i), false)
			if i%1000 == 0 {
				testutil.Pass(time.Millisecond)
			}
		}
		if s := m.Stats(); s.Keys > 200 {
			t.Errorf("what has come and gone is kept: %+v", s)
		}
		line.Cut(false)
		testutil.Pass(10 * time.Second)
		if s := m.Stats(); s.Keys != 3 || s.Pending != 0 {
			t.Errorf("%+v", s)
		}
		if c := e.Counts(); c.Changes-before.Changes != 3 {
			t.Errorf("%d changes", c.Changes-before.Changes)
		}
		for key, want := range map[string]int{"u:stays": 1, "u:goes": 0, "u:comes": 1, "u:returns": 1, "u:7": 0} {
			if n := len(e.Named(key)); n != want {
				t.Errorf("%s is named %d times", key, n)
			}
		}
	})
}

func TestWaitObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		e.Pause()
		m := start(t, e.Client(), "a", nil)
		m.Set("u:1", true)
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		if err := m.Wait(ctx, "u:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		testutil.Pass(10 * time.Second)
		if err := m.Wait(t.Context(), "u:1"); !errors.Is(err, membership.ErrDirectory) {
			t.Error(err)
		}
		e.Resume()
		testutil.Pass(3 * time.Second)
		if err := m.Wait(t.Context(), "u:1"); err != nil {
			t.Error(err)
		}
	})
}
