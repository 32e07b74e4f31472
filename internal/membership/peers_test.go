package membership_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/testutil"
)

// names is a list of peers that changes, fails and takes its time.
type names struct {
	mu        sync.Mutex
	addresses []string
	err       error
	calls     int
}

func (n *names) resolve(ctx context.Context) ([]string, error) {
	select {
	case <-time.After(10 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls++
	return n.addresses, n.err
}

func (n *names) set(err error, addresses ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addresses, n.err = addresses, err
}

func (n *names) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	calls := n.calls
	n.calls = 0
	return calls
}

func startPeers(t *testing.T, n *names) (*membership.Membership, *records) {
	records, log := newRecords()
	m := membership.New(membership.Config{Peers: n.resolve, Address: "self", Log: log})
	t.Cleanup(func() { _ = m.Close(context.Background()) })
	return m, records
}

// All on the list are asked, save the worker itself. The list is resolved again every five seconds, while somebody asks.
func TestPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(names)
		n.set(nil, "b", "self", "a", "b")
		m, _ := startPeers(t, n)
		m.Set("u:1", true)
		if err := m.Wait(t.Context(), "u:1"); err != nil {
			t.Error(err)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { wantFound(t, m, "u:1", "a b") })
		}
		wg.Wait()
		if calls := n.count(); calls != 1 {
			t.Errorf("%d calls", calls)
		}
		n.set(nil, "c", "self")
		for range 4 * 60 {
			testutil.Pass(time.Second / 4)
			_ = find(t, m, "u:1")
		}
		wantFound(t, m, "u:1", "c")
		if calls := n.count(); calls < 11 || calls > 13 {
			t.Errorf("%d calls in a minute", calls)
		}
		testutil.Pass(time.Hour)
		if calls := n.count(); calls != 0 {
			t.Errorf("%d calls though nobody asks", calls)
		}
		n.set(nil, "self")
		l := m.Lookup("u:1")
		wantNext(t, l, "[]")
		wantVerdict(t, l, membership.Gone, 0, 0)
	})
}

// While the list cannot be resolved, the last one is good for a minute. It may lack someone.
func TestPeersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(names)
		n.set(nil, "a", "self")
		m, records := startPeers(t, n)
		wantFound(t, m, "u:1", "a")
		testutil.Pass(10 * time.Second)
		n.set(errors.New("no such host"))
		n.count()
		for range 400 {
			wantFound(t, m, "u:1", "a ?")
			testutil.Pass(time.Second / 10)
		}
		if calls := n.count(); calls < 35 || calls > 41 {
			t.Errorf("%d calls in 40 s", calls)
		}
		testutil.Pass(11 * time.Second)
		wantFound(t, m, "u:1", membership.ErrDirectory.Error())
		if !m.Stats().Failing {
			t.Error("Stats does not say so")
		}
		testutil.Pass(59 * time.Second)
		if !m.Stats().Failing {
			t.Error("Stats does not say so for a minute")
		}
		testutil.Pass(2 * time.Second)
		if m.Stats().Failing {
			t.Error("Stats still says so, though nobody has asked for more than a minute")
		}
		wantFound(t, m, "u:1", membership.ErrDirectory.Error())
		if !m.Stats().Failing {
			t.Error("Stats does not say so again")
		}
		if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN ") {
			t.Errorf("%q", got)
		}
		n.set(nil, "a", "b", "self")
		testutil.Pass(time.Second)
		wantFound(t, m, "u:1", "a b")
		if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "INFO ") {
			t.Errorf("%q", got)
		}
	})
}

func TestPeersRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(names)
		m, _ := startPeers(t, n)
		many := make([]string, 1001)
		for i := range many {
			many[i] = fmt.Sprint("w", i)
		}
		for _, addresses := range [][]string{many, {"a", ""}} {
			n.set(nil, addresses...)
			wantFound(t, m, "u:1", membership.ErrDirectory.Error())
			testutil.Pass(time.Second)
		}
	})
}

// One who has no time does not make the list fail for others.
func TestPeersObeyContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := new(names)
		n.set(nil, "a")
		m, _ := startPeers(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = m.Find(ctx, []string{"u:1"})
		wantFound(t, m, "u:1", "a")
		if calls := n.count(); calls != 1 {
			t.Errorf("%d calls", calls)
		}
	})
}
