package wire

import "time"

// State says how far a message has come.
type State string

const (
	Written  State = "written"  // every byte is written to the client's socket
	Received State = "received" // the client's WebSocket endpoint has read it
	Buffered State = "buffered" // its session has it, and the client gets it first thing when it is back
)

// Receipt is what a successful push returns.
type Receipt struct {
	// State is Written, or Received for a push that was asked to be confirmed.
	State State
	// RoundTrip is the time from the writing of the message until the client confirmed it; 0 unless State is Received.
	RoundTrip time.Duration
	// BufferedFor is how long the session waits for its client from now on; 0 unless State is Buffered.
	BufferedFor time.Duration
}

// ConfirmWait is how long a confirmed push waits if nobody says how long it may.
const ConfirmWait = 5 * time.Second

// PushOption changes what a push does. The zero value changes nothing.
type PushOption struct {
	confirmed bool
	keep      Keep
}

// Confirmed asks for State Received.
func Confirmed() PushOption { return PushOption{confirmed: true} }

// Keep says how long a push waits for a client whose session is suspended. The zero value does not say: it is then buffered.
type Keep struct {
	Asked bool
	For   time.Duration // 0: not at all
}

// KeepFor asks for ErrSuspended if the client is not there within d.
func KeepFor(d time.Duration) PushOption { return PushOption{keep: Keep{Asked: true, For: max(d, 0)}} }

// PushOptions are the options of one push, merged.
type PushOptions struct {
	Confirmed bool
	Keep      Keep   // of the last option that says
	Mark      uint64 // by which a connection recognises a repetition of a push to a user or a group; 0: none
}

// Options merges the options of one push. It allocates nothing.
func Options(opts []PushOption) (o PushOptions) {
	for _, opt := range opts {
		o.Confirmed = o.Confirmed || opt.confirmed
		if opt.keep.Asked {
			o.Keep = opt.keep
		}
	}
	return o
}
