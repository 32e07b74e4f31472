// Package stats holds the figures that a wspush worker counts: what Worker.Stats of package wspush returns. Everything in it is
// a plain value that no later event changes.
package stats

// Snapshot is what a worker has done until now. All fields only ever grow, except Connections, Users, Groups, Memberships, those of Sessions that say "now",
// PendingBytes, PushConns, Directory and Links; and Limits, which stays as it is.
// Module wspush/prometheus turns a Snapshot into metrics.
type Snapshot struct {
	// Connections of clients.
	Connections int               // open now: each can be pushed to
	Accepted    uint64            // ever; a connection that is in neither Connections nor Ended is being greeted or closed
	Handshakes  Handshakes        // refused ones
	Ended       map[string]uint64 // by the text of the wspush.Cause that ended them; it has an entry for every Cause

	Sessions Sessions // of the connections, those that outlive their WebSocket

	// Users and groups, now. Only open connections count, and only those of this worker.
	Users       int64 // names of users with connections
	Groups      int64 // names of groups with connections
	Memberships int64 // of connections in groups: a connection in three of them counts three times

	Directory Directory // now; see WorkerOptions.Cluster

	// Messages and bytes.
	Received      uint64 // messages from clients
	BytesReceived uint64 // from clients, after the handshake: frames of every kind, before TLS
	BytesWritten  uint64 // to clients
	PendingBytes  int64  // of messages waiting for clients that do not read, as WorkerOptions.MaxPendingAll counts and bounds them

	// Pushes by outcome, whichever way they came. A push that is forwarded to another worker is counted there.
	Written   uint64   // every byte written to the socket
	Confirmed uint64   // those of Written whose client was asked for a confirmation, and gave it
	Refused   uint64   // nothing written
	RefusedBy Refusals // Refused, by reason
	Buffered  uint64   // in the hands of a session whose client was away, or left before it had all of the message
	Unknown   uint64   // possibly written, in part or in full

	// Pushes to a user or a group, each counted once, unless nothing could be tried. Those above count each of its connections. If none is
	// found, they count the push once: as gone, or, where there may be others, as refused for the directory.
	UserPushes  uint64
	GroupPushes uint64

	// PushLatency is the time from handing a message to its connection until its last byte is written to the socket.
	// RoundTrip is the time from writing a ping until its pong.
	PushLatency Histogram
	RoundTrip   Histogram
	Pings       uint64 // written
	Pongs       uint64 // that answered a ping

	// The push endpoint.
	PushConns          int64          // connections of publishers to the push listener, now
	PushConnsRefused   uint64         // those beyond WorkerOptions.MaxPushConns, while none of the others rested
	PushConnsDisplaced uint64         // those that rested, and were closed because others needed their place
	Problems           map[int]uint64 // requests answered with an error, by status; a status that never occurred has no entry

	// Requests for connections of other workers, and pushes and Disconnects in-process; see WorkerOptions.Cluster.
	Forwarded      uint64   // all of them
	ForwardsFailed Forwards // those that got no answer
	Links          Links    // now

	Limits Limits
}

// Limits are those that the worker runs with: its options, with the defaults filled in. -1 is no limit.
type Limits struct {
	MaxConns        int64 // what Connections may come to
	MaxPushConns    int64 // what PushConns may come to; -1 without a push listener
	MaxPending      int64 // bytes that may wait for one client
	MaxPendingAll   int64 // what PendingBytes may come to
	MaxPushBytes    int64 // bytes of one message
	MaxPushBytesAll int64 // bytes of pushes by HTTP that may be held while they come in
	MaxGroups       int64 // groups that one connection may be in
	MaxAsked        int64 // what Links.Asked may come to for each other worker, without the lines of bulk requests; no option sets it
}

