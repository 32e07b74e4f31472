package wspushnats

import (
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wspush/wspush/directory"
)

var _ directory.Owners = (*Directory)(nil)

const maxMoves = 1<<53 - 1

func (d *Directory) ownerSubject(session string) string {
	return d.stream + ".o." + base64.RawURLEncoding.EncodeToString([]byte(session))
}

// ownerValue is an owner as it is stored, such as "3 4611686018427387904": so many moves, and the lease.
func ownerValue(o directory.Ownership) string {
	return strconv.FormatUint(o.Moves, 10) + " " + strconv.FormatUint(o.Lease, 10)
}

// An owner is what the stream says of a session. Its message is nil if that is nothing.
type owner struct {
	directory.Ownership
	message *nats.Msg
}

// owning is the message that makes an owner of a session for which there is that one now.
func (d *Directory) owning(o directory.Ownership, now owner) *nats.Msg {
	m := nats.NewMsg(d.ownerSubject(o.Session))
	m.Data = []byte(ownerValue(o))
	sequence := "0"
	if now.message != nil {
		sequence = now.message.Header.Get(jetstream.SequenceHeader)
	}
	m.Header.Set(jetstream.ExpectedLastSubjSeqHeader, sequence)
	return m
}

// owners reads whose sessions are, by subject, as it is in one instant. Without an answer there is an error, also if there is no stream.
func (d *Directory) owners(ctx context.Context, sessions []string) (map[string]owner, error) {
	owners, subjects := make(map[string]owner, len(sessions)), make([]string, 0, len(sessions))
	for _, session := range sessions {
		subject := d.ownerSubject(session)
		if _, ok := owners[subject]; !ok {
			owners[subject] = owner{directory.Ownership{Session: session}, nil}
			subjects = append(subjects, subject)
		}
	}
	messages, err := d.read(ctx, subjects)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		subject := m.Header.Get(jetstream.SubjectHeader)
		o, ok := owners[subject]
		if !ok {
			return nil, nonsense(m, "owner")
		}
		o.message = m
		moves, lease, _ := strings.Cut(string(m.Data), " ")
		o.Lease, _ = number(lease)
		if o.Moves, ok = number(moves); !ok || o.Moves > maxMoves || o.Lease == 0 || ownerValue(o.Ownership) != string(m.Data) {
			return nil, nonsense(m, "owner")
		}
		owners[subject] = o
	}
	return owners, nil
}

// Claim implements [directory.Owners].
func (d *Directory) Claim(ctx context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, len(claims))
	for done := 0; done < len(claims); {
		n := min(len(claims)-done, keysPerRequest)
		if err := d.claim(ctx, claims[done:done+n], owners[done:done+n]); err != nil {
			return nil, fmt.Errorf("directory/nats: %w", err)
		}
		done += n
	}
	return owners, nil
}

// claim reads whose the sessions are, and puts each claim that wins on condition that this is still so. If it is not for one of them, it reads
// again: that is how it learns which, and by whom, and what has become of a claim whose answer was for an earlier one.
func (d *Directory) claim(ctx context.Context, claims, owners []directory.Ownership) error {
	open := make([]int, len(claims))
	for i := range open {
		open[i] = i
	}
	for again := false; len(open) > 0; again = true {
		sessions := make([]string, len(open))
		for i, n := range open {
			sessions[i] = claims[n].Session
		}
		present, err := d.owners(ctx, sessions)
		if err != nil {
			return err
		}
		var messages []*nats.Msg
		var winning []int
		for _, n := range open {
			claim := claims[n]
			now := present[d.ownerSubject(claim.Session)]
			if now.Ownership == claim && again || now.Ownership != claim && now.Moves >= claim.Moves {
				owners[n] = now.Ownership
				continue
			}
			messages, winning = append(messages, d.owning(claim, now)), append(winning, n)
		}
		conflicts, err := d.inbox.publishExpecting(ctx, messages)
		if err != nil {
			return err
		}
		open = winning
		if conflicts == 0 {
			for _, n := range winning {
				owners[n] = claims[n]
			}
			return nil
		}
	}
	return nil
}

// Owners implements [directory.Owners].
func (d *Directory) Owners(ctx context.Context, sessions []string) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, 0, len(sessions))
	for len(sessions) > 0 {
		some := sessions[:min(len(sessions), keysPerRequest)]
		sessions = sessions[len(some):]
		present, err := d.owners(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("directory/nats: %w", err)
		}
		for _, session := range some {
			owners = append(owners, present[d.ownerSubject(session)].Ownership)
		}
	}
	return owners, nil
}

// Disclaim implements [directory.Owners].
func (d *Directory) Disclaim(ctx context.Context, claims []directory.Ownership) error {
	for len(claims) > 0 {
		some := claims[:min(len(claims), keysPerRequest)]
		claims = claims[len(some):]
		sessions := make([]string, len(some))
		for i, claim := range some {
			sessions[i] = claim.Session
		}
		for conflicts := 1; conflicts > 0; {
			present, err := d.owners(ctx, sessions)
			if err != nil {
				return fmt.Errorf("directory/nats: %w", err)
			}
			var messages []*nats.Msg
			for _, claim := range some {
				if now := present[d.ownerSubject(claim.Session)]; now.Ownership == claim {
					m := d.owning(claim, now)
					m.Header.Set(jetstream.MsgTTLHeader, directory.LeaseTime.String())
					messages = append(messages, m)
				}
			}
			if conflicts, err = d.inbox.publishExpecting(ctx, messages); err != nil {
				return fmt.Errorf("directory/nats: %w", err)
			}
		}
	}
	return nil
}
