package directory

import "context"

// Owners is what a [Directory] may implement beside: it tells which worker owns a session that has moved from one worker to another. With it a session
// moves even if its worker dies in the middle of that, and is found when its former workers have ended.
//
// It is a register for each session, which never goes back: an owner replaces one that has moved fewer times. Whoever takes a session that has moved n
// times claims it as its owner after n+1 moves, so that of several who do that at the same time one wins. Of a session that has never
// moved, nothing is known.
//
// An engine that loses its data, or its latest writes, loses claims, and has another generation then, as for keys. So two can both have won the same
// only in different generations. Workers claim anew then what they own, and of those the one that has moved most often is the owner again.
//
// What is said of Directory about contexts, errors and retries holds here as well. In particular a claim whose call has failed may have been made, or may
// still be; whoever repeats it learns whether it was. Calls may overlap.
type Owners interface {
	// Claim makes each claim for EntryTime, unless there is an owner already that has moved as often or more often, and returns for each, in order,
	// the owner that there is then. A claim has won if that is what it asked for: also if it was made by an earlier call. A repeated claim of the
	// present owner is good for EntryTime again. If two claims in a call are of the same session, they are made one after the other, in any order.
	Claim(ctx context.Context, claims []Ownership) ([]Ownership, error)

	// Owners returns for each session, in order, its owner; Moves is 0 if nothing is known. That is for certain only if the generations are, afterwards,
	// those in which all workers have claimed what they own: Renew tells them.
	Owners(ctx context.Context, sessions []string) ([]Ownership, error)

	// Disclaim has the directory forget, LeaseTime later, each session of which the owner is exactly the one that is given. Until then that stays the
	// owner, so that a claim which has failed, and is repeated when the session has ended, does not win. It may happen late, after an error; so who has
	// disclaimed a session does not claim it again.
	Disclaim(ctx context.Context, claims []Ownership) error
}

// An Ownership says who owns a session.
type Ownership struct {
	Session string // 1 to 64 bytes, of any values; it means nothing to the directory
	Lease   uint64 // of the worker
	Moves   uint64 // how often the session has moved, from 1 to 1<<53 - 1; 0: nothing is known of it
}
