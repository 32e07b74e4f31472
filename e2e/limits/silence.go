//go:build linux

package main

import (
	"fmt"
	"strings"
	"time"
)

// crowd is more connections than a push listener takes by default.
const crowd = 4200

// silentPublishers opens connections to the push listener that say nothing.
func (s *scene) silentPublishers() error {
	return s.crowdOf(func(*stranger) error { return nil })
}

// idlePublishers opens connections to the push listener that have had one answer, without a credential, and say nothing any more.
func (s *scene) idlePublishers() error {
	return s.crowdOf(func(c *stranger) error {
		if err := c.say([]byte("GET /@ready HTTP/1.1\r\nHost: " + s.victim.Push + "\r\n\r\n")); err != nil {
			return err
		}
		_, err := c.answer()
		return err
	})
}

// slowPublishers opens connections to the push listener that begin a request, and do not come to the end of its header.
func (s *scene) slowPublishers() error {
	return s.crowdOf(func(c *stranger) error {
		return c.say([]byte("POST /ws/@connections/" + nobody + " HTTP/1.1\r\nHost: " + s.victim.Push + "\r\nX-"))
	})
}

// manyFields opens connections to the push listener that begin a header with as many fields as there is room for, which take far more
// memory than they are long.
func (s *scene) manyFields() error {
	var header strings.Builder
	header.WriteString("POST /ws/@connections/" + nobody + " HTTP/1.1\r\nHost: " + s.victim.Push + "\r\n")
	for i := 0; header.Len() < 15<<10; i++ {
		fmt.Fprintf(&header, "%x:\r\n", i)
	}
	return s.crowdOf(func(c *stranger) error { return c.say([]byte(header.String())) })
}

// crowdOf opens more connections to the push listener than it takes. New publishers must get in all the same.
func (s *scene) crowdOf(say func(*stranger) error) error {
	in, err := parallel(crowd, 16, func(int) error {
		c, err := s.dial(s.victim.Push)
		if err != nil {
			return err
		}
		return say(c)
	})
	s.noted = fmt.Sprintf("%d of %d got in at first", in, crowd)
	if in < 2000 {
		return fmt.Errorf("only %d attackers got in: %w", in, err)
	}
	s.hold(5 * time.Second)
	return nil
}
