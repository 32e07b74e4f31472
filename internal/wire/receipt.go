package wire

import "time"

// State says how far a message has come.
type State string

const (
	Written  State = "written"  // every byte is written to the client's socket
	Received State = "received" // the client's WebSocket endpoint has read it
)

// Receipt is what a successful push returns.
type Receipt struct {
	// State is Written, or Received for a push that was asked to be confirmed.
	State State
	// RoundTrip is the time from the writing of the message until the client confirmed it; 0 unless State is Received.
	RoundTrip time.Duration
}

// ConfirmWait is how long a confirmed push waits if nobody says how long it may.
const ConfirmWait = 5 * time.Second

// PushOption changes what a push does. The zero value changes nothing.
type PushOption struct{ confirmed bool }

// Confirmed asks for State Received.
func Confirmed() PushOption { return PushOption{confirmed: true} }

// PushOptions are the options of one push, merged.
type PushOptions struct {
	Confirmed bool
}

// Options merges the options of one push. It allocates nothing.
func Options(opts []PushOption) (o PushOptions) {
	for _, opt := range opts {
		o.Confirmed = o.Confirmed || opt.confirmed
	}
	return o
}
