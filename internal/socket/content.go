package socket

// content gathers what a message contains, inflated if it was compressed, and checks it.
type content struct {
	text  bool
	keep  bool  // somebody wants the data
	limit int64 // in bytes; negative: none

	data  []byte // nil unless keep is set
	size  int64
	check textCheck
}

// add takes the next bytes of the message, and judges them in their order.
func (c *content) add(p []byte) error {
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

// end judges the message once all of it has been added.
func (c *content) end() error {
	if c.text && !c.check.complete() {
		return notUTF8("a text")
	}
	return nil
}
