package testutil

import "time"

// Pass lets d go by; nothing, if that is not more than 0. In a testing/synctest bubble it takes the place of <-time.After(d)
// wherever d may be 0: a timer that is due when it is set is run at once by the goroutine that set it, and when two
// goroutines of a bubble do so together, they share one context of the race detector, which crashes (golang.org/issue/78156).
func Pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}
