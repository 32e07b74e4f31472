// Package order is what the benchmark and its load generator say to each other: one Order per line of the generator's
// standard input, and for each of them one Report on its standard output, both JSON.
package order

import "time"

// What an Order asks for.
const (
	Connect = "connect" // open N connections more, and keep them
	Storm   = "storm"   // open N connections and close each of them after its greeting
	Push    = "push"    // POST messages to connections, and watch them arrive
	Bulk    = "bulk"    // push many messages in each request, and watch them arrive
	Count   = "count"   // tell what has arrived
	Stall   = "stall"   // keep N connections that never read, POST messages to them, and close them in the end
)

// Size is the length of a message in bytes, unless the Order has one.
const Size = 100

// Forms of Bulk: how servers take many messages.
const (
	Lines    = "lines"    // one request without an end: a line of JSON for each message, and for each push one in the answer
	Requests = "requests" // a POST for each message, one after the other on the same connection, without waiting
)

// Order is one thing for the generator to do; what it does not name does not matter to it.
type Order struct {
	Do string `json:"do"`

	// Connect, Storm and Stall.
	Addr string `json:"addr,omitempty"` // host:port of the server
	Path string `json:"path,omitempty"` // of the WebSocket; %d stands for the number of the client
	Push string `json:"push,omitempty"` // where to push to a client, if the server does not greet it with that; with %d. Also of a Push: elsewhere
	N    int    `json:"n,omitempty"`

	// Push, Bulk and Stall.
	Publishers int           `json:"publishers,omitempty"`
	Rate       float64       `json:"rate,omitempty"` // pushes per second; 0: each publisher pushes again as soon as it is answered
	Warm       time.Duration `json:"warm,omitempty"` // comes before For, and is not measured; Stall connects in it
	For        time.Duration `json:"for,omitempty"`

	// Push and Bulk.
	At      string `json:"at,omitempty"`      // host:port to push at, whatever the addresses say; empty: what they say
	Clients int    `json:"clients,omitempty"` // push to the first so many; 0: to all
	PIDs    []int  `json:"pids,omitempty"`    // the server's processes, whose CPU time is measured

	// Bulk. A push is a message to one target.
	Form    string `json:"form,omitempty"`    // how the server takes many: see the forms
	Targets int    `json:"targets,omitempty"` // of each message; 0: one
	Batch   int    `json:"batch,omitempty"`   // messages that are sent in one go, and in one request if the form has requests
	Window  int    `json:"window,omitempty"`  // pushes of each publisher that may be under way

	// Push and Stall.
	Size int `json:"size,omitempty"` // of a message, in bytes; 0: Size

	// Stall.
	Reads bool   `json:"reads,omitempty"` // the clients do read, to compare with
	Query string `json:"query,omitempty"` // of every push

	// Count.
	Reset bool `json:"reset,omitempty"` // begin to count anew afterwards
}

// Report is what came of an order.
type Report struct {
	Error string `json:"error,omitempty"`

	URL    string `json:"url,omitempty"` // where to push to the first client
	Closed int    `json:"closed"`        // how many connections have ended that should not have
	Why    string `json:"why,omitempty"` // the first of them

	// Push and Bulk; the pushes and the CPU are those within For, the messages all that there were.
	Pushes   int             `json:"pushes,omitempty"` // that were answered; in Bulk, that arrived
	Elapsed  time.Duration   `json:"elapsed,omitempty"`
	CPU      time.Duration   `json:"cpu,omitempty"`
	CPUs     []time.Duration `json:"cpus,omitempty"` // of each of the PIDs
	P50      time.Duration   `json:"p50,omitempty"`  // from the publisher to the client
	P99      time.Duration   `json:"p99,omitempty"`
	Samples  int             `json:"samples,omitempty"`
	Refused  map[int]int     `json:"refused,omitempty"` // answers other than 2xx, by status
	Refusal  string          `json:"refusal,omitempty"` // the first of them, if it says why
	Accepted int             `json:"accepted,omitempty"`
	Received int             `json:"received,omitempty"`
	Twice    int             `json:"twice,omitempty"` // messages that came a second time
	Stray    int             `json:"stray,omitempty"` // messages that came to another client

	// Stall.
	Answers map[int]int `json:"answers,omitempty"` // to pushes, by status
	Late    int         `json:"late,omitempty"`    // pushes that were left out, since every publisher waited
	Cut     int         `json:"cut,omitempty"`     // connections that the server has ended

	// Count.
	Messages int `json:"messages,omitempty"` // that came to any client, without greetings
	First    int `json:"first,omitempty"`    // that came to the first client
	Pings    int `json:"pings,omitempty"`
	MinPings int `json:"minPings,omitempty"` // of one client
	MaxPings int `json:"maxPings,omitempty"`
}
