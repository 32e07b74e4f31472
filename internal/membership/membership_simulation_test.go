package membership_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership"
	"github.com/wspush/wspush/internal/membership/membershiptest"
)

var (
	simulationUsers   = flag.Int("simulation.users", 5000, "how many users TestSimulation has")
	simulationWorkers = flag.Int("simulation.workers", 10, "how many workers")
	simulationLookups = flag.Int("simulation.lookups", 5000, "how many lookups in each phase")
	simulationAsking  = flag.Int("simulation.asking", 16, "how many at a time")
)

// TestSimulation runs many users over many workers on an engine in memory. For two million over a hundred: -simulation.users 2000000
// -simulation.workers 100 -simulation.lookups 1000000 -simulation.asking 256 -v.
func TestSimulation(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	e := membershiptest.NewEngine(64, rand.New(rand.NewPCG(1, 2)))
	timing := membership.Timing{Call: time.Minute} // it is not the engine that is slow, if anything is, but a machine that has many workers
	if *simulationUsers <= 5000 {
		timing = membership.Timing{Lease: time.Second} // those of the engine may be longer
	}
	r, err := membershiptest.Simulation{
		Users: *simulationUsers, Workers: *simulationWorkers, Lookups: *simulationLookups, Asking: *simulationAsking,
		Directory: func(int) directory.Directory { return e.Client() },
		Restart: func() {
			for part := range e.Parts() {
				e.Lose(part)
			}
		},
		Timing: timing,
		Log:    t.Logf,
	}.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := e.Entries(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	users := int64(*simulationUsers)
	if r.Join.Changes != users || r.Repair.Changes != users || r.Close.Changes != users {
		t.Errorf("a user costs other than one change to join, one to be entered anew, and one to leave: %+v", r)
	}
	if r.Calm.Wrong+r.Meanwhile.Wrong+r.Afterwards.Wrong > 0 {
		t.Errorf("somebody who is there is not found: %+v", r)
	}
	if r.Calm.Exact != *simulationLookups || r.Afterwards.Exact != *simulationLookups {
		t.Errorf("not all lookups are exact: %+v", r)
	}
}
