package membershiptest

import (
	"context"

	"github.com/wspush/wspush/directory"
)

// Claim makes claims, in two steps.
func (c *Client) Claim(ctx context.Context, claims []directory.Ownership) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, len(claims))
	claim := func(from, to int) func(*Engine) {
		return func(e *Engine) {
			for i, claim := range claims[from:to] {
				register := e.partLocked(claim.Session).owners
				if claim.Moves > register[claim.Session].Moves {
					register[claim.Session] = claim
				}
				owners[from+i] = register[claim.Session]
			}
		}
	}
	half := len(claims) / 2
	err := c.do(ctx, func(e *Engine) {
		e.counts.Claims++
		e.counts.Claimed += len(claims)
		claim(0, half)(e)
	}, func(e *Engine) {
		claim(half, len(claims))(e)
		if e.chanceLocked(e.faults.Lie) {
			owners = e.lieAboutOwnersLocked(owners)
		}
	})
	if err != nil {
		return nil, err
	}
	return owners, nil
}

// Owners returns who owns sessions.
func (c *Client) Owners(ctx context.Context, sessions []string) ([]directory.Ownership, error) {
	owners := make([]directory.Ownership, len(sessions))
	err := c.do(ctx, func(e *Engine) {
		e.counts.Owners++
		for i, session := range sessions {
			owners[i] = e.partLocked(session).owners[session]
			owners[i].Session = session
		}
		if e.chanceLocked(e.faults.Lie) {
			owners = e.lieAboutOwnersLocked(owners)
		}
	})
	if err != nil {
		return nil, err
	}
	return owners, nil
}

// Disclaim forgets owners.
func (c *Client) Disclaim(ctx context.Context, claims []directory.Ownership) error {
	return c.do(ctx, func(e *Engine) {
		e.counts.Disclaims++
		for _, claim := range claims {
			if register := e.partLocked(claim.Session).owners; register[claim.Session] == claim {
				delete(register, claim.Session)
			}
		}
	})
}

// Owner returns the lease that owns a session, and after how many moves.
func (e *Engine) Owner(session string) (lease, moves uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	o := e.partLocked(session).owners[session]
	return o.Lease, o.Moves
}
