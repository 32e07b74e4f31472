package membership

import (
	"time"

	"github.com/wspush/wspush/directory"
)

// Timing is how long things take. A zero field is the default. Shorter ones are for tests, which need a directory whose leases are as short.
//
// A negative Settle is for a directory in memory, which loses nothing and costs nothing: each lookup then begins with a Renew, and nobody is
// missing from that.
type Timing struct {
	Lease   time.Duration // how long a lease is good for: directory.LeaseTime
	Renew   time.Duration // how often it is renewed: a third of Lease
	Call    time.Duration // how long a call of the directory may take: 2 s
	Probe   time.Duration // how often a directory that has failed is tried, and a list of peers that has: 1 s
	Doubt   time.Duration // how long a worker that has vanished may still live: ten times Lease
	Abandon time.Duration // after how long without a lease a worker takes a new number: 30 min
	Remove  time.Duration // after how long without a lease a number's entries are removed: twice Abandon
	Anew    time.Duration // how often all keys are entered anew, about: 8 h
	Resolve time.Duration // how old a list of peers may be: 5 s
	Settle  time.Duration // how long a generation must have been known before nobody is missing from the view: Lease
	Keep    time.Duration // how long the last list of peers is good for while there is no newer one: 1 min
}

func (t Timing) withDefaults() Timing {
	or := func(d *time.Duration, standard time.Duration) {
		if *d == 0 {
			*d = standard
		}
	}
	or(&t.Lease, directory.LeaseTime)
	or(&t.Renew, t.Lease/3)
	or(&t.Call, 2*time.Second)
	or(&t.Probe, time.Second)
	or(&t.Doubt, 10*t.Lease)
	or(&t.Abandon, 30*time.Minute)
	or(&t.Remove, 2*t.Abandon)
	or(&t.Anew, 8*time.Hour)
	or(&t.Resolve, 5*time.Second)
	or(&t.Settle, t.Lease)
	or(&t.Keep, time.Minute)
	return t
}
