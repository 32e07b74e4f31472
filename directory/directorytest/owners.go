package directorytest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
)

// ownersTests are for a directory that implements directory.Owners.
var ownersTests = []test{
	{"Claims", claims},
	{"ClaimsRace", claimsRace},
	{"ClaimsMany", claimsMany},
	{"ClaimsOfAnyBytes", claimsOfAnyBytes},
	{"ClaimsLost", claimsLost},
	{"ClaimsLate", claimsLate},
	{"ClaimsRepeated", claimsRepeated},
	{"ClaimsUnderLoss", claimsUnderLoss},
	{"ClaimsContextEnds", claimsContextEnds},
	{"ClaimsNonsense", claimsNonsense},
	{"Disclaims", disclaims},
}

// ownersOf fails the test if the directory does not implement directory.Owners.
func ownersOf(tb testing.TB, d directory.Directory) directory.Owners {
	tb.Helper()
	o, ok := d.(directory.Owners)
	if !ok {
		tb.Fatalf("%T does not implement directory.Owners, and another one of this engine does", d)
	}
	return o
}

func (e *Engine) openOwners(tb testing.TB) directory.Owners {
	tb.Helper()
	return ownersOf(tb, e.open(tb))
}

// begin makes what there must be before a claim, which is what the first Renew makes.
func begin(tb testing.TB, e *Engine) {
	tb.Helper()
	renew(tb, e.open(tb), directory.Lease{Number: 1})
}

func claimAll(tb testing.TB, o directory.Owners, claims []directory.Ownership) []directory.Ownership {
	tb.Helper()
	owners, err := o.Claim(limit(tb, within), claims)
	if err != nil {
		tb.Fatalf("Claim: %v", err)
	}
	if len(owners) != len(claims) {
		tb.Fatalf("Claim: %d owners for %d claims", len(owners), len(claims))
	}
	return owners
}

func owned(session string, lease, moves uint64) directory.Ownership {
	return directory.Ownership{Session: session, Lease: lease, Moves: moves}
}

// wantClaim claims, and fails the test if another than the wanted owner is there then.
func wantClaim(tb testing.TB, o directory.Owners, claim, want directory.Ownership) {
	tb.Helper()
	if got := claimAll(tb, o, []directory.Ownership{claim})[0]; got != want {
		tb.Fatalf("claim of %+v: told of %+v, want %+v", claim, got, want)
	}
}

func wins(tb testing.TB, o directory.Owners, claim directory.Ownership) {
	tb.Helper()
	wantClaim(tb, o, claim, claim)
}

func ownersOfAll(tb testing.TB, o directory.Owners, sessions ...string) []directory.Ownership {
	tb.Helper()
	owners, err := o.Owners(limit(tb, within), sessions)
	if err != nil {
		tb.Fatalf("Owners: %v", err)
	}
	if len(owners) != len(sessions) {
		tb.Fatalf("Owners: %d for %d sessions", len(owners), len(sessions))
	}
	return owners
}

func wantOwner(tb testing.TB, o directory.Owners, want directory.Ownership) {
	tb.Helper()
	got := ownersOfAll(tb, o, want.Session)[0]
	if want.Moves == 0 && got.Session == want.Session && got.Moves == 0 {
		return // whatever its lease
	}
	if got != want {
		tb.Fatalf("the owner is %+v, want %+v", got, want)
	}
}

func disclaim(tb testing.TB, o directory.Owners, claims ...directory.Ownership) {
	tb.Helper()
	if err := o.Disclaim(limit(tb, within), claims); err != nil {
		tb.Fatalf("Disclaim: %v", err)
	}
}

