package nethttp

import (
	"context"

	"github.com/wspush/wspush"
)

// Notify pushes text to each of a user's connections at this worker, one for each tab, and returns how many got it. It
// looks at every connection of the worker.
func Notify(ctx context.Context, worker *wspush.Worker, user, text string) (written int) {
	theirs := func(yield func(*wspush.Conn) bool) {
		for c := range worker.Conns() {
			if c.Value() == user && !yield(c) {
				return
			}
		}
	}
	for _, err := range worker.PushEach(ctx, theirs, wspush.Text, []byte(text)) {
		if err == nil {
			written++
		}
	}
	return written
}
