package membership_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// session is the ID of a session.
func session(i int) (s [16]byte) {
	copy(s[:], fmt.Sprintf("session %08d", i))
	return s
}

// claim makes one claim, and returns what came of it.
func claim(t *testing.T, m *membership.Membership, i int, moves uint64) string {
	t.Helper()
	owners, err := m.Claim(t.Context(), []membership.Claim{{Session: session(i), Moves: moves}})
	if err != nil {
		return err.Error()
	}
	return describe(owners[0])
}

// owner returns who owns a session.
func owner(t *testing.T, m *membership.Membership, i int) string {
	t.Helper()
	o, err := m.Owners(t.Context(), session(i))
	if err != nil {
		return err.Error()
	}
	return describe(o)
}

// describe is "mine 3", "a 3", and "a? 3" if that is doubtful; "dead 3" if nobody has the lease.
func describe(o membership.Owner) string {
	switch {
	case o == membership.Owner{}:
		return "nobody"
	case o.Mine && o.Known && o.Address != "" && !o.Doubtful:
		return fmt.Sprint("mine ", o.Moves)
	case o.Known && o.Address != "" && !o.Doubtful && !o.Mine:
		return fmt.Sprint(o.Address, " ", o.Moves)
	case o.Doubtful && !o.Known && !o.Mine:
		return fmt.Sprint(o.Address, "? ", o.Moves)
	case o == membership.Owner{Moves: o.Moves}:
		return fmt.Sprint("dead ", o.Moves)
	}
	return fmt.Sprintf("%+v", o)
}

func wantOwner(t *testing.T, m *membership.Membership, i int, want string) {
	t.Helper()
	if got := owner(t, m, i); got != want {
		t.Errorf("at %v, the owner is %q, and not %q", time.Now().Format(time.TimeOnly), got, want)
	}
}

func wantClaim(t *testing.T, m *membership.Membership, i int, moves uint64, want string) {
	t.Helper()
	if got := claim(t, m, i, moves); got != want {
		t.Errorf("at %v, the claim of %d moves came to %q, and not %q", time.Now().Format(time.TimeOnly), moves, got, want)
	}
}

// The highest number of moves wins; of two with the same, the first.
func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute)
		if !a.HasOwners() {
			t.Error("it has no owners")
		}
		wantOwner(t, a, 1, "nobody")
		wantClaim(t, a, 1, 1, "mine 1")
		wantClaim(t, a, 1, 1, "mine 1") // also when it is repeated
		wantOwner(t, a, 1, "mine 1")
		wantOwner(t, b, 1, "a 1")
		wantClaim(t, b, 1, 1, "a 1")
		wantClaim(t, b, 1, 3, "mine 3")
		wantClaim(t, a, 1, 2, "b 3")
		wantOwner(t, a, 1, "b 3")
		if a, b := a.Stats().Claims, b.Stats().Claims; a != 0 || b != 1 {
			t.Errorf("%d and %d claims are held", a, b)
		}
	})
}

// Claims that come while calls are under way share the next one, and so do questions.
func TestClaimsShareACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute)
		const sessions = 10_000
		var wg sync.WaitGroup
		for i := range sessions {
			wg.Go(func() { wantClaim(t, a, i, 7, "mine 7") })
			if i%10 == 0 {
				wg.Go(func() { wantClaim(t, a, i, 7, "mine 7") }) // the same question
			}
		}
		wg.Wait()
		for i := range sessions {
			wg.Go(func() { wantOwner(t, b, i, "a 7") })
		}
		wg.Wait()
		// The first few of whatever had come, and then all others.
		if c := e.Counts(); c.Claims > sessions/200+16 || c.Claimed > sessions+sessions/10 || c.Owners > sessions/200+16 {
			t.Errorf("%+v", c)
		}
		all := make([]membership.Claim, 1000)
		for i := range all {
			all[i] = membership.Claim{Session: session(i), Moves: 8}
		}
		owners, err := b.Claim(t.Context(), all)
		if err != nil || len(owners) != len(all) || slices.ContainsFunc(owners, func(o membership.Owner) bool { return describe(o) != "mine 8" }) {
			t.Errorf("%d owners, %v", len(owners), err)
		}
		if owners, err = b.Claim(t.Context(), nil); err != nil || len(owners) != 0 {
			t.Errorf("%v, %v", owners, err)
		}
	})
}

