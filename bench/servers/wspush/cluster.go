package main

import (
	"github.com/wspush/wspush"
)

// key is what all workers share.
var key = []byte("a key for benchmarks, not random")

// join has a worker share a key with others, and seal its addresses under a public URL.
func join(opts *wspush.WorkerOptions, public string) {
	opts.Cluster = &wspush.Cluster{Keys: [][]byte{key}}
	opts.PublicURL = public
}
