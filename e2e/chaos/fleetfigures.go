package main

// enoughOfFleet is enough for several workers.
func (f *sessionFigures) enoughOfFleet(set *setting, l *SessionLedger) *Promise {
	p := &Promise{Text: "enough happened: each kind of event and of outcome, and many messages"}
	for _, k := range append(fleetKinds(set), sessionKinds...) {
		if f.Events[k] == 0 {
			p.broken("nothing of the kind %q", k)
		}
	}
	if set.orderly && f.Events[renew] != 2*set.workers {
		p.broken("%d workers were replaced", f.Events[renew])
	}
	for _, o := range []Outcome{Received, Written, Buffered, Never} {
		if f.Outcomes[string(o)] == 0 {
			p.broken("no message that was %s", o)
		}
	}
	if n := f.Outcomes[string(Received)] + f.Outcomes[string(Written)] + f.Outcomes[string(Buffered)]; float64(n) < leastAccepted*f.Seconds {
		p.broken("%d messages accepted in %.0f s", n, f.Seconds)
	}
	if float64(f.Resumes) < leastResumes*float64(f.Clients)*f.Seconds/60 {
		p.broken("%d resumptions of %d clients", f.Resumes, f.Clients)
	}
	moves := 0
	for _, notes := range l.Notes {
		for i := range notes {
			if notes[i].Cause == "moved" {
				moves++
			}
		}
	}
	if f.Moves = moves; moves < f.Resumes/3 {
		p.broken("of %d resumptions, %d were at another worker", f.Resumes, moves)
	}
	return p
}