// Two claims of one session with different counts are two calls, whoever else shares them.
func TestClaimsOfOneSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a := start(t, e.Client(), "a", nil)
		testutil.Pass(time.Minute)
		var wg sync.WaitGroup
		for moves := range uint64(50) {
			wg.Go(func() {
				o, err := a.Claim(t.Context(), []membership.Claim{{Session: session(1), Moves: moves + 1}, {Session: session(int(2 + moves)), Moves: 1}})
				if err != nil || !o[0].Mine || o[0].Moves < moves+1 || describe(o[1]) != "mine 1" {
					t.Errorf("%+v, %v", o, err)
				}
			})
			synctest.Wait() // so that the first of those who share a call asks for fewer than the others
		}
		wg.Wait()
		wantOwner(t, a, 1, "mine 50")
		if n := a.Claimed(session(1)); n != 50 {
			t.Errorf("after %d moves", n)
		}
	})
}

func TestBadClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a := start(t, e.Client(), "a", nil)
		testutil.Pass(time.Minute)
		for _, claims := range [][]membership.Claim{
			{{Session: session(1)}},
			{{Session: session(1), Moves: 1 << 53}},
			{{Session: session(2), Moves: 1}, {Session: session(1), Moves: 1}, {Session: session(2), Moves: 2}},
		} {
			if owners, err := a.Claim(t.Context(), claims); err == nil || errors.Is(err, membership.ErrDirectory) {
				t.Errorf("%v: %v, %v", claims, owners, err)
			}
		}
		if c := e.Counts(); c.Claims != 0 {
			t.Errorf("%+v", c)
		}
		wantClaim(t, a, 1, 1<<53-1, fmt.Sprint("mine ", uint64(1<<53-1)))
	})
}

// wantOwners fails if not all of these sessions are owned so in the engine.
func wantOwners(t *testing.T, e *membershiptest.Engine, sessions int, moves uint64) {
	t.Helper()
	for i := range sessions {
		s := session(i)
		if lease, n := e.Owner(string(s[:])); lease == 0 || n != moves {
			t.Errorf("session %d is owned by %d after %d moves", i, lease, n)
			return
		}
	}
}

// What has won is claimed anew three times in the time that a claim is good for, and when the directory has lost its data.
func TestClaimsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a := start(t, e.Client(), "a", nil)
		testutil.Pass(time.Minute)
		const sessions = 1000
		for i := range sessions {
			wantClaim(t, a, i, 1, "mine 1")
		}
		before := e.Counts().Claimed
		testutil.Pass(7 * time.Hour)
		if n := e.Counts().Claimed - before; n != 0 {
			t.Errorf("%d claims in seven hours", n)
		}
		testutil.Pass(2 * time.Hour)
		if n := e.Counts().Claimed - before; n != sessions {
			t.Errorf("%d claims in nine hours", n)
		}
		losses := a.Losses()
		for part := range e.Parts() {
			e.Lose(part)
		}
		wantOwner(t, a, 1, "nobody") // it cannot be seen that it has been lost
		if n, err := a.FreshLosses(t.Context()); err != nil || n == losses {
			t.Errorf("%d losses, %v", n, err)
		}
		testutil.Pass(time.Second)
		wantOwners(t, e, sessions, 1)
		// Not only of all parts, and while calls fail.
		e.Lose(1)
		e.Set(membershiptest.Faults{Latency: 10 * time.Millisecond, Fail: 0.5})
		testutil.Pass(time.Minute)
		e.Set(membershiptest.Faults{Latency: 10 * time.Millisecond})
		testutil.Pass(time.Minute)
		wantOwners(t, e, sessions, 1)
		if n := a.Stats().Claims; n != sessions {
			t.Errorf("%d are held", n)
		}
	})
}

// A claim that the directory has made and lost before its answer is here is entered in what comes after.
func TestLossWhileClaiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		m := start(t, b, "a", nil)
		testutil.Pass(time.Minute)
		b.set("late", true)
		claimed := make(chan struct{})
		go func() {
			defer close(claimed)
			wantClaim(t, m, 0, 1, "mine 1")
		}()
		testutil.Pass(500 * time.Millisecond)
		wantOwners(t, e, 1, 1)
		for part := range e.Parts() {
			e.Lose(part)
		}
		if _, err := m.FreshLosses(t.Context()); err != nil {
			t.Error(err)
		}
		<-claimed
		testutil.Pass(10 * time.Second)
		wantOwners(t, e, 1, 1)
	})
}

