package wspushnats

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wspush/wspush/directory"
)

const (
	keysPerRequest = 200 // a request that matches more than 1,024 entries is refused, and halved then
	inFlight       = 500 // entries: a stream takes 10,000 at a time from all workers, and refuses more
	tombstoneTTL   = "60s"

	present, absent = "+", "-" // what an entry says
)

// Options may be nil.
type Options struct {
	// Stream is the name of the stream, and begins its subjects: letters, digits, "-" and "_"; "wspush" by default. Applications that share
	// an account each need their own.
	Stream string
}

// A Directory is a [directory.Directory]. It is safe for concurrent use, but for what Apply says.
type Directory struct {
	js       jetstream.JetStream
	stream   string
	inbox    *inbox
	verified atomic.Bool // that the stream is what New promises
}

var _ directory.Directory = (*Directory)(nil)

// New returns the directory that a connection leads to. It makes one subscription, to an inbox of its own, until Close, and waits for
// nothing. It fails if the connection is closed, or an option makes no sense.
func New(connection *nats.Conn, opts *Options) (*Directory, error) {
	d := &Directory{stream: "wspush"}
	if opts != nil && opts.Stream != "" {
		d.stream = opts.Stream
	}
	if !regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`).MatchString(d.stream) {
		return nil, fmt.Errorf("directory/nats: Stream %q is not 1 to 64 letters, digits, - and _", d.stream)
	}
	if connection == nil {
		return nil, errors.New("directory/nats: the connection is nil")
	}
	var err error
	if d.js, err = jetstream.New(connection); err == nil {
		d.inbox, err = newInbox(connection)
	}
	if err != nil {
		return nil, fmt.Errorf("directory/nats: %w", err)
	}
	return d, nil
}

// Close ends the subscription that New has made. Calls of other methods fail afterwards.
func (d *Directory) Close() error { return d.inbox.close() }

func (d *Directory) entrySubject(key, lease string) string {
	return d.stream + ".e." + base64.RawURLEncoding.EncodeToString([]byte(key)) + "." + lease
}

// Apply implements [directory.Directory].
func (d *Directory) Apply(ctx context.Context, lease uint64, changes []directory.Change) error {
	number := strconv.FormatUint(lease, 10)
	for len(changes) > 0 {
		some := changes[:min(len(changes), inFlight)]
		changes = changes[len(some):]
		var messages []*nats.Msg
		var leaves []string
		for _, change := range some {
			subject := d.entrySubject(change.Key, number)
			if change.Present {
				messages = append(messages, &nats.Msg{Subject: subject, Data: []byte(present)})
			} else {
				leaves = append(leaves, subject)
			}
		}
		tombstones, err := d.tombstones(ctx, leaves)
		if err == nil {
			err = d.inbox.publish(ctx, append(messages, tombstones...))
		}
		if err != nil {
			return fmt.Errorf("directory/nats: %w", err)
		}
	}
	return nil
}

// tombstones returns what says that entries are absent, each on condition that its entry is still the one that is there now. A tombstone that
// is still under way when its connection breaks may arrive long after a later join on the next one.
func (d *Directory) tombstones(ctx context.Context, subjects []string) (tombstones []*nats.Msg, err error) {
	for len(subjects) > 0 {
		some := subjects[:min(len(subjects), keysPerRequest)]
		subjects = subjects[len(some):]
		entries, err := d.last(ctx, some)
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if string(entry.Data) == absent {
				continue
			}
			m := nats.NewMsg(entry.Header.Get(jetstream.SubjectHeader))
			m.Data = []byte(absent)
			m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, entry.Header.Get(jetstream.SequenceHeader))
			m.Header.Set(jetstream.MsgTTLHeader, tombstoneTTL)
			tombstones = append(tombstones, m)
		}
	}
	return tombstones, nil
}

// Find implements [directory.Directory].
func (d *Directory) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	found := make([]directory.Found, len(keys))
	for done := 0; done < len(keys); {
		n := min(len(keys)-done, keysPerRequest)
		if err := d.find(ctx, keys[done:done+n], found[done:done+n]); err != nil {
			return nil, fmt.Errorf("directory/nats: %w", err)
		}
		done += n
	}
	return found, nil
}

// find asks for the entries of some keys and the generation in one request. The server reads them in the same instant.
func (d *Directory) find(ctx context.Context, keys []string, found []directory.Found) error {
	generation, places := "", make(map[string][]int, len(keys))
	subjects := []string{d.generationSubject()}
	for i, key := range keys {
		prefix := d.entrySubject(key, "")
		if places[prefix] == nil {
			subjects = append(subjects, prefix+"*")
		}
		places[prefix] = append(places[prefix], i)
	}
	messages, err := d.last(ctx, subjects)
	if errors.Is(err, errTooMany) && len(keys) > 1 {
		half := len(keys) / 2
		if err = d.find(ctx, keys[:half], found[:half]); err == nil {
			err = d.find(ctx, keys[half:], found[half:])
		}
		return err
	}
	if err != nil {
		return err
	}
	for _, m := range messages {
		subject := m.Header.Get(jetstream.SubjectHeader)
		if subject == d.generationSubject() {
			if generation, err = readGeneration(m); err != nil {
				return err
			}
			continue
		}
		dot := strings.LastIndexByte(subject, '.') + 1
		lease, ok := number(subject[dot:])
		entry := string(m.Data)
		if !ok || places[subject[:dot]] == nil || entry != present && entry != absent {
			return nonsense(m, "entry")
		}
		for _, i := range places[subject[:dot]] {
			if entry == present {
				found[i].Leases = append(found[i].Leases, lease)
			}
		}
	}
	for i := range found {
		found[i].Generation = generation
	}
	return nil
}

// number reads a lease's number as Apply and Renew write it.
func number(text string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil && n > 0 && strconv.FormatUint(n, 10) == text
}
