package membership

import "time"

const (
	maxStrangers = 4096
	// strangerTime is how long a stranger is remembered: entries expire before.
	strangerTime = 25 * time.Hour
)

// strangers are numbers that keys name and nobody has a lease for. Most are those of workers that have died. They are guarded by view.mu.
type strangers struct {
	met map[uint64]time.Time // when first met
}

// meet notes that a key names the number. It returns when that was first so. If there are too many, the number is taken for new each time.
func (s *strangers) meet(number uint64, now time.Time) (first time.Time) {
	if first, ok := s.met[number]; ok {
		return first
	}
	if len(s.met) >= maxStrangers {
		return now
	}
	if s.met == nil {
		s.met = make(map[uint64]time.Time)
	}
	s.met[number] = now
	return now
}

// isKnown reports whether a newer view need not be asked for to look for the number's lease.
func (s *strangers) isKnown(number uint64) bool {
	_, ok := s.met[number]
	return ok || len(s.met) >= maxStrangers
}

func (s *strangers) remove(number uint64) { delete(s.met, number) }

// forget begins anew, since leases may have come and gone unseen.
func (s *strangers) forget() { clear(s.met) }

// expire forgets those that were met long ago.
func (s *strangers) expire(now time.Time) {
	for number, first := range s.met {
		if now.Sub(first) > strangerTime {
			delete(s.met, number)
		}
	}
}