// What is disclaimed is forgotten, and what another worker owns is not claimed anew.
func TestClaimsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		a, b := start(t, e.Client(), "a", nil), start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute)
		for i := range 1000 {
			wantClaim(t, a, i, 1, "mine 1")
		}
		for i := range 500 {
			a.Disclaim(session(i))
			a.Disclaim(session(i)) // that is no use
		}
		a.Disclaim(session(5000))
		testutil.Pass(time.Second)
		for i := range 500 {
			wantOwner(t, b, i, "nobody")
		}
		if c := e.Counts(); c.Disclaims == 0 || c.Disclaims > 10 {
			t.Errorf("%+v", c)
		}
		wantClaim(t, b, 500, 2, "mine 2")
		a.Disclaim(session(500)) // of which it does not know that it has lost it
		wantClaim(t, b, 501, 2, "mine 2")
		wantClaim(t, b, 502, 2, "mine 2")
		wantOwner(t, a, 501, "b 2")
		testutil.Pass(9 * time.Hour)
		wantOwner(t, b, 500, "mine 2")
		if n := a.Stats().Claims; n != 1000-503 {
			t.Errorf("%d are held", n)
		}
		a.Disclaim(session(600)) // one that is claimed again, with more moves, stays
		wantClaim(t, a, 600, 2, "mine 2")
		testutil.Pass(10 * time.Second)
		wantOwner(t, b, 600, "a 2")
		// Claims outlive the worker.
		if err := a.Close(t.Context()); err != nil {
			t.Error(err)
		}
		testutil.Pass(6 * time.Second)
		wantOwner(t, b, 600, "dead 2")
		if got := claim(t, a, 1, 1); got != membership.ErrDirectory.Error() {
			t.Error(got)
		}
	})
}

// A worker without a lease for half an hour takes another number. It claims its sessions under that, with one more move, and so that of it and a
// worker that has taken a session one wins.
func TestClaimsUnderAnotherNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a, b := start(t, line, "a", nil), start(t, e.Client(), "b", nil)
		testutil.Pass(time.Minute)
		for i := range 4 {
			wantClaim(t, a, i, 1, "mine 1")
		}
		line.Cut(true)
		testutil.Pass(31 * time.Minute)
		wantClaim(t, b, 1, 2, "mine 2")
		wantClaim(t, b, 2, 2, "mine 2")
		a.Disclaim(session(3))
		line.Cut(false)
		testutil.Pass(10 * time.Second)
		for i, want := range []string{"a 2", "mine 2", "mine 2", "dead 1"} {
			wantOwner(t, b, i, want)
		}
		for i, want := range []uint64{2, 0, 0, 0} {
			if n := a.Claimed(session(i)); n != want {
				t.Errorf("session %d: after %d moves, and not %d", i, n, want)
			}
		}
		// A claim of before, whose answer was lost, has been won.
		wantClaim(t, a, 3, 1, "mine 1")
		testutil.Pass(time.Second)
		wantOwner(t, b, 3, "a 2")
		wantOwner(t, a, 3, "mine 2")
		wantClaim(t, a, 0, 2, "mine 2")
	})
}

