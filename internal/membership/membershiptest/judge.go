package membershiptest

import "fmt"

// Judge returns what must not be, in the report of a simulation of which the engine was restarted.
func (s Simulation) Judge(r Report) (findings []string) {
	must := func(is bool, format string, args ...any) {
		if !is {
			findings = append(findings, fmt.Sprintf(format, args...))
		}
	}
	entries := int64(s.entries())
	must(r.Entries == entries, "%d entries in the engine, not %d", r.Entries, entries)
	// What a call had that has failed for want of time, on a machine that has other things to do, is told once more.
	isOnce := func(changes int64) bool { return changes >= entries && changes <= entries+entries/10 }
	must(isOnce(r.Join.Changes), "%d changes for %d entries to join", r.Join.Changes, entries)
	must(r.Idle.Changes == 0 && r.Idle.Finds == 0, "calls while nothing happens: %s", r.Idle)
	must(isOnce(r.Repair.Changes), "%d changes for %d entries to be entered anew", r.Repair.Changes, entries)
	must(isOnce(r.Close.Changes), "%d changes for %d entries to leave", r.Close.Changes, entries)
	for i, a := range r.Lookup {
		must(a.IsExact(), "%d asking, lookups are not exact: %s", s.Asking[i], a)
	}
	must(r.Repair.Answered.False == 0, "lookups were false while the engine was restarted: %s", r.Repair.Answered)
	must(r.Repair.After.IsExact(), "lookups are not exact after the engine was restarted: %s", r.Repair.After)
	return findings
}
