package wspushtest

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/testutil"
)

// The directory of a Cluster says who owns sessions, by the rules of directory.Owners.
func TestDirectoryOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCluster(t)
		var d directory.Owners = &seat{memory: c.memory}
		ctx := t.Context()
		claim := func(lease, moves uint64) directory.Ownership {
			return directory.Ownership{Session: "one", Lease: lease, Moves: moves}
		}
		want := func(want ...directory.Ownership) func(got []directory.Ownership, err error) {
			return func(got []directory.Ownership, err error) {
				t.Helper()
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%v, %v, and not %v", got, err, want)
				}
			}
		}
		all := []string{"two", "one"}
		two := directory.Ownership{Session: "two"}
		want(two, directory.Ownership{Session: "one"})(d.Owners(ctx, all))
		want(claim(1, 1))(d.Claim(ctx, []directory.Ownership{claim(1, 1)}))
		want(claim(1, 1), claim(3, 2))(d.Claim(ctx, []directory.Ownership{claim(2, 1), claim(3, 2)}))
		want(two, claim(3, 2))(d.Owners(ctx, all))
		disclaim := func(o directory.Ownership) {
			t.Helper()
			if err := d.Disclaim(ctx, []directory.Ownership{o}); err != nil {
				t.Error(err)
			}
		}
		disclaim(claim(1, 2))
		disclaim(claim(3, 1))
		testutil.Pass(time.Minute)
		want(two, claim(3, 2))(d.Owners(ctx, all))
		disclaim(claim(3, 2))
		testutil.Pass(directory.LeaseTime - time.Second)
		want(two, claim(3, 2))(d.Owners(ctx, all))
		testutil.Pass(time.Second)
		want(two, directory.Ownership{Session: "one"})(d.Owners(ctx, all))
		// A claim is good for EntryTime, and repeating it makes it good for as long again.
		for range 3 {
			want(claim(1, 7))(d.Claim(ctx, []directory.Ownership{claim(1, 7)}))
			testutil.Pass(directory.EntryTime - time.Second)
		}
		want(claim(1, 7))(d.Owners(ctx, []string{"one"}))
		testutil.Pass(time.Second)
		want(directory.Ownership{Session: "one"})(d.Owners(ctx, []string{"one"}))
		c.StopDirectory()
		if got, err := d.Owners(ctx, all); err == nil {
			t.Error(got)
		}
		if got, err := d.Claim(ctx, []directory.Ownership{claim(1, 9)}); err == nil {
			t.Error(got)
		}
		c.StartDirectory()
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if got, err := d.Owners(ctx, all); err == nil {
			t.Error(got)
		}
	})
}
