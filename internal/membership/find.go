package membership

import (
	"context"
	"slices"
	"time"

	"github.com/wspush/wspush/directory"
)

// findTries is how often a lookup is made anew because the directory has lost something meanwhile.
const findTries = 3

// Find returns who is to be asked about each key, besides this worker itself. Lookups that come while others are under way share the
// next call of the directory. The error is ErrDirectory, or the context's.
func (m *Membership) Find(ctx context.Context, keys []string) ([]Found, error) {
	switch {
	case m.peers != nil:
		found, err := m.peers.find(ctx)
		return slices.Repeat([]Found{found}, len(keys)), err
	case m.dir == nil:
		return slices.Repeat([]Found{{Sure: true}}, len(keys)), nil
	}
	out := make([]Found, 0, len(keys))
	for chunk := range slices.Chunk(keys, maxQuestions) {
		found, err := m.findChunk(ctx, chunk)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

func (m *Membership) findChunk(ctx context.Context, keys []string) ([]Found, error) {
	if m.timing.Settle < 0 {
		if err := m.freshView(ctx); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		answers, err := m.finds.do(ctx, keys, m)
		if err != nil {
			return nil, err
		}
		with := give{upGenerations: try == findTries || m.view.isBaffled()}
		if out, ok := m.resolve(keys, answers, with); ok {
			return out, nil
		}
		// The directory has lost something, or there is a worker that this one has not seen yet: look who is there.
		if err := m.freshView(ctx); err != nil {
			return nil, err
		}
		with.upNumbers = true
		if out, ok := m.resolve(keys, answers, with); ok {
			return out, nil
		}
		// The generation is still not known. It has been followed by another one meanwhile, and the answer is worth nothing.
	}
}

// resolve makes workers of what the directory has answered. It returns false if a newer view is needed for that.
func (m *Membership) resolve(keys []string, answers []directory.Found, with give) ([]Found, bool) {
	out := make([]Found, len(keys))
	for i, answer := range answers {
		found, dead, ok := m.view.resolve(answer, with)
		if !ok {
			return nil, false
		}
		out[i] = found
		for _, number := range dead {
			if m.removals.add(number, keys[i]) {
				wake(m.applying)
			}
		}
	}
	return out, true
}

// unreadable is a kind of nonsense.
const unreadable = "a key that cannot be looked up"

// findEach calls the directory for several lookups. Answers that are nil cannot be had.
func (m *Membership) findEach(keys []string) []*directory.Found {
	return askEach(m, keys, m.findOnce, unreadable)
}

func (m *Membership) findOnce(keys []string) ([]directory.Found, error) {
	return askOnce(m, findCall, keys, m.dir.Find)
}

// isUp reports whether a Renew works, or has worked just before.
func (m *Membership) isUp() bool {
	return m.view.isFresh() || m.freshView(m.ctx) == nil
}

// isFresh reports whether the view is of less than a second ago.
func (v *view) isFresh() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Since(v.begun) < v.timing.Probe
}

// isBaffled reports whether that was so lately that asking again is no use.
func (v *view) isBaffled() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.baffled.IsZero() && time.Since(v.baffled) < v.timing.Probe
}

// itself is the key of a question that is one.
func itself(key string) string { return key }
