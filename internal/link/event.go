package link

import "context"

// event is something that Close waits for. The owner's lock guards it.
type event struct{ happened chan struct{} } // nil while nobody waits

// waiterLocked returns a channel that is closed when it happens.
func (e *event) waiterLocked() <-chan struct{} {
	if e.happened == nil {
		e.happened = make(chan struct{})
	}
	return e.happened
}

// happenedLocked lets those go on who wait.
func (e *event) happenedLocked() {
	if e.happened != nil {
		close(e.happened)
		e.happened = nil
	}
}

// await waits for what waiterLocked has returned. Nil has happened already.
func await(ctx context.Context, happened <-chan struct{}) {
	if happened == nil {
		return
	}
	select {
	case <-happened:
	case <-ctx.Done():
	}
}