// An owner without a lease is doubtful as long as others doubt whether it lives, and then dead.
func TestOwnersWithoutLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line, ending := e.Client(), e.Client()
		a, b, c := start(t, line, "a", nil), start(t, e.Client(), "b", nil), start(t, ending, "c", nil)
		testutil.Pass(time.Minute)
		wantClaim(t, a, 1, 1, "mine 1")
		wantClaim(t, c, 2, 1, "mine 1")
		c.Leave()
		testutil.Pass(time.Second)
		wantOwner(t, b, 2, "c 1") // it has sessions until it has ended
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		testutil.Pass(6 * time.Second)
		wantOwner(t, b, 2, "dead 1")
		line.Cut(true)
		testutil.Pass(10 * time.Second)
		wantOwner(t, b, 1, "a 1")
		testutil.Pass(20 * time.Second)
		wantOwner(t, b, 1, "a? 1")
		d := start(t, e.Client(), "d", nil) // it has never heard of it
		wantOwner(t, d, 1, "? 1")
		wantOwner(t, d, 2, "? 1")
		testutil.Pass(3 * time.Minute)
		wantOwner(t, b, 1, "dead 1")
		wantOwner(t, d, 1, "dead 1")
		wantOwner(t, b, 2, "dead 1")
		before := e.Counts().Renews
		for range 1000 {
			wantOwner(t, b, 1, "dead 1")
		}
		if n := e.Counts().Renews - before; n > 20 { // in ten seconds
			t.Errorf("%d renewals", n)
		}
		line.Cut(false)
		testutil.Pass(10 * time.Second)
		wantOwner(t, b, 1, "a 1")
		// One whose worker has just started is found at once: it has a lease before it claims.
		e.Set(membershiptest.Faults{Latency: 300 * time.Millisecond})
		f := start(t, e.Client(), "f", nil)
		wantClaim(t, f, 3, 1, "mine 1")
		wantOwner(t, b, 3, "f 1")
		// An earlier start of the same worker is not this one.
		g := start(t, e.Client(), "g", nil)
		wantClaim(t, g, 4, 1, "mine 1")
		g2 := start(t, e.Client(), "g", nil)
		wantOwner(t, g2, 4, "dead 1")
	})
}

func (b *breaking) Claim(ctx context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
	isPoisoned := func(o directory.Ownership) bool { return o.Session == poisoned }
	if b.is(ctx, "claim") || b.is(ctx, "poison") && slices.ContainsFunc(claims, isPoisoned) {
		return nil, errBroken
	}
	owners, err := b.Client.Claim(ctx, claims)
	switch {
	case b.is(ctx, "lost"):
		return nil, errBroken
	case claims[0].Moves == 1 && b.is(ctx, "late"):
		<-time.After(time.Second)
	}
	return owners, err
}

func (b *breaking) Owners(ctx context.Context, sessions []string) ([]directory.Ownership, error) {
	if b.is(ctx, "owners") {
		return nil, errBroken
	}
	if b.is(ctx, "panic") {
		panic("broken")
	}
	return b.Client.Owners(ctx, sessions)
}

// poisoned is a session that cannot be claimed.
var poisoned = func() string { s := session(100); return string(s[:]) }()

// Calls about owners that hang let others fail at once, until they work again. Lookups go on, and there is one warning.
func TestOwnersFailFast(t *testing.T) {
	for _, call := range []string{"claim", "owners"} {
		synctest.Test(t, func(t *testing.T) {
			e := newEngine()
			b := newBreaking(e)
			records, log := newRecords()
			m := start(t, b, "a", log)
			testutil.Pass(time.Minute)
			wantClaim(t, m, 1, 1, "mine 1")
			b.set("hanging", true)
			b.set(call, true)
			use := func() string {
				if call == "claim" {
					return claim(t, m, 2, 1)
				}
				return owner(t, m, 2)
			}
			begun := time.Now()
			if got := use(); got != membership.ErrDirectory.Error() || time.Since(begun) > 3*time.Second {
				t.Errorf("after %v: %s", time.Since(begun), got)
			}
			testutil.Pass(time.Minute)
			begun = time.Now()
			for range 1000 {
				if got := use(); got != membership.ErrDirectory.Error() {
					t.Fatal(got)
				}
			}
			if d := time.Since(begun); d > 0 {
				t.Errorf("a thousand take %v", d)
			}
			wantFound(t, m, "u:1", "")
			if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "WARN ") || !strings.Contains(got[0], "no session moves") {
				t.Errorf("%q", got)
			}
			if !m.Stats().Failing {
				t.Error("Stats does not say so")
			}
			b.set(call, false)
			testutil.Pass(4 * time.Second)
			wantClaim(t, m, 1, 2, "mine 2")
			wantOwner(t, m, 1, "mine 2")
			if got := records.take(); len(got) != 1 || !strings.HasPrefix(got[0], "INFO ") || m.Stats().Failing {
				t.Errorf("%q, %+v", got, m.Stats())
			}
		})
	}
}

