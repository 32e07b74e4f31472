package main

import (
	"errors"

	"github.com/wspush/wspush"
)

// join has a worker share keys with others, and seal its addresses under a public URL.
//
// NOT YET: fill in the worker's options here (Cluster, with the same key for all, and PublicURL), and return nil.
func join(_ *wspush.WorkerOptions, _ string) error {
	return errors.New("this wspush has no clusters")
}

// publicURL is a connection's sealed address.
//
// NOT YET: c.PublicURL().
func publicURL(c *wspush.Conn) string { return c.URLs()[0] }
