package seal

import (
	"bytes"
	"errors"
	"fmt"
)

const (
	minDistinct = 6 // different bytes in a secret; random ones have more, also as hexadecimal or decimal text
	maxUnset    = 7 // zero bytes at its end
)

// checkSecret refuses what can only be a mistake: whoever guesses a secret has every connection of every worker. Whether a secret is
// random cannot be seen, but chance makes none of these.
func checkSecret(secret []byte) error {
	if len(secret) < MinKey {
		return fmt.Errorf("has %d bytes; it needs at least %d random bytes", len(secret), MinKey)
	}
	set := bytes.TrimRight(secret, "\x00")
	switch unset, period := len(secret)-len(set), period(secret); {
	case len(set) == 0:
		return errors.New("has only zero bytes: was it ever set?")
	case unset > maxUnset: // what copy leaves of a text that is too short
		return fmt.Errorf("ends in %d zero bytes: it needs at least %d random bytes", unset, MinKey)
	case period <= len(secret)/2:
		return fmt.Errorf("repeats its first %d bytes: it needs at least %d random bytes", period, MinKey)
	case distinct(secret) < minDistinct:
		return fmt.Errorf("has only %d different bytes: it needs at least %d random bytes", distinct(secret), MinKey)
	}
	return nil
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
