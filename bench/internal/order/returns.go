package order

import "time"

// Sessions is what a worker says of its sessions.
type Sessions struct {
	Live      int64  `json:"live"`
	Suspended int64  `json:"suspended"`
	Resumed   uint64 `json:"resumed"`
	Taken     uint64 `json:"taken"`
	Moved     uint64 `json:"moved"`
	Bytes     int64  `json:"bytes"` // that have come to its push listener, and gone from there: of links alone
}

// Returns is what came of clients that were cut off, and came back.
type Returns struct {
	Elapsed  time.Duration   `json:"elapsed"`
	CPUs     []time.Duration `json:"cpus"` // of the processes that were named
	P50      time.Duration   `json:"p50"`  // from the handshake until the hello
	P99      time.Duration   `json:"p99"`
	Max      time.Duration   `json:"max"`
	Messages int             `json:"messages"` // that were pushed while they were away, and that all have got
	Bytes    int64           `json:"bytes"`    // over links
	Retries  int             `json:"retries"`  // times that a client was told to come back later
}
