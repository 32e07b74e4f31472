package publisher

import (
	"context"

	"github.com/wspush/wspush/internal/bulk"
)

// PushTo is [Recipients.Push] over the stream, as Push is [Client.Push]: the message goes once to one of the Options.Workers, which pushes
// it to each member. It asks another worker only when there is no connection to the one that worked last. Messages that are given one after the
// other, for the same user or group, are written to each member in that order.
func (s *Stream) PushTo(ctx context.Context, to *Recipients, typ MessageType, data []byte, opts ...PushOption) (Outcomes, error) {
	o, began := options(opts), s.c.now()
	line := bulk.Line{Type: typ, Data: data, Confirm: o.Confirmed, Timeout: s.c.workerTimeout(ctx, o), Keep: o.Keep}
	within, cancel := s.c.within(ctx)
	defer cancel()
	out, attempts, err := await(within, s, func(done func(int, Outcomes, error)) (string, *item, error) { return s.several(within, to, line, done) })
	s.c.tellMembers(ctx, to.isGroup, began, attempts, out, err)
	return out, err
}

// SendTo queues a message for each member, and calls done once with what PushTo would have returned. All else is as for Send.
func (s *Stream) SendTo(ctx context.Context, to *Recipients, typ MessageType, data []byte, done func(Outcomes, error), opts ...PushOption) error {
	o, began, isGroup := options(opts), s.c.now(), to.isGroup
	line := bulk.Line{Type: typ, Data: data, Confirm: o.Confirmed, Timeout: s.c.workerTimeout(ctx, o), Keep: o.Keep}
	_, it, err := s.several(ctx, to, line, func(attempts int, out Outcomes, err error) {
		s.c.tellMembers(ctx, isGroup, began, attempts, out, err)
		done(out, err)
	})
	if err != nil {
		s.c.tellMembers(ctx, isGroup, began, it.attempts(), Outcomes{}, err)
	}
	return err
}

// several sends a line to the members of a user or a group, as an item of the route of that key. done also gets how often it was sent.
func (s *Stream) several(ctx context.Context, to *Recipients, line bulk.Line, done func(attempts int, out Outcomes, err error)) (key string, it *item, err error) {
	of := *to
	of.c = s.c // whose credential it is
	except, err := of.check(maxLineBytes)
	if err != nil {
		return "", nil, err
	}
	end, err := bulk.AppendEnd(nil, line)
	if err != nil {
		return "", nil, err
	}
	whole, err := bulk.AddressMembers(nil, of.isGroup, of.name, except, end)
	if err != nil {
		return "", nil, err
	}
	it = &item{whole: whole, confirmed: line.Confirm, done: func(_ int, a bulk.Answer, err error) {
		out, _ := outcomesOf(a, line.Confirm) // err has what is wrong with it
		done(it.attempts(), out, err)
	}}
	key = routeKey(s.c.workers)
	return key, it, s.send(ctx, key, s.c.workers, it)
}
