package membershiptest

import (
	"fmt"

	"github.com/wspush/wspush/directory"
)

// lieAboutLeasesLocked adds what no worker of this cluster has put there.
func (e *Engine) lieAboutLeasesLocked(v *directory.View) {
	switch e.rand.IntN(6) {
	case 0:
		v.Leases = append(v.Leases, directory.Lease{Number: e.rand.Uint64() >> 1, Name: "another cluster's", Synced: v.Generations})
	case 1:
		v.Leases = append(v.Leases, directory.Lease{Number: 0, Name: ""})
	case 2:
		if len(v.Leases) > 0 { // one lease in the name of another number
			l := v.Leases[0]
			l.Number = e.rand.Uint64() >> 1
			v.Leases = append(v.Leases, l)
		}
	case 3:
		v.Leases = append(v.Leases, v.Leases...)
	case 4:
		v.Generations = append(v.Generations, "", "")
	case 5:
		for i := range 100 {
			v.Leases = append(v.Leases, directory.Lease{Number: e.rand.Uint64(), Name: fmt.Sprint(i)})
		}
	}
}

// lieAboutKeysLocked adds what no worker has put there, or answers too little, or of a generation that is none.
func (e *Engine) lieAboutKeysLocked(found []directory.Found) []directory.Found {
	f := &found[e.rand.IntN(len(found))]
	switch e.rand.IntN(5) {
	case 0:
		f.Leases = append(f.Leases, e.rand.Uint64()>>1)
	case 1:
		f.Leases = append(f.Leases, 0, 1<<63, 1<<64-1)
	case 2:
		f.Leases = append(f.Leases, f.Leases...)
	case 3:
		f.Generation = ""
	case 4:
		return found[:len(found)-1]
	}
	return found
}

// lieAboutOwnersLocked names owners that can be none, or too few.
func (e *Engine) lieAboutOwnersLocked(owners []directory.Ownership) []directory.Ownership {
	o := &owners[e.rand.IntN(len(owners))]
	switch e.rand.IntN(5) {
	case 0:
		*o = directory.Ownership{}
	case 1:
		o.Lease = 1 << 63
	case 2:
		o.Moves = 1 << 53
	case 3:
		o.Session = "another"
	case 4:
		return owners[:len(owners)-1]
	}
	return owners
}