// Calls that fail at once, or panic, fail by themselves. So does one session that cannot be claimed.
func TestOwnersFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaking(newEngine())
		m := start(t, b, "a", nil)
		testutil.Pass(time.Minute)
		wantClaim(t, m, 1, 1, "mine 1")
		for _, call := range []string{"owners", "panic"} {
			b.set(call, true)
			wantOwner(t, m, 1, membership.ErrDirectory.Error())
			wantClaim(t, m, 1, 1, "mine 1")
			b.set(call, false)
			wantOwner(t, m, 1, "mine 1")
		}
		b.set("poison", true)
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				wantClaim(t, m, i, 1, map[bool]string{true: membership.ErrDirectory.Error(), false: "mine 1"}[i == 100])
			})
		}
		wg.Wait()
		if n := m.Stats().Claims; n != 999 {
			t.Errorf("%d are held", n)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Owners(ctx, session(1)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := m.Claim(ctx, []membership.Claim{{Session: session(1), Moves: 1}}); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// What is claimed anew is tried until it works, except for what cannot be claimed.
func TestRenewalFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		m := start(t, b, "a", nil)
		testutil.Pass(time.Minute)
		for i := range 300 {
			wantClaim(t, m, i, 1, "mine 1")
		}
		b.set("claim", true)
		b.set("poison", true)
		for part := range e.Parts() {
			e.Lose(part)
		}
		before := b.count("claim")
		testutil.Pass(time.Hour)
		if n := b.count("claim") - before; n > 60*60+10 {
			t.Errorf("%d attempts in an hour", n)
		}
		b.set("claim", false)
		testutil.Pass(time.Minute)
		wantOwners(t, e, 100, 1)
		b.set("poison", false)
		testutil.Pass(10 * time.Second)
		wantOwners(t, e, 300, 1)
		before = b.count("claim")
		e.Lose(0)
		testutil.Pass(10 * time.Second)
		wantOwners(t, e, 300, 1)
		if n := b.count("claim") - before; n > 10 {
			t.Errorf("%d calls when all is well again", n)
		}
	})
}

// A claim whose answer was lost may have won, and one whose answer is late does not undo a later one.
func TestAnswersOfClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaking(newEngine())
		m := start(t, b, "a", nil)
		testutil.Pass(time.Minute)
		wantClaim(t, m, 1, 1, "mine 1")
		b.set("lost", true)
		wantClaim(t, m, 1, 2, membership.ErrDirectory.Error())
		b.set("lost", false)
		if n := m.Claimed(session(1)); n != 1 {
			t.Errorf("after %d moves", n)
		}
		wantOwner(t, m, 1, "mine 2")
		if n := m.Claimed(session(1)); n != 2 {
			t.Errorf("after %d moves", n)
		}
		b.set("late", true)
		var wg sync.WaitGroup
		wg.Go(func() { wantClaim(t, m, 2, 1, "mine 1") })
		testutil.Pass(500 * time.Millisecond)
		wantClaim(t, m, 2, 2, "mine 2")
		wg.Wait()
		if n := m.Claimed(session(2)); n != 2 {
			t.Errorf("after %d moves", n)
		}
	})
}

// A worker claims nothing before it has a lease: whoever met the claim would take it for dead.
func TestNoClaimWithoutLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		b := newBreaking(e)
		b.set("hanging", true)
		b.set("renew", true)
		m := start(t, b, "a", nil)
		wantClaim(t, m, 1, 1, membership.ErrDirectory.Error())
		b.set("renew", false)
		testutil.Pass(10 * time.Second)
		if n := e.Counts().Claims; n != 0 {
			t.Errorf("%d claims", n)
		}
		wantClaim(t, m, 1, 1, "mine 1")
	})
}

// Whatever fails, is late, and is not true: of those who claim one session after the same number of moves, one wins.
func TestOneWinner(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) { oneWinner(t, seed) })
	}
}

