package wspush

// A bulk request takes the memory for what it has read and not yet pushed from the budget of all bodies that come in: it is the
// bulk.Room of its input.

// Ahead takes room for what is read ahead. Half of the budget is enough for that: a publisher that keeps a request open may keep what it
// has read ahead for long.
func (b *bulkRequest) Ahead(n int64) bool { return b.worker.bodies.budget.takeBelowHalf(n) }

// GiveAhead gives it back.
func (b *bulkRequest) GiveAhead(n int64) { b.worker.bodies.budget.give(n) }

// Line takes room for a line that is being read.
func (b *bulkRequest) Line(n int64, wait bool) bool {
	if !wait {
		return b.line.tryTake(n)
	}
	return b.line.take(n) == nil
}

// GiveLine gives some of it back.
func (b *bulkRequest) GiveLine(n int64) { b.line.give(n) }

// EndLine gives all of it back.
func (b *bulkRequest) EndLine() { b.line.end() }

// interrupt ends the request, whose line has to give way to others. The handler still waits for the line.
func (b *bulkRequest) interrupt() { b.running.Go(b.input.Refuse) }
