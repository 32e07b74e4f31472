package wspushnats

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wspush/wspush/directory"
)

// lease is a directory.Lease as it is stored. Name is bytes, which JSON keeps as they are.
type lease struct {
	Name    []byte   `json:"name"`
	Synced  []string `json:"synced"`
	Leaving bool     `json:"leaving,omitempty"`
}

// Renew implements [directory.Directory]. The first one makes sure of the stream.
func (d *Directory) Renew(ctx context.Context, l directory.Lease) (directory.View, error) {
	view, err := d.renew(ctx, l)
	if err != nil {
		return directory.View{}, fmt.Errorf("directory/nats: %w", err)
	}
	return view, nil
}

func (d *Directory) renew(ctx context.Context, l directory.Lease) (view directory.View, err error) {
	value, err := json.Marshal(lease{[]byte(l.Name), l.Synced, l.Leaving})
	if err != nil {
		return view, err
	}
	put := nats.NewMsg(d.stream + ".l." + strconv.FormatUint(l.Number, 10))
	put.Data = value
	put.Header.Set(jetstream.MsgTTLHeader, directory.LeaseTime.String())
	err = nats.ErrNoResponders
	if d.verified.Load() {
		err = d.inbox.publish(ctx, []*nats.Msg{put})
	}
	if errors.Is(err, nats.ErrNoResponders) {
		if err = d.ensureStream(ctx); err == nil {
			err = d.inbox.publish(ctx, []*nats.Msg{put})
		}
	}
	if err != nil {
		return view, err
	}
	// Again, once somebody has made a generation.
	for range 3 {
		if view, err = d.view(ctx); err != nil || len(view.Generations) == 1 {
			return view, err
		}
		if err := d.makeGeneration(ctx); err != nil {
			return view, err
		}
	}
	return view, errors.New("the generation is lost again and again")
}

func (d *Directory) generationSubject() string { return d.stream + ".g" }

func readGeneration(m *nats.Msg) (string, error) {
	if len(m.Data) < 8 || len(m.Data) > 64 {
		return "", nonsense(m, "generation")
	}
	return string(m.Data), nil
}

// makeGeneration puts one, for good, if there is none.
func (d *Directory) makeGeneration(ctx context.Context) error {
	m := nats.NewMsg(d.generationSubject())
	m.Data = []byte(rand.Text()[:12])
	m.Header.Set(jetstream.MsgTTLHeader, "never")
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	err := d.inbox.publish(ctx, []*nats.Msg{m})
	if apiErr := (*jetstream.APIError)(nil); errors.As(err, &apiErr) && apiErr.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return nil // another worker's is there
	}
	return err
}

// view reads who has a lease, and the generation, which may be missing.
func (d *Directory) view(ctx context.Context) (view directory.View, err error) {
	prefix := d.stream + ".l."
	messages, err := d.last(ctx, []string{d.generationSubject(), prefix + "*"})
	if err != nil {
		return directory.View{}, err
	}
	for _, m := range messages {
		subject := m.Header.Get(jetstream.SubjectHeader)
		if subject == d.generationSubject() {
			generation, err := readGeneration(m)
			if err != nil {
				return directory.View{}, err
			}
			view.Generations = append(view.Generations, generation)
			continue
		}
		var stored lease
		n, ok := number(strings.TrimPrefix(subject, prefix))
		if !ok || json.Unmarshal(m.Data, &stored) != nil {
			return directory.View{}, nonsense(m, "lease")
		}
		view.Leases = append(view.Leases, directory.Lease{Number: n, Name: string(stored.Name), Synced: stored.Synced, Leaving: stored.Leaving})
	}
	return view, nil
}

// ensureStream makes the stream, or fails if there is one of its name that may hide a loss.
func (d *Directory) ensureStream(ctx context.Context) error {
	// A new stream begins somewhere else, so that no number in it is that of another entry in the one before.
	first, err := rand.Int(rand.Reader, big.NewInt(1<<48))
	if err != nil {
		return err
	}
	stream, err := d.js.CreateStream(ctx, jetstream.StreamConfig{
		Name:              d.stream,
		Description:       "which workers of wspush have members of a user or group",
		Subjects:          []string{d.stream + ".>"},
		Storage:           jetstream.MemoryStorage,
		Replicas:          1,
		MaxMsgsPerSubject: 1,
		MaxAge:            directory.EntryTime,
		Discard:           jetstream.DiscardNew, // if somebody sets a limit, it is to be an error
		AllowDirect:       true,
		AllowMsgTTL:       true,
		FirstSeq:          first.Uint64() + 1,
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		stream, err = d.js.Stream(ctx, d.stream)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", d.stream, err)
	}
	c := stream.CachedInfo().Config
	if len(c.Subjects) != 1 || c.Subjects[0] != d.stream+".>" || c.Storage != jetstream.MemoryStorage || c.Replicas != 1 || c.MaxMsgsPerSubject != 1 ||
		c.MaxAge != directory.EntryTime || c.Discard != jetstream.DiscardNew || !c.AllowDirect || !c.AllowMsgTTL {
		return fmt.Errorf("stream %s has other settings than it must have, in memory with one replica, or the server is older than NATS 2.11: "+
			"delete the stream, and it is made anew", d.stream)
	}
	d.verified.Store(true)
	return nil
}
