package directorytest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush/directory"
)

// ClaimDuring is for a test of what happens to an engine, such as a failover, of a directory that implements [directory.Owners]. While event runs,
// and for some rounds after it, clients that open opens claim the same sessions, round by round, each until it is answered. The test fails if, of
// those who were told of the same generations before and after, two have won the same, or one has been told of another winner than the others.
// ClaimDuring returns how many views, of different generations, there were. The function that event gets waits until another round has begun and ended.
func ClaimDuring(t *testing.T, open func(tb testing.TB) directory.Directory, event func(next func())) (views int) {
	t.Helper()
	const clients = 8
	var all [clients]directory.Directory
	for i := range all {
		all[i] = open(t)
	}
	sessions, call := make([]string, 20), rand.Text() // an earlier one has left its own
	for i := range sessions {
		sessions[i] = fmt.Sprint(call, i)
	}
	rounds, stop, stopped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	seen := make(map[string]bool)
	go func() {
		defer close(stopped)
		for round := uint64(1); !t.Failed(); round++ {
			claimRound(t, all[:], sessions, round, seen)
			select {
			case <-stop:
				return
			case rounds <- struct{}{}:
			default:
			}
		}
	}()
	next := func() {
		for range 2 { // the first may have begun before
			select {
			case <-rounds:
			case <-stopped:
			}
		}
	}
	defer func() {
		close(stop)
		<-stopped
		views = len(seen)
	}()
	next()
	event(next)
	next()
	next()
	return 0
}

// claimRound has all clients claim all sessions, and adds to seen what generations there were.
func claimRound(t *testing.T, clients []directory.Directory, sessions []string, round uint64, seen map[string]bool) {
	t.Helper()
	told, during := make([][]directory.Ownership, len(clients)), make([]string, len(clients))
	var claiming sync.WaitGroup
	for i, d := range clients {
		lease := directory.Lease{Number: uint64(i + 1)}
		claims := make([]directory.Ownership, len(sessions))
		for j, session := range sessions {
			claims[j] = owned(session, lease.Number, round)
		}
		claiming.Go(func() {
			var before, after directory.View
			view := func(v *directory.View) {
				again(t, "Renew", func(ctx context.Context) (err error) { *v, err = d.Renew(ctx, lease); return err })
			}
			view(&before)
			again(t, "Claim", func(ctx context.Context) (err error) { told[i], err = ownersOf(t, d).Claim(ctx, claims); return err })
			view(&after)
			if during[i] = generationsOf(before); during[i] != generationsOf(after) {
				during[i] = ""
			}
		})
	}
	claiming.Wait()
	if t.Failed() {
		return
	}
	winners := make(map[[2]string]directory.Ownership) // by generations and session
	for i := range clients {
		for j, owner := range told[i] {
			if owner.Session != sessions[j] || owner.Moves != round {
				t.Errorf("client %d, who claimed %d moves of %s, is told of %+v", i, round, sessions[j], owner)
				return
			}
			key := [2]string{during[i], sessions[j]}
			if winner, ok := winners[key]; ok && during[i] != "" && winner != owner {
				t.Errorf("clients are told of %+v and %+v, in generations %s", winner, owner, during[i])
				return
			}
			winners[key] = owner
		}
		if during[i] != "" {
			seen[during[i]] = true
		}
	}
}

func generationsOf(view directory.View) string {
	return strings.Join(slices.Sorted(slices.Values(view.Generations)), " ")
}
