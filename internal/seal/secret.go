package seal

import (
	"bytes"
	"errors"
	"fmt"
)

const (
	minDistinct = 6 // different bytes in a secret; random ones have more, also as hexadecimal or decimal text
	maxUnset    = 7 // zero bytes in a row
)

// checkSecret refuses what can only be a mistake: whoever guesses a secret has every connection of every worker. Whether a secret is
// random cannot be seen, but chance makes none of these.
func checkSecret(secret []byte) error {
	if len(secret) < MinKey {
		return fmt.Errorf("has %d bytes; it needs at least %d random bytes", len(secret), MinKey)
	}
	switch unset, period := unset(secret), period(secret); {
	case unset == len(secret):
		return errors.New("has only zero bytes: was it ever set?")
	case unset > maxUnset: // what copy leaves beside a text that is too short
		return fmt.Errorf("has %d zero bytes in a row: it needs at least %d random bytes", unset, MinKey)
	case isCounted(secret):
		return fmt.Errorf("has bytes that are counted up or down: it needs at least %d random bytes", MinKey)
	case period <= len(secret)/2:
		return fmt.Errorf("repeats its first %d bytes: it needs at least %d random bytes", period, MinKey)
	case distinct(secret) < minDistinct:
		return fmt.Errorf("has only %d different bytes: it needs at least %d random bytes", distinct(secret), MinKey)
	}
	return nil
}

// unset is how many zero bytes there are in a row, at most.
func unset(p []byte) int {
	most, row := 0, 0
	for _, b := range p {
		if row++; b != 0 {
			row = 0
		}
		most = max(most, row)
	}
	return most
}

// isCounted reports whether each byte differs from the one before by the same: an example's 0, 1, 2, …
func isCounted(p []byte) bool {
	step := p[1] - p[0]
	for i := range p[1:] {
		if p[i+1]-p[i] != step {
			return false
		}
	}
	return step != 0
}

// period is after how many bytes p repeats itself.
func period(p []byte) int {
	for n := 1; n < len(p); n++ {
		if bytes.Equal(p[n:], p[:len(p)-n]) {
			return n
		}
	}
	return len(p)
}

func distinct(p []byte) int {
	var seen [256]bool
	n := 0
	for _, b := range p {
		if !seen[b] {
			seen[b] = true
			n++
		}
	}
	return n
}
