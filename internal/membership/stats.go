package membership

// Stats counts what there is now.
type Stats struct {
	Keys     int  // of this worker, with those that are to be removed
	Pending  int  // changes that the directory has not acknowledged, and keys that are to be entered anew
	Claims   int  // sessions that this worker owns by what it has claimed
	Workers  int  // others that have a lease
	Vanished int  // others that had one, and may still live: there is none at their address now
	Failing  bool // some calls of the directory fail; or Peers did, when it was last called, unless that is long ago
}

// Stats counts what there is now. Without a directory most of it is zero.
func (m *Membership) Stats() (s Stats) {
	s.Failing = m.outage.isOn() && !m.peers.isForgotten()
	if m.dir != nil {
		s.Keys, s.Pending = m.entries.count()
		if m.owners != nil {
			s.Claims = m.claims.count()
		}
		s.Workers, s.Vanished = m.view.count()
	}
	return s
}