func oneWinner(t *testing.T, seed uint64) {
	e := membershiptest.NewEngine(3, rand.New(rand.NewPCG(seed, 1)))
	var workers []*membership.Membership
	for i := range 4 {
		workers = append(workers, start(t, e.Client(), fmt.Sprint("w", i), nil))
	}
	testutil.Pass(time.Minute)
	e.Set(membershiptest.Faults{
		Latency: 20 * time.Millisecond, Slow: 0.02, SlowFor: 3 * time.Second, Fail: 0.1, Late: 0.5, LateFor: 5 * time.Second, Lie: 0.05,
	})
	const sessions = 20
	var mu sync.Mutex
	winners := map[membership.Claim]int{}
	won := 0
	var wg sync.WaitGroup
	for w, m := range workers {
		random := rand.New(rand.NewPCG(seed, uint64(w)))
		wg.Go(func() {
			var known [sessions]uint64
			for range 300 {
				i := random.IntN(sessions)
				c := membership.Claim{Session: session(i), Moves: known[i] + 1}
				owners, err := m.Claim(t.Context(), []membership.Claim{c})
				if err != nil {
					testutil.Pass(time.Duration(random.IntN(2000)) * time.Millisecond)
					continue
				}
				if now, err := m.Owners(t.Context(), c.Session); err == nil && now.Moves > 1<<53-1 {
					t.Errorf("the owner is %+v", now)
				}
				o := owners[0]
				if o.Moves < c.Moves {
					t.Errorf("%+v after a claim of %d", o, c.Moves)
				}
				known[i] = o.Moves
				if !o.Mine || o.Moves != c.Moves {
					continue
				}
				mu.Lock()
				if before, ok := winners[c]; ok && before != w {
					t.Errorf("%s: both %d and %d have won %d moves", c.Session, before, w, c.Moves)
				}
				winners[c] = w
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	e.Set(membershiptest.Faults{})
	e.Wait()
	testutil.Pass(time.Minute)
	// Each session has one owner in the end, whom everyone finds.
	for i := range sessions {
		mine := 0
		for _, m := range workers {
			if o, err := m.Owners(t.Context(), session(i)); err != nil {
				t.Error(err)
			} else if o.Mine {
				mine++
			}
		}
		if mine != 1 {
			t.Errorf("session %d has %d owners", i, mine)
		}
	}
	if won < 100 {
		t.Errorf("only %d claims have won", won)
	}
}

func wantOthers(t *testing.T, m *membership.Membership, want string) {
	t.Helper()
	others, err := m.Others(t.Context())
	got := strings.Join(others, " ")
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("the others are %q, and not %q", got, want)
	}
}

func TestOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		line := e.Client()
		a := start(t, e.Client(), "a", nil)
		wantOthers(t, a, "") // which is known at once
		c := start(t, line, "c", nil)
		synctest.Wait()
		wantOthers(t, a, "c") // as is that this is over
		b, d := start(t, e.Client(), "b", nil), start(t, e.Client(), "d", nil)
		testutil.Pass(10 * time.Second)
		wantOthers(t, a, "b c d")
		wantOthers(t, c, "a b d")
		d.Leave()
		testutil.Pass(6 * time.Second)
		wantOthers(t, a, "b c")
		start(t, e.Client(), "d", nil) // while the one before it leaves
		testutil.Pass(6 * time.Second)
		wantOthers(t, a, "b c d")
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		testutil.Pass(6 * time.Second)
		wantOthers(t, a, "c d")
		line.Cut(true)
		testutil.Pass(20 * time.Second)
		wantOthers(t, a, "d")
		wantOthers(t, c, membership.ErrDirectory.Error()) // what it knew is too old
		start(t, e.Client(), "d", nil)
		start(t, e.Client(), "a", nil) // with this one's address
		testutil.Pass(6 * time.Second)
		wantOthers(t, a, "d")
	})
}

// bare is a directory that knows no owners.
type bare struct{ directory.Directory }

func TestWithoutOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine()
		resolve := func(context.Context) ([]string, error) { return []string{"c", "a", "b", "b"}, nil }
		for others, m := range map[string]*membership.Membership{
			"b":   start(t, bare{e.Client()}, "a", nil),
			"b c": membership.New(membership.Config{Peers: resolve, Address: "a"}),
			"":    membership.New(membership.Config{}),
		} {
			start(t, e.Client(), "b", nil)
			testutil.Pass(10 * time.Second)
			if m.HasOwners() {
				t.Error("it has owners")
			}
			wantClaim(t, m, 1, 1, membership.ErrDirectory.Error())
			wantOwner(t, m, 1, membership.ErrDirectory.Error())
			m.Disclaim(session(1))
			if n := m.Claimed(session(1)); n != 0 {
				t.Errorf("after %d moves", n)
			}
			if _, err := m.FreshLosses(t.Context()); err != nil {
				t.Error(err)
			}
			m.Losses()
			wantOthers(t, m, others)
			if err := m.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
