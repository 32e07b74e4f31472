package main

import (
	"errors"

	"github.com/wspush/wspush"
)

// join has a worker share keys with others, and seal its addresses under a public URL.
//
// NOT YET: in place of the error, with a key of 32 bytes that is the same for all,
//
//	opts.Cluster = &wspush.Cluster{Keys: [][]byte{key}}
//	opts.PublicURL = public
//	return nil
func join(opts *wspush.WorkerOptions, public string) error {
	return errors.New("not yet: workers that share keys")
}

// publicURL is a connection's sealed address.
//
// NOT YET: c.PublicURL().
func publicURL(c *wspush.Conn) string { return c.URLs()[0] }
