package wspushnats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// broken is how soon a call notices that its connection is not the one any more on which it was made: no answer will come then.
const broken = 100 * time.Millisecond

// An inbox is where all answers come to a directory: one subscription, in which each call has a subject.
type inbox struct {
	connection   *nats.Conn
	prefix       string
	subscription *nats.Subscription

	mu    sync.Mutex // guards what follows
	last  uint64
	calls map[string]*call
}

// A call is a request under way, or several messages whose acknowledgements are counted.
type call struct {
	result chan error // buffered for one

	mu    sync.Mutex // guards what follows, and what answer uses until ended
	ended bool
	// answer takes the next answer, and reports whether that was the last.
	answer func(m *nats.Msg) (last bool, err error)
}

func newInbox(connection *nats.Conn) (*inbox, error) {
	b := &inbox{connection: connection, prefix: connection.NewInbox() + ".", calls: make(map[string]*call)}
	var err error
	b.subscription, err = connection.Subscribe(b.prefix+"*", b.receive)
	return b, err
}

func (b *inbox) close() error { return b.subscription.Unsubscribe() }

func (b *inbox) receive(m *nats.Msg) {
	b.mu.Lock()
	c := b.calls[m.Subject]
	b.mu.Unlock()
	if c == nil {
		return // of a call that has given up
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	if last, err := c.answer(m); last || err != nil {
		c.ended = true
		c.result <- err
	}
}

// call sends messages, and waits until answer has had the last answer, or an error, or the context ends.
func (b *inbox) call(ctx context.Context, messages []*nats.Msg, answer func(m *nats.Msg) (last bool, err error)) error {
	if !b.connection.IsConnected() {
		return fmt.Errorf("not connected: the connection is %s", b.connection.Status()) // and would send it when nobody waits any more
	}
	if !b.subscription.IsValid() {
		return errors.New("the directory is closed")
	}
	c := &call{result: make(chan error, 1), answer: answer}
	b.mu.Lock()
	b.last++
	reply := b.prefix + strconv.FormatUint(b.last, 36)
	b.calls[reply] = c
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.calls, reply)
		b.mu.Unlock()
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
	}()
	connections := b.connection.Stats().Reconnects
	for _, m := range messages {
		m.Reply = reply
		if err := b.connection.PublishMsg(m); err != nil {
			return err
		}
	}
	ticker := time.NewTicker(broken)
	defer ticker.Stop()
	for {
		select {
		case err := <-c.result:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
			if !b.connection.IsConnected() || b.connection.Stats().Reconnects != connections {
				return errors.New("the connection broke")
			}
		}
	}
}

// publish stores messages in the stream. It returns the first error.
func (b *inbox) publish(ctx context.Context, messages []*nats.Msg) error {
	return b.publishUnless(ctx, messages, func(err *jetstream.APIError) error { return err })
}

// publishExpecting stores messages that each expect what is there before, and returns how many were refused because it is something else.
// It does not say which.
func (b *inbox) publishExpecting(ctx context.Context, messages []*nats.Msg) (conflicts int, err error) {
	err = b.publishUnless(ctx, messages, func(err *jetstream.APIError) error {
		if err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
			conflicts++
			return nil
		}
		return err
	})
	return conflicts, err
}

// publishUnless stores messages, and ends with the first error, of those with which the server refuses a message if refused returns it.
func (b *inbox) publishUnless(ctx context.Context, messages []*nats.Msg, refused func(*jetstream.APIError) error) error {
	if len(messages) == 0 {
		return nil
	}
	waiting := len(messages)
	return b.call(ctx, messages, func(m *nats.Msg) (bool, error) {
		var ack struct {
			Error *jetstream.APIError `json:"error"`
			Seq   uint64              `json:"seq"`
		}
		if status := m.Header.Get("Status"); status == "503" {
			return false, nats.ErrNoResponders
		}
		if err := json.Unmarshal(m.Data, &ack); err != nil {
			return false, fmt.Errorf("%.40q is no acknowledgement: %w", m.Data, err)
		}
		if ack.Error != nil {
			if err := refused(ack.Error); err != nil {
				return false, err
			}
		} else if ack.Seq == 0 {
			return false, fmt.Errorf("%.40q is no acknowledgement", m.Data)
		}
		waiting--
		return waiting == 0, nil
	})
}

var (
	errTooMany = errors.New("more than 1,024 entries or leases in one answer")
	errExpired = errors.New("a message expired while it was read")
)

// last returns the last message of every subject that matches one of the filters, as they were in one instant. If there is no stream,
// there is no message either.
func (d *Directory) last(ctx context.Context, filters []string) ([]*nats.Msg, error) {
	messages, err := d.read(ctx, filters)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, nil
	}
	return messages, err
}

// read is last, but if nobody answers, for want of a stream or because its server is away, that is an error.
//
// Each message of the answer names the one before. So nothing can be missing from it, on whatever way it was lost.
func (d *Directory) read(ctx context.Context, filters []string) (messages []*nats.Msg, err error) {
	request, err := json.Marshal(map[string][]string{"multi_last": filters})
	if err != nil {
		return nil, err
	}
	for range 3 {
		messages, err = d.inbox.read(ctx, &nats.Msg{Subject: "$JS.API.DIRECT.GET." + d.stream, Data: request})
		if !errors.Is(err, errExpired) {
			break
		}
	}
	return messages, err
}

func (b *inbox) read(ctx context.Context, request *nats.Msg) ([]*nats.Msg, error) {
	var messages []*nats.Msg
	before := "0"
	err := b.call(ctx, []*nats.Msg{request}, func(m *nats.Msg) (last bool, err error) {
		status, description := m.Header.Get("Status"), m.Header.Get("Description")
		switch {
		case status == "503":
			return false, nats.ErrNoResponders
		case status == "404" && description == "No Results":
			return true, nil
		case status == "404":
			return false, errExpired
		case status == "413":
			return false, errTooMany
		case status != "" && status != "204":
			return false, fmt.Errorf("%s: %s %s", request.Subject, status, description)
		case m.Header.Get(jetstream.LastSequenceHeader) != before:
			return false, errors.New("an answer has come in part")
		case status == "204":
			if pending := m.Header.Get("Nats-Num-Pending"); pending != "0" {
				return false, fmt.Errorf("an answer is too long by %s messages", pending)
			}
			return true, nil
		}
		before = m.Header.Get(jetstream.SequenceHeader)
		messages = append(messages, m)
		return false, nil
	})
	if err != nil {
		return nil, err
	}
	return messages, nil
}

// nonsense is the error for a message that no directory has written.
func nonsense(m *nats.Msg, what string) error {
	return fmt.Errorf("%.500s: %.40q is no %s", m.Header.Get(jetstream.SubjectHeader), m.Data, what)
}