// Sessions are the connections that outlive their WebSocket: see HandlerOptions.ResumeWindow.
type Sessions struct {
	Live      int64 // now; they are among Connections
	Suspended int64 // now: those of them that wait for their client

	// What sessions have accepted and do not know to have been received, now: messages, and their bytes. Data that several sessions have counts for
	// each of them. PendingBytes has all of it but what is only kept for a page that may come back without it.
	Buffered      int64
	BufferedBytes int64

	Resumes     Resumes
	Loaded      uint64 // sessions that the worker has found in its session file
	Taken       uint64 // sessions that the worker has taken from others
	TakesFailed uint64 // attempts to do so that have come to nothing: the other worker, or the directory, could not be reached
	Moved       uint64 // sessions that others have taken from this worker
	Replaced    uint64 // WebSockets by newer ones of their clients, while nobody had noticed that they were gone
	Unconfirmed uint64 // messages that a client was not known to have when its session ended
}

// Resumes counts clients that wanted their session back, by what they got.
type Resumes struct {
	Resumed     uint64 // their session, with all that they had missed
	Incomplete  uint64 // their session, without some messages, and were told how many
	Expired     uint64 // a new one, since they were away for too long
	Unknown     uint64 // a new one, since nobody knew theirs: its end is long ago, or its worker was killed
	Unreachable uint64 // a new one, since the worker that has theirs could not be reached
	Ended       uint64 // the end of their session, with its code
	Refused     uint64 // nothing, by HandlerOptions.Accept or User, or during a Shutdown
	Ahead       uint64 // nothing, since they said that they had more messages than were sent
}

// Directory is a worker's part in the Cluster's Directory, or among its Peers, now. It is zero without them, and with Peers
// it has nothing but Failing.
type Directory struct {
	// Failing says that calls of the Directory, or of Peers, fail. Peers is called only when somebody is pushed to by name: Failing then
	// is about the last call, or false if that was more than a minute ago.
	Failing bool

	Pending  int // users and groups of this worker about which the directory has not been told yet, or is told anew, as every 8 hours
	Workers  int // other workers that have a lease
	Vanished int // others that had one, have not left in order, and may still live: they are in doubt for 2½ minutes
}

// Links counts the links between this worker and the others, and the questions on them, now. A question is a push, or another request, for
// connections of the worker that is asked.
type Links struct {
	Opened   int // by this worker
	Accepted int // opened by others
	Asked    int // questions to other workers that they have not answered
	Taken    int // questions of other workers that this one has not answered
}

// Forwards counts pushes and requests to other workers that got no answer, by reason.
type Forwards struct {
	Full        uint64 // too many pushes were on their way to the other worker, or it did not take the line of a bulk request in time
	Unreachable uint64 // the other worker could not be reached: nothing was written
	Lost        uint64 // the other worker was reached but did not answer; only it knows the outcome, and counts it
}

// Handshakes counts handshakes that were refused, by reason.
type Handshakes struct {
	Full      uint64 // WorkerOptions.MaxConns was reached
	Shutdown  uint64 // Shutdown had begun
	Accept    uint64 // HandlerOptions.Accept returned an error, or panicked
	Origin    uint64 // the page's origin may not connect
	Malformed uint64 // a GET request that was no handshake, or a broken one
	Failed    uint64 // the server could not hand the connection over, often because of a middleware
}

// Refusals counts pushes that were refused, by reason: nothing was written.
type Refusals struct {
	Gone        uint64 // ErrGone
	Busy        uint64 // ErrBusy
	Withdrawn   uint64 // the publisher left, or its time ran out, before the message was begun
	Suspended   uint64 // the client was away, and the push was not to wait for it
	TooLarge    uint64 // ErrTooLarge
	InvalidUTF8 uint64 // ErrInvalidUTF8
	Shutdown    uint64 // ErrShutdown
	Directory   uint64 // ErrDirectory: a push to a user or a group, of which it could not be known who is there
	Other       uint64 // anything else, such as ErrInvalidID, or ErrForbidden for a sealed ID that no key opens
}
