// Package link is the way from one worker to another: a standing connection over which a worker asks and another one answers.
// It knows frames, keys and deadlines. It knows nothing of clients' connections: the worker that is asked gives it a [Handler].
package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/wspush/wspush/internal/seal"
)

// Peer is another worker.
type Peer struct {
	Address  string // its base URL, as seal.Place.Address has it. A link is found by its address alone
	Instance uint64 // the one that is meant. The other worker's handler decides what a wrong one means; 0 means any
}

// Dial makes a connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Config is what New needs. It holds finished values: nothing in it is defaulted, except Log.
type Config struct {
	Keys     *seal.Keys
	Address  string      // this worker's own base URL: an opening must name it
	Instance uint64      // this worker's
	TLS      *tls.Config // for https addresses; nil: the default
	Dial     Dial        // nil: over the network
	MaxBody  int64       // of a push that is accepted, in bytes; negative: no limit. A larger one is answered with TooLarge and not held
	TooLarge uint8       // the code of that answer
	Handler  Handler

	// Room, if it is not nil, bounds how many bytes of large bodies are held at a time while they come in, by all links and whatever
	// else shares it. A push for which there is none is answered with Full. It does not wait: behind it come answers.
	Room Room
	Full uint8 // the code of that answer

	// Adopt is called for an accepted connection, as hijacked, once it has proved that a worker with the same keys is at its other
	// end. False means that there is no place for it: it is refused. The link calls release when the connection has ended. Nil
	// accepts all.
	Adopt func(net.Conn) (release func(), ok bool)

	// Arrived makes a function that reports whether something has arrived on a connection, as hijacked, that has not been read. It is
	// nil, or returns nil, where that cannot be known: then pushes are started as they come.
	Arrived func(net.Conn) func() bool

	Log *slog.Logger // nil: none
}

// Errors of Push and Ask. The details are in the texts.
var (
	// ErrNotSent means that nothing was written, and nothing will be.
	ErrNotSent = errors.New("nothing was sent")
	// ErrNotWorker is an ErrNotSent: what is at the address did not prove to be a worker with the same keys, or something in
	// between does not let WebSockets through.
	ErrNotWorker = fmt.Errorf("%w: no link can be opened at the address", ErrNotSent)
	// ErrWrongWorker is an ErrNotSent: a worker with the same keys answered, but its own address is another one.
	ErrWrongWorker = fmt.Errorf("%w: the address leads to another worker", ErrNotSent)
	// ErrFull is an ErrNotSent: too many questions to that worker are under way, or it has no place for another link.
	ErrFull = fmt.Errorf("%w: full", ErrNotSent)
	// ErrLost means that it was sent, and there is no answer: the outcome is unknown.
	ErrLost = errors.New("sent, and not answered")
)

// Handler is the side that is asked.
type Handler interface {
	// Push starts the pushes that one batch has completed, in their order. The slice is the link's after Push has returned. Push must
	// not block: the reader of a link calls it. Each Incoming must be answered exactly once, on any goroutine, perhaps before
	// Push returns.
	Push(batch []*Incoming)
	// Ask answers a request, on a goroutine of its own. The context ends with the link, or when the asker gives up; Ask must
	// then return.
	Ask(ctx context.Context, r *Request) *Reply
}

// Room is room in memory. It is safe for concurrent use.
type Room interface {
	Take(bytes int64) bool
	Give(bytes int64)
}

// Request asks about a connection, or whatever else the handler understands by Method and Path.
type Request struct {
	Peer    Peer
	Method  string
	ID      [16]byte
	Path    string // at which the connection must live, unless AnyPath
	AnyPath bool
	Query   string
}

// Reply answers a Request.
type Reply struct {
	Status int
	Header http.Header // a few: at most 8 KiB
	Body   []byte      // at most 4 MiB
}

// Stats counts what there is now.
type Stats struct {
	Opened   int // links that this worker opened
	Accepted int // links that others opened
	Asked    int // questions to others that are under way
	Taken    int // questions of others that are not answered yet
}
