package membership

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

const (
	maxCalls     = 4   // how many calls of one kind are under way at a time
	maxQuestions = 200 // how many questions each has
)

// sharing makes few calls of many questions, without waiting: who finds too few under way begins at once, and what comes meanwhile shares
// the next. A question never shares a call that began before it.
type sharing[Q comparable, A any] struct {
	ask  func([]Q) []*A
	key  func(Q) string // a call has one question for each key
	gate *gate          // while it is shut, there is no answer

	mu      sync.Mutex
	under   int                 // how many are under way. Guarded by mu
	waiting []*sharedCall[Q, A] // guarded by mu
	latest  Q                   // one of the last call's. Guarded by mu
	stopped bool                // guarded by mu
}

// sharedCall is one call, for all who share it.
type sharedCall[Q comparable, A any] struct {
	questions []Q            // guarded by sharing.mu until the call begins
	index     map[string]int // by key, into questions; guarded likewise
	done      chan struct{}
	answers   []*A // set before done is closed. Of those that are nil, there is none
}

func (c *sharedCall[Q, A]) add(key string, q Q) int {
	i, ok := c.index[key]
	if !ok {
		i = len(c.questions)
		c.questions = append(c.questions, q)
		c.index[key] = i
	}
	return i
}

func (c *sharedCall[Q, A]) hasRoom(questions []Q, key func(Q) string) bool {
	n := len(c.questions)
	for _, q := range questions {
		i, ok := c.index[key(q)]
		switch {
		case !ok:
			n++
		case c.questions[i] != q:
			return false
		}
	}
	return n <= maxQuestions
}

// do asks at most maxQuestions. If two have one key, they are one question.
func (s *sharing[Q, A]) do(ctx context.Context, questions []Q, m *Membership) ([]A, error) {
	shut := s.gate.shut()
	select {
	case <-shut:
		return nil, ErrDirectory
	default:
	}
	call, places := s.join(questions, m)
	if call == nil {
		return nil, ErrDirectory
	}
	select {
	case <-call.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-shut:
		return nil, ErrDirectory
	case <-m.ctx.Done(): // the directory does not obey its context
		return nil, ErrDirectory
	}
	answers := make([]A, len(questions))
	for i, place := range places {
		answer := call.answers[place]
		if answer == nil {
			return nil, ErrDirectory
		}
		answers[i] = *answer
	}
	return answers, nil
}

// join adds questions to a call that has not begun, and begins one if there is room.
func (s *sharing[Q, A]) join(questions []Q, m *Membership) (call *sharedCall[Q, A], places []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, nil
	}
	if n := len(s.waiting); n > 0 && s.waiting[n-1].hasRoom(questions, s.key) {
		call = s.waiting[n-1]
	} else {
		call = &sharedCall[Q, A]{index: make(map[string]int, len(questions)), done: make(chan struct{})}
		s.waiting = append(s.waiting, call)
	}
	places = make([]int, len(questions))
	for i, q := range questions {
		places[i] = call.add(s.key(q), q)
	}
	if s.under < maxCalls {
		s.under++
		m.wg.Go(s.run)
	}
	return call, places
}

// run makes calls until none is waiting.
func (s *sharing[Q, A]) run() {
	for {
		s.mu.Lock()
		if len(s.waiting) == 0 {
			s.under--
			s.mu.Unlock()
			return
		}
		call := s.waiting[0]
		s.waiting[0] = nil
		if s.waiting = s.waiting[1:]; len(s.waiting) == 0 {
			s.waiting = nil
		}
		s.latest = call.questions[0]
		s.mu.Unlock()
		select {
		case <-s.gate.shut(): // those who wait for it have given up, or are about to
			call.answers = make([]*A, len(call.questions))
		default:
			call.answers = s.ask(call.questions)
		}
		close(call.done)
	}
}

// last returns a question that has been asked.
func (s *sharing[Q, A]) last() Q {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest
}

// stop lets no call begin any more.
func (s *sharing[Q, A]) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
}

// askEach asks the directory. If that fails soon, though a Renew works, some questions may be at fault, such as a key under which
// something else has put a value: then it asks fewer at a time. Answers that are nil cannot be had. The nonsense is what one at fault is.
func askEach[Q, A any](m *Membership, questions []Q, once func([]Q) ([]A, error), nonsense string) []*A {
	answers := make([]*A, len(questions))
	got, err := once(questions)
	switch {
	case err == nil:
		for i := range got {
			answers[i] = &got[i]
		}
	case errors.Is(err, ErrDirectory) || !m.isUp():
	case len(questions) > 1:
		half := len(questions) / 2
		copy(answers, askEach(m, questions[:half], once, nonsense))
		copy(answers[half:], askEach(m, questions[half:], once, nonsense))
	case m.nonsense.hasSaid(nonsense):
	case m.freshView(m.ctx) != nil: // it was not the question: the view that was fresh enough is older than the failure
	default:
		if got, err = once(questions); err == nil {
			answers[0] = &got[0] // nor was it now, but a connection that had broken, perhaps
		} else if !errors.Is(err, ErrDirectory) {
			m.nonsense.is(nonsense, "error", err)
		}
	}
	return answers
}

// askOnce calls the directory once. The error is ErrDirectory if all such calls fail.
func askOnce[Q, A any](m *Membership, kind call, questions []Q, ask func(context.Context, []Q) ([]A, error)) (answers []A, err error) {
	var hung bool
	err = m.call(func(ctx context.Context) error {
		answers, err = ask(ctx, questions)
		hung = ctx.Err() != nil
		return err
	})
	if err == nil && len(answers) != len(questions) {
		err = fmt.Errorf("%d answers to %d questions", len(answers), len(questions))
	}
	switch {
	case m.ctx.Err() != nil:
		return nil, ErrDirectory
	case err != nil && hung:
		if m.outage.failed(kind, err) {
			m.renewals.request()
		}
		return nil, ErrDirectory
	case err == nil:
		m.outage.worked(kind)
	}
	return answers, err
}
