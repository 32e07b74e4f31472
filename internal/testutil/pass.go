package testutil

import "time"

// Pass waits for d; it returns at once if d is 0 or less. In a testing/synctest bubble, use it instead of <-time.After(d)
// wherever d may be 0: a timer that is due when set runs at once in the goroutine that set it, and if two goroutines of a
// bubble do so together, they share one context of the race detector, which crashes (golang.org/issue/78156).
func Pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}