// claims: whoever has moved most often is the owner, and who has moved as often was there first.
func claims(t *testing.T, e *Engine) {
	begin(t, e)
	a, b, c := e.openOwners(t), e.openOwners(t), e.openOwners(t)
	wantOwner(t, c, owned("s", 0, 0))
	wins(t, a, owned("s", 1, 1))
	wantOwner(t, c, owned("s", 1, 1))
	wantClaim(t, b, owned("s", 2, 1), owned("s", 1, 1)) // a tie
	wantOwner(t, c, owned("s", 1, 1))
	wins(t, a, owned("s", 1, 1)) // a repeat
	wins(t, b, owned("s", 2, 2))
	wantOwner(t, c, owned("s", 2, 2))
	wantClaim(t, a, owned("s", 1, 1), owned("s", 2, 2))
	wantClaim(t, a, owned("s", 1, 2), owned("s", 2, 2))
	wantClaim(t, b, owned("s", 2, 1), owned("s", 2, 2)) // its own, but an earlier one
	wins(t, b, owned("s", 2, 3))
	wins(t, a, owned("s", 1, 9)) // whatever was lost in between
	wantClaim(t, b, owned("s", 2, 4), owned("s", 1, 9))
	wins(t, b, owned("s", 2, 10)) // by number, not by digits
	wantClaim(t, a, owned("s", 1, 9), owned("s", 2, 10))
	// Numbers are exact to the last digit.
	const most, highest = 1<<53 - 1, 1<<63 - 1
	wins(t, a, owned("s", highest-1, most-1))
	wantClaim(t, b, owned("s", highest, most-1), owned("s", highest-1, most-1))
	wins(t, b, owned("s", highest, most))
	wantClaim(t, a, owned("s", highest-1, most), owned("s", highest, most))
	wantOwner(t, c, owned("s", highest, most))
	// Each answer is to its claim, in order.
	wins(t, a, owned("u", 1, 5))
	wantOwners(t, "claims of three sessions",
		claimAll(t, b, []directory.Ownership{owned("t", 2, 1), owned("s", 2, 7), owned("u", 2, 6)}),
		owned("t", 2, 1), owned("s", highest, most), owned("u", 2, 6))
	got := ownersOfAll(t, c, "u", "nothing", "s", "u")
	got[1].Lease = 0
	wantOwners(t, "sessions", got, owned("u", 2, 6), owned("nothing", 0, 0), owned("s", highest, most), owned("u", 2, 6))
	// Of two that claim the same in one call, one wins.
	twice := claimAll(t, a, []directory.Ownership{owned("v", 1, 3), owned("v", 2, 3)})
	if twice[0] != twice[1] || twice[0].Moves != 3 {
		t.Fatalf("two claims in one call, of the same: told of %+v", twice)
	}
	wantOwner(t, c, twice[0])
	if got := claimAll(t, c, nil); len(got) != 0 {
		t.Fatalf("no claims: told of %+v", got)
	}
	if got := ownersOfAll(t, c); len(got) != 0 {
		t.Fatalf("no sessions: %+v", got)
	}
	disclaim(t, c)
}

func wantOwners(tb testing.TB, what string, got []directory.Ownership, want ...directory.Ownership) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Fatalf("%s: %+v, want %+v", what, got, want)
	}
}

// claimsRace: of 64 clients that claim the same at the same time, one wins, and all are told which.
func claimsRace(t *testing.T, e *Engine) {
	begin(t, e)
	const clients = 64
	var all [clients]directory.Owners
	for i := range all {
		all[i] = e.openOwners(t)
		ownersOfAll(t, all[i], "s") // it is connected
	}
	sessions := []string{"a", "b", "c", "d", "e"}
	for round := uint64(1); round <= 10; round++ {
		var told [clients][]directory.Ownership
		start := make(chan struct{})
		var claiming sync.WaitGroup
		for i, o := range all {
			claiming.Go(func() {
				<-start
				some := make([]directory.Ownership, len(sessions))
				for j := range some {
					some[j] = owned(sessions[(i+j)%len(sessions)], uint64(i+1), round)
				}
				told[i] = claimAll(t, o, some)
			})
		}
		close(start)
		claiming.Wait()
		if t.Failed() {
			return
		}
		for j, session := range sessions {
			winners := 0
			winner := told[0][j]
			for i := range all {
				got := told[i][(j-i%len(sessions)+len(sessions))%len(sessions)]
				if got != winner {
					t.Fatalf("round %d, session %s: client %d is told of %+v, and client 0 of %+v", round, session, i, got, winner)
				}
				if got.Lease == uint64(i+1) {
					winners++
				}
			}
			if winners != 1 || winner.Session != session || winner.Moves != round {
				t.Fatalf("round %d, session %s: %d winners; all are told of %+v", round, session, winners, winner)
			}
			wantOwner(t, all[1], winner)
		}
	}
}

// claimsMany: there may be any number of sessions in a call.
func claimsMany(t *testing.T, e *Engine) {
	begin(t, e)
	a, b := e.openOwners(t), e.openOwners(t)
	const many = 5000
	sessions, ones, twos, want := make([]string, many), make([]directory.Ownership, many), make([]directory.Ownership, many), make([]directory.Ownership, many)
	for i := range many {
		sessions[i] = fmt.Sprint("session ", i)
		ones[i] = owned(sessions[i], 1, 2)
		twos[i] = owned(sessions[i], 2, 1+uint64(i%3)) // earlier, a tie, later
		want[i] = ones[i]
		if i%3 == 2 {
			want[i] = twos[i]
		}
	}
	same := func(what string, got, want []directory.Ownership) {
		t.Helper()
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: the %dth is %+v, want %+v", what, i, got[i], want[i])
			}
		}
	}
	same("the first to claim", claimAll(t, a, ones), ones)
	same("the second to claim", claimAll(t, b, twos), want)
	same("the first to claim, again", claimAll(t, a, ones), want)
	same("Owners", ownersOfAll(t, b, sessions...), want)
	disclaim(t, a, ones...)
}

