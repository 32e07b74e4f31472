package membership

import (
	"slices"
	"time"

	"github.com/wspush/wspush/directory"
)

// Worker is another worker, to be asked about a key.
type Worker struct {
	Address string
	// Named means that it has told the directory that it has members, and has a lease: what there is to be sent can be sent to it. Any
	// other is to be asked first whether it has members.
	Named bool
}

// Found is who is to be asked about a key, besides this worker itself.
type Found struct {
	Workers []Worker // each address once, those that are named first
	// Sure means that nobody else can have members. If it is false, the directory has lost something so lately, or this worker has
	// started so lately, that there may be workers of which it has not heard.
	Sure bool
}

// give says what a lookup no longer looks for in a newer view.
type give struct {
	upGenerations bool // everyone is asked about a key in an unknown one, and nothing is sure
	upNumbers     bool // nobody has a lease for an unknown one
}

// resolve makes workers of numbers. It fails if it takes a newer view than this one to do that.
func (v *view) resolve(f directory.Found, with give) (found Found, dead []uint64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.generations[f.Generation]; !known {
		if !with.upGenerations {
			return Found{}, nil, false
		}
		v.baffled = time.Now()
		v.nonsense.is("a generation that no Renew shows")
	}
	others := v.othersLocked(f.Generation)
	isNewcomer := v.begun.Sub(v.since) < v.timing.Doubt // someone may still live of whom the others know, and this worker does not
	found.Sure = (v.isOldLocked(f.Generation) || others.vouched) && !(isNewcomer && others.doubts) && !v.twin
	var named []string
	for _, number := range f.Leases {
		p := v.peers[number]
		switch {
		case number == v.number:
		case p != nil && (p.ended || !p.vanished.IsZero()): // the latter is among the doubtful
		case p != nil:
			named = append(named, p.address)
		case v.isForeignLocked(number):
		case number == 0 || number > 1<<63-1:
			v.nonsense.is("an entry in the name of an impossible number")
		case !with.upNumbers && !v.strangers.isKnown(number):
			return Found{}, nil, false
		default:
			first := v.strangers.meet(number, v.begun)
			if isNewcomer {
				found.Sure = false
			}
			if v.begun.Sub(first) >= v.timing.Remove {
				dead = append(dead, number)
			}
		}
	}
	slices.Sort(named)
	named = slices.Compact(named)
	for _, address := range named {
		found.Workers = append(found.Workers, Worker{Address: address, Named: true})
	}
	for _, address := range others.doubtful {
		if _, isNamed := slices.BinarySearch(named, address); !isNamed {
			found.Workers = append(found.Workers, Worker{Address: address})
		}
	}
	return found, dead, true
}

// isStranger reports whether nobody has a lease for the number, and nobody had one lately.
func (v *view) isStranger(number uint64) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, isForeign := v.foreign[number]
	return number != v.number && v.peers[number] == nil && !isForeign && time.Since(v.begun) < v.timing.Lease
}

// isForeignLocked reports whether somebody has a lease for the number that cannot be opened: another cluster's, whatever its keys.
func (v *view) isForeignLocked(number uint64) bool {
	_, ok := v.foreign[number]
	return ok
}
