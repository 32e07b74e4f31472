//go:build slow

package wspush_test

import "time"

// The tests with this tag take longer than others may: what they are about are deadlines of real connections, which no bubble of
// fake time can have, or what needs many attempts to go wrong. go test -race -tags slow -run '^TestSlow' . runs them.

// pause lets real time pass.
func pause(d time.Duration) { <-time.After(d) }