// claimsOfAnyBytes: a session means nothing to a directory, and has nothing to do with a key, nor with that of another prefix.
func claimsOfAnyBytes(t *testing.T, e *Engine) {
	d, o := e.open(t), e.openOwners(t)
	renew(t, d, directory.Lease{Number: 1})
	all := []string{"s", "S", "s.b", "s.*", "*", ">", "a b", " a", "a ", "{1}", "}{", "a\nb", "a\r\n", "\x00", "\x00\x00", "\xff\xfe", "é", "generation", ".generation",
		"leases", "l.1", "u:her", "%2F", "a/b", `"\`, "$", "'", strings.Repeat("n", 64), strings.Repeat("\xff", 64), strings.Repeat("\x00", 64)}
	join(t, d, 7, "u:her", "s")
	for i, session := range all {
		wins(t, o, owned(session, uint64(i+1), 3))
	}
	for i, owner := range ownersOfAll(t, e.openOwners(t), all...) {
		if want := owned(all[i], uint64(i+1), 3); owner != want {
			t.Fatalf("the owner is %+v, want %+v", owner, want)
		}
	}
	for _, found := range findAll(t, d, []string{"u:her", "s"}) {
		wantLeases(t, found, 7)
	}
	other := ownersOf(t, e.Open(t, e.Address, "other"))
	renew(t, e.Open(t, e.Address, "other"), directory.Lease{Number: 1})
	wantOwner(t, other, owned("s", 0, 0))
	wins(t, other, owned("s", 99, 1))
	wantOwner(t, o, owned("s", 1, 3))
}

// claimsLost: a claim whose answer is lost may have been made. A repeat says whether it was, or else who was faster.
func claimsLost(t *testing.T, e *Engine) {
	begin(t, e)
	p := newProxy(t, e.Address)
	near, far := e.openOwners(t), ownersOf(t, e.Open(t, p.address, prefix))
	ownersOfAll(t, far, "s") // it is connected
	lost := func(claim directory.Ownership) {
		t.Helper()
		p.swallowAnswers(true)
		fails(t, "Claim", func(ctx context.Context) error { _, err := far.Claim(ctx, []directory.Ownership{claim}); return err })
		p.swallowAnswers(false)
	}
	repeated := func(claim directory.Ownership) (owner directory.Ownership) {
		t.Helper()
		again(t, "Claim", func(ctx context.Context) error {
			owners, err := far.Claim(ctx, []directory.Ownership{claim})
			if err == nil {
				owner = owners[0]
			}
			return err
		})
		return owner
	}
	for n := uint64(1); n <= 9; n += 3 {
		claim, rival := owned("s", 1, n), owned("s", 2, n)
		lost(claim)
		told := claimAll(t, near, []directory.Ownership{rival})[0]
		if told != claim && told != rival {
			t.Fatalf("told of %+v, and it is between %+v and %+v", told, claim, rival)
		}
		if got := repeated(claim); got != told {
			t.Fatalf("the rival was told of %+v, and the repeat of %+v", told, got)
		}
		claim, later := owned("s", 1, n+1), owned("s", 2, n+2)
		lost(claim)
		wins(t, near, later)
		if got := repeated(claim); got != later {
			t.Fatalf("the repeat was told of %+v, and the latest owner is %+v", got, later)
		}
		wantOwner(t, near, later)
	}
	for _, call := range []struct {
		name string
		call func(ctx context.Context) error
	}{
		{"Owners", func(ctx context.Context) error { _, err := far.Owners(ctx, []string{"s"}); return err }},
		{"Disclaim", func(ctx context.Context) error { return far.Disclaim(ctx, []directory.Ownership{owned("s", 2, 9)}) }},
	} {
		p.swallowAnswers(true)
		fails(t, call.name, call.call)
		p.swallowAnswers(false)
		again(t, call.name, call.call)
	}
}

// afterCuts runs a call that is cut after every few bytes of its request. What has not passed yet stays in the network while the connection is
// given up, and arrives after what meanwhile does.
func afterCuts(t *testing.T, p *proxy, before, call, meanwhile func(round uint64), check func(round uint64)) {
	t.Helper()
	cuts := 0
	for cut, round := 0, uint64(1); ; cut, round = cut+29, round+1 {
		before(round)
		p.after(cut, p.hold)
		call(round)
		if !p.cutReached() {
			break
		}
		cuts++
		arrives := p.dropClients()
		meanwhile(round)
		arrives()
		for end := time.Now().Add(patience / 2); time.Now().Before(end); {
			check(round)
		}
	}
	if cuts < 2 {
		t.Fatalf("the request was cut in only %d places", cuts)
	}
}

// claimsLate: a claim that arrives late replaces no later one.
func claimsLate(t *testing.T, e *Engine) {
	begin(t, e)
	p := newProxy(t, e.Address)
	near, far := e.openOwners(t), ownersOf(t, e.Open(t, p.address, prefix))
	afterCuts(t, p,
		func(n uint64) {
			again(t, "Owners", func(ctx context.Context) error { _, err := far.Owners(ctx, []string{"s"}); return err })
			wins(t, near, owned("s", 3, 10*n))
		},
		func(n uint64) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_, _ = far.Claim(ctx, []directory.Ownership{owned("s", 1, 10*n+1)})
		},
		func(n uint64) { wins(t, near, owned("s", 2, 10*n+2)) },
		func(n uint64) { wantOwner(t, near, owned("s", 2, 10*n+2)) },
	)
}

// claimsRepeated: whoever repeats a claim until there is an answer knows whether it has won, while answers are lost and others claim, too.
func claimsRepeated(t *testing.T, e *Engine) {
	begin(t, e)
	const clients, rounds = 4, 6
	var proxies [clients]*proxy
	var all [clients]directory.Owners
	for i := range all {
		proxies[i] = newProxy(t, e.Address)
		all[i] = ownersOf(t, e.Open(t, proxies[i].address, prefix))
		ownersOfAll(t, all[i], "s")
	}
	for round := uint64(1); round <= rounds; round++ {
		var told [clients]directory.Ownership
		var claiming sync.WaitGroup
		for i, o := range all {
			proxies[i].swallowAnswers((uint64(i)+round)%2 == 0)
			claiming.Go(func() {
				claim := []directory.Ownership{owned("s", uint64(i+1), round)}
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				_, _ = o.Claim(ctx, claim)
				proxies[i].swallowAnswers(false)
				again(t, "Claim", func(ctx context.Context) error {
					owners, err := o.Claim(ctx, claim)
					if err == nil {
						told[i] = owners[0]
					}
					return err
				})
			})
		}
		claiming.Wait()
		if t.Failed() {
			return
		}
		for i := range told {
			if told[i] != told[0] || told[i].Moves != round {
				t.Fatalf("round %d: told of %+v", round, told)
			}
		}
	}
}

// claimsUnderLoss: two that have won the same are of different generations, and when all has been claimed anew, the latest owner is there.
func claimsUnderLoss(t *testing.T, e *Engine) {
	seen := ClaimDuring(t, e.open, func(next func()) {
		for range 4 {
			next()
			e.Empty(t)
		}
	})
	if seen < 4 {
		t.Fatalf("all was lost four times, and there were %d generations", seen)
	}
	e.Empty(t)
	begin(t, e)
	a, b := e.openOwners(t), e.openOwners(t)
	claimAll(t, a, []directory.Ownership{owned("s", 1, 7)})
	claimAll(t, b, []directory.Ownership{owned("s", 2, 9)})
	claimAll(t, a, []directory.Ownership{owned("s", 1, 8)})
	wantOwner(t, a, owned("s", 2, 9))
}

func claimsContextEnds(t *testing.T, e *Engine) {
	claim := []directory.Ownership{owned("s", 1, 1)}
	callsEnd(t, e, map[string]func(d directory.Directory) func(ctx context.Context) error{
		"Claim": func(d directory.Directory) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := ownersOf(t, d).Claim(ctx, claim); return err }
		},
		"Owners": func(d directory.Directory) func(ctx context.Context) error {
			return func(ctx context.Context) error { _, err := ownersOf(t, d).Owners(ctx, []string{"s"}); return err }
		},
		"Disclaim": func(d directory.Directory) func(ctx context.Context) error {
			return func(ctx context.Context) error {
				return ownersOf(t, d).Disclaim(ctx, []directory.Ownership{owned("t", 1, 1)})
			}
		},
	})
}

// claimsNonsense: what nobody can have written is an error, and neither a panic nor "nothing is known". Others' sessions are as ever.
func claimsNonsense(t *testing.T, e *Engine) {
	if len(e.OwnerNonsense) == 0 {
		t.Fatal("the engine has no nonsense for owners")
	}
	for name, put := range e.OwnerNonsense {
		t.Run(name, func(t *testing.T) {
			e.Empty(t)
			begin(t, e)
			o := e.openOwners(t)
			wins(t, o, owned("s", 1, 1))
			wins(t, o, owned("other", 1, 1))
			put(t, prefix, "s")
			owners, ownersErr := o.Owners(limit(t, within), []string{"other", "s"})
			if ownersErr == nil {
				t.Errorf("Owners: %+v, want an error", owners)
			}
			disclaimErr := o.Disclaim(limit(t, within), []directory.Ownership{owned("s", 1, 1)})
			got, claimErr := o.Claim(limit(t, within), []directory.Ownership{owned("s", 2, 2)})
			if claimErr == nil {
				t.Errorf("Claim: told of %+v, want an error", got)
			}
			wantOwner(t, o, owned("other", 1, 1))
			wins(t, o, owned("other", 2, 2))
			t.Logf("Owners: %v\nDisclaim: %v\nClaim: %v", ownersErr, disclaimErr, claimErr)
		})
	}
}

// disclaims: whoever claims late still meets the owner. That it is forgotten in the end, and no other, is what forgotten tests.
func disclaims(t *testing.T, e *Engine) {
	begin(t, e)
	a, b := e.openOwners(t), e.openOwners(t)
	disclaim(t, a, owned("s", 1, 1)) // there is none
	wins(t, a, owned("s", 2, 5))
	for _, claim := range append(others("s"), owned("s", 2, 5), owned("s", 2, 5)) {
		disclaim(t, b, claim)
		wantOwner(t, a, owned("s", 2, 5))
		wantClaim(t, b, owned("s", 1, 5), owned("s", 2, 5))
	}
	wins(t, b, owned("s", 1, 6))
}

// others are not what owned(session, 2, 5) is.
func others(session string) []directory.Ownership {
	return []directory.Ownership{owned(session, 1, 5), owned(session, 2, 4), owned(session, 2, 6), owned(session, 2, 50), owned(session, 22, 5), owned("other", 2, 5)}
}

// forgotten: sessions that have been disclaimed are, after a while, and no others; also if a disclaim arrives late. It takes as long as a lapse.
func forgotten(t *testing.T, e *Engine) {
	begin(t, e)
	p := newProxy(t, e.Address)
	o, far := e.openOwners(t), ownersOf(t, e.Open(t, p.address, prefix))
	gone, kept := []string{"gone", "first"}, []string{"kept", "later"}
	claimAll(t, o, []directory.Ownership{owned("gone", 2, 5), owned("first", 1, 1), owned("kept", 2, 5), owned("later", 2, 5)})
	start := time.Now()
	disclaim(t, o, append(others("kept"), owned("gone", 2, 5), owned("first", 1, 1), owned("later", 2, 5))...)
	wins(t, o, owned("later", 2, 6))
	late := func(n uint64) string { return fmt.Sprint("late", n) }
	afterCuts(t, p,
		func(n uint64) {
			again(t, "Owners", func(ctx context.Context) error { _, err := far.Owners(ctx, []string{"s"}); return err })
			wins(t, o, owned(late(n), 1, 1))
		},
		func(n uint64) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if far.Disclaim(ctx, []directory.Ownership{owned(late(n), 1, 1)}) == nil {
				gone = append(gone, late(n))
			} else {
				kept = append(kept, late(n))
			}
		},
		func(n uint64) { wins(t, o, owned(late(n), 2, 2)) },
		func(n uint64) { wantOwner(t, o, owned(late(n), 2, 2)) },
	)
	for known := true; known; {
		<-time.After(200 * time.Millisecond)
		took := time.Since(start)
		known = false
		for _, owner := range ownersOfAll(t, o, gone...) {
			known = known || owner.Moves != 0
			if owner.Moves == 0 && took < directory.LeaseTime-2*time.Second {
				t.Fatalf("%s was forgotten within %v, want %v", owner.Session, took, directory.LeaseTime)
			}
			if owner.Moves != 0 && took > directory.LeaseTime+5*time.Second {
				t.Fatalf("after %v, there still is %+v", took, owner)
			}
		}
	}
	for _, owner := range ownersOfAll(t, o, kept...) {
		if owner.Moves == 0 {
			t.Errorf("%s was forgotten, and nobody has disclaimed what its owner is", owner.Session)
		}
	}
	wins(t, o, owned("gone", 1, 1))
}
