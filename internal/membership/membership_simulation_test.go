package membership_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership/membershiptest"
)

var (
	simulation = membershiptest.Flags()
	deploy     = membershiptest.DeployFlags()
)

// TestSimulation runs many users over many workers on an engine in memory. Those of directory/redis and directory/nats run them on real
// ones; docs/directory.md has the command for two million users over a hundred workers, and what it says.
func TestSimulation(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	e := membershiptest.NewEngine(64, rand.New(rand.NewPCG(1, 2)))
	s := simulation()
	s.Directory = func(int) directory.Directory { return e.Client() }
	s.Kill = func() {
		for part := range e.Parts() {
			e.Lose(part)
		}
		e.Pause()
	}
	s.Start = e.Resume
	s.Usage = func() membershiptest.Usage { return membershiptest.Usage{} }
	s.Entries = func() int64 { return int64(e.Entries()) }
	s.Log = t.Logf
	r, err := s.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := r.Left; n != 0 {
		t.Errorf("%d entries are left", n)
	}
	for _, finding := range s.Judge(r) {
		t.Error(finding)
	}
}

// TestDeploy replaces workers one after the other, on an engine in memory. That of directory/redis does so on a real one.
func TestDeploy(t *testing.T) {
	for name, handed := range map[string]bool{"taken": false, "handed over": true} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			e := membershiptest.NewEngine(64, rand.New(rand.NewPCG(1, 2)))
			d := deploy()
			d.Handed = handed
			d.Directory = func() (directory.Directory, func()) { return e.Client(), func() {} }
			d.Usage = func() membershiptest.Usage { return membershiptest.Usage{} }
			d.Log = t.Logf
			r, err := d.Run(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if r.Moves < int64(d.Sessions) || r.Claimed < r.Moves {
				t.Errorf("%d sessions: %s", d.Sessions, r)
			}
		})
	}
}
