package wspush

import (
	"slices"
	"sync"
	"sync/atomic"
)

// allBulkRoom bounds what all bulk requests of a worker hold together beyond bulkFree of each: pushes that are gathered or wait, and
// answers that are not written. The bound is WorkerOptions.MaxPushBytesAll, which is also that of what comes in; the sums are two, so that
// publishers that do not read do not keep single pushes out. The zero value has no bound.
//
// A request that finds no room waits in line, and reads no lines meanwhile. What it holds becomes less without it, so there is always
// progress: whatever is held has been started, or is started before the request waits, and has an end.
type allBulkRoom struct {
	limit int64        // bytes; 0 or less: none
	held  atomic.Int64 // bytes

	mu        sync.Mutex     // guards line
	line      []*bulkRequest // those that wait; only the first may take room
	isPressed atomic.Bool    // line is not empty
}

// bulkRoom is what one bulk request holds. request.mu guards it.
type bulkRoom struct {
	all       *allBulkRoom
	held      int // the cost of what has been started or refused, and not been answered
	reserved  int // for what is gathered; only the handler's goroutine changes it
	counted   int // bytes of all.held: what is beyond bulkFree, rounded up to bulkStep
	isWaiting bool
}

// bulkStep is in what steps requests count in allBulkRoom, so that not each push changes what all requests share.
const bulkStep = 16 << 10

// tryTake takes n bytes for a request, if there are so many. More than the limit is taken when nothing else is.
func (a *allBulkRoom) tryTake(b *bulkRequest, n int) bool {
	if a.isPressed.Load() && !a.isFirst(b) {
		return false
	}
	for {
		held := a.held.Load()
		if held > 0 && held+int64(n) > a.limit {
			return false
		}
		if a.held.CompareAndSwap(held, held+int64(n)) {
			return true
		}
	}
}

// change counts n bytes more, or fewer, without asking whether there is room.
func (a *allBulkRoom) change(n int) {
	a.held.Add(int64(n))
	if n < 0 && a.isPressed.Load() { // set before the first in line looks for room, so either it finds this, or this finds it
		a.mu.Lock()
		defer a.mu.Unlock()
		a.tellFirstLocked()
	}
}

func (a *allBulkRoom) isFirst(b *bulkRequest) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.line) > 0 && a.line[0] == b
}

func (a *allBulkRoom) tellFirstLocked() {
	if len(a.line) > 0 {
		a.line[0].tell()
	}
}

// enter puts a request at the end of the line.
func (a *allBulkRoom) enter(b *bulkRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.line = append(a.line, b)
	a.isPressed.Store(true)
}

// exit takes a request out of the line.
func (a *allBulkRoom) exit(b *bulkRequest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.line, b)
	if a.line = slices.Delete(a.line, i, i+1); len(a.line) == 0 {
		a.line = nil
	}
	a.isPressed.Store(len(a.line) > 0)
	if i == 0 {
		a.tellFirstLocked()
	}
}

// beyondFree is what counts in allBulkRoom of n bytes of a request's.
func beyondFree(n int) int { return max(0, (n-bulkFree+bulkStep-1)/bulkStep*bulkStep) }

// tell lets the handler's goroutine look again, if it waits.
func (b *bulkRequest) tell() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// awaitLocked waits until tell is called; perhaps it has been already. Only the handler's goroutine may wait.
func (b *bulkRequest) awaitLocked() {
	b.mu.Unlock()
	<-b.changed
	b.mu.Lock()
}

// changeHeldLocked changes what is held without asking whether there is room.
func (b *bulkRequest) changeHeldLocked(change int) {
	b.room.held += change
	b.countLocked()
}

// countLocked counts what the request has now.
func (b *bulkRequest) countLocked() {
	r := &b.room
	if r.all.limit <= 0 {
		return
	}
	if want := beyondFree(r.held + r.reserved); want != r.counted {
		change := want - r.counted
		r.counted = want
		r.all.change(change)
	}
}

// takeLocked takes room for cost from that of all requests, if there is some.
func (b *bulkRequest) takeLocked(cost int) bool {
	r := &b.room
	if r.all.limit <= 0 {
		return true
	}
	want := beyondFree(r.held + r.reserved + cost)
	if want > r.counted {
		if !r.all.tryTake(b, want-r.counted) {
			return false
		}
		r.counted = want
	}
	return true
}

// isFullLocked reports whether cost would exceed bulkHeld. A request that holds nothing has room for a push of any size.
func (b *bulkRequest) isFullLocked(cost int) bool {
	return b.room.held > 0 && b.room.held+cost > bulkHeld
}

// tryHoldLocked counts cost as held if there is room, or nobody wants an answer any more.
func (b *bulkRequest) tryHoldLocked(cost int) bool {
	if !b.gone.Load() && (b.isFullLocked(cost) || !b.takeLocked(cost)) {
		return false
	}
	b.changeHeldLocked(cost)
	return true
}

// makeRoom waits until there is room for cost, and then counts it as held, and the pushes as unsettled. If it has to wait, it flushes
// gathered pushes first so that they are not delayed.
func (b *bulkRequest) makeRoom(cost, pushes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.tryHoldLocked(cost) {
		b.mu.Unlock()
		b.flush()
		b.mu.Lock()
		for !b.tryHoldLocked(cost) {
			b.waitForRoomLocked(!b.isFullLocked(cost))
		}
		b.exitLineLocked()
	}
	b.unsettled += pushes
}

// reserve waits until there is room for another push of that cost to be gathered.
func (b *bulkRequest) reserve(cost int) {
	missing := b.cost + cost - b.room.reserved
	if missing <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	missing = (missing + bulkStep - 1) / bulkStep * bulkStep
	if !b.takeLocked(missing) {
		b.mu.Unlock()
		b.flush()
		b.mu.Lock()
		for missing = cost; !b.gone.Load() && !b.takeLocked(missing); {
			b.waitForRoomLocked(true)
		}
		b.exitLineLocked()
	}
	b.room.reserved += missing
	b.countLocked()
}

// holdGathered waits until the request has room for what is gathered, for which reserve has found some among all requests, and then
// counts it as held, and as unsettled.
func (b *bulkRequest) holdGathered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.isFullLocked(b.cost) && !b.gone.Load() {
		b.awaitLocked()
	}
	b.room.reserved = 0
	b.changeHeldLocked(b.cost)
	b.unsettled += b.gathered
}

// waitForRoomLocked waits for a change, in the line of all requests, or outside it while the request itself is full: then it must not
// keep others waiting.
func (b *bulkRequest) waitForRoomLocked(inLine bool) {
	r := &b.room
	switch {
	case !inLine:
		b.exitLineLocked()
	case !r.isWaiting:
		r.isWaiting = true
		r.all.enter(b)
		return // there may be room by now
	}
	b.awaitLocked()
}

func (b *bulkRequest) exitLineLocked() {
	if b.room.isWaiting {
		b.room.isWaiting = false
		b.room.all.exit(b)
	}
}

// endRoom gives back what a request still has when it is over: what had been gathered when its publisher left.
func (b *bulkRequest) endRoom() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.room.held, b.room.reserved = 0, 0
	b.countLocked()
}
