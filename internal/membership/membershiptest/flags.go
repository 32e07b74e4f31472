package membershiptest

import (
	"flag"
	"time"

	"github.com/wspush/wspush/internal/membership"
)

// Flags defines the flags of a test that runs a Simulation, which is small without them, and returns what makes one once flags have been
// parsed. It has no directory yet.
func Flags() func() Simulation {
	const few = 5000
	users := flag.Int("simulation.users", few, "how many users TestSimulation has")
	workers := flag.Int("simulation.workers", 10, "how many workers")
	period := flag.Duration("simulation.for", 200*time.Millisecond, "how long it looks up, in each measurement")
	rate := flag.Int("simulation.rate", 1000, "how many lookups a second it begins while the engine is restarted")
	down := flag.Duration("simulation.down", 500*time.Millisecond, "how long there is no engine then")
	return func() Simulation {
		s := Simulation{Users: *users, Workers: *workers, For: *period, Asking: []int{1, 16, 256}, Rate: *rate, Down: *down}
		if s.Users <= few {
			s.Timing = membership.Timing{Lease: time.Second} // so that it takes seconds; those of the engine may be longer
		}
		return s
	}
}

// DeployFlags is Flags for a Deploy.
func DeployFlags() func() Deploy {
	sessions := flag.Int("deploy.sessions", 5000, "how many sessions TestDeploy has")
	workers := flag.Int("deploy.workers", 10, "how many workers")
	messages := flag.Int("deploy.messages", 1, "how many messages each session has buffered")
	return func() Deploy {
		return Deploy{Sessions: *sessions, Workers: *workers, Messages: *messages, Asking: 64}
	}
}
