package socket

import "errors"

// content is what a message turns out to be, inflated if it was compressed: checked, and gathered.
type content struct {
	text  bool
	keep  bool  // it is wanted
	limit int64 // in bytes; negative: none

	data  []byte // of what is wanted
	size  int64
	check textCheck
}

// add takes the next bytes of the message, and judges them one by one.
func (c *content) add(p []byte) *Violation {
	over := false
	if room := c.limit - c.size; c.limit >= 0 && int64(len(p)) > room {
		p, over = p[:room], true
	}
	c.size += int64(len(p))
	switch {
	case c.text && !c.check.add(p):
		return notUTF8("a text")
	case over:
		return tooBig(c.limit)
	}
	if c.keep {
		c.data = append(c.data, p...)
	}
	return nil
}

// end judges the message, which is at its end.
func (c *content) end() *Violation {
	if c.text && !c.check.complete() {
		return notUTF8("a text")
	}
	return nil
}

func notUTF8(what string) *Violation {
	return &Violation{codeInvalid, "invalid UTF-8", errors.New(what + " that is not valid UTF-8")}
}
