package wspush

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wspush/wspush/internal/session"
	"github.com/wspush/wspush/internal/wire"
)

// The defaults of HandlerOptions and WorkerOptions.
const (
	defaultPingInterval  = 5 * time.Minute
	defaultIdleTimeout   = 6 * time.Minute
	defaultReadLimit     = 64 << 10
	defaultReadTimeout   = time.Minute
	defaultListen        = "127.0.0.1:0"
	defaultMaxPushBytes  = 1 << 20
	defaultMaxPushAll    = 64 << 20
	defaultMaxPending    = 1 << 20
	defaultSendBuffer    = 256 << 10
	defaultWriteTimeout  = 10 * time.Second
	defaultPushTimeout   = 30 * time.Second
	defaultMaxPendingAll = 256 << 20
	defaultMaxPushConns  = 1024
	defaultMaxGroups     = 1000
	defaultShutdownCode  = codeServiceRestart

	defaultMaxUnconfirmed = 256 << 10
)

// HandlerOptions are the settings of one Handler: one mount on the application's mux. The zero value of each field, and a nil
// *HandlerOptions, mean the default. [NewHandler] copies and checks them once; changing them later has no effect.
type HandlerOptions struct {
	// PingInterval is how long nothing may be sent or received before the client is sent a ping. As long as the silence lasts,
	// another ping follows after each further PingInterval. Any byte from the client, or any message to it, ends the silence;
	// a ping does not.
	//
	// The default is 5 minutes, or 5/6 of IdleTimeout if that is shorter. Negative means no pings except those that confirm
	// pushes; a client that vanishes while it is being pushed to is then not detected. PingInterval must be less than
	// IdleTimeout.
	//
	// Proxies and load balancers drop silent connections, many of them after 60 s. Behind one, choose less, such as 25 s.
	PingInterval time.Duration

	// IdleTimeout is how long nothing may be sent or received before the connection is closed with 1001 "idle timeout". A
	// client that answers pings is never silent for that long.
	//
	// Sending alone does not keep a connection open. When messages were sent but nothing was received for IdleTimeout, the
	// client is pinged; after twice IdleTimeout the connection is closed with 1001 "no answer". Time during which a callback
	// keeps the connection from being read does not count towards that. It does count as silence if nothing is sent, so a
	// callback should not take as long as IdleTimeout.
	//
	// The default is 6 minutes, or 6/5 of PingInterval if that is longer. Negative means that connections are never closed
	// for either reason.
	IdleTimeout time.Duration

	// Accept decides who may connect. ServeHTTP calls it for each correct handshake, so it runs behind the application's
	// middleware, and before the connection is upgraded. Conn.Value returns the value that it returns. An error refuses the
	// handshake: ErrUnauthorized with 401, ErrForbidden with 403, and ErrUnavailable, like any other error, with 503 and
	// Retry-After. The client never sees the error. It is logged at Debug, or at Warn if it is none of the three, because Accept
	// then failed to decide. Accept must not keep the request. A string that was cut out of it, such as a parameter of the query, keeps
	// all of the URL in memory: strings.Clone does not.
	//
	// By default every client whose Origin is allowed may connect.
	Accept func(r *http.Request) (value any, err error)

	// User says whose connection it will be, so that [Worker.User] reaches it. It is called with the request of the handshake and the
	// value that Accept returned, once Accept has let the client in; what holds for Accept's request and strings holds here, but that
	// the name is copied. "" is nobody. A name is UTF-8 of 1 to 256 bytes without control characters and "/", compared as bytes. Any
	// other refuses the handshake with 503 and Retry-After, and is logged at Warn, as if Accept had failed to decide. Names are the
	// same for all Handlers, and for all workers of a Cluster: an application with two kinds of users puts the kind into the name. By
	// default every client is nobody.
	User func(r *http.Request, value any) string

	// Expires says when the client's login expires, such as the time in a token. It is called as User is, and before it. When the time
	// comes, the connection is closed with 3000 "expired" (IANA's "unauthorized"), as Conn.Close does it. A time that has come already
	// refuses the handshake with 401. The zero time, and what is after the year 2262, is never. A client whose login has been
	// renewed connects anew: the time stays as it is for the life of the connection. A session whose time has come is suspended: see ResumeWindow. The
	// client is asked for a login that is good when it comes back, and the new time is that of its new WebSocket.
	//
	// The time is kept to, without jitter: a client that was closed earlier would come back with the same login, to be closed again. Logins that
	// would all expire in the same second should differ. The system's clock decides, also when it has been set, or the machine has slept: the
	// connection is then closed after at most PingInterval, or 5 minutes if that is shorter.
	//
	// By default no login expires.
	Expires func(r *http.Request, value any) time.Time

	// MaxAge is how old a connection may become before it is closed with 3000 "expired", as Conn.Close does it: what Accept has decided holds for that
	// long, and it decides again when the client comes back. Each connection has an age of its own, between four fifths of MaxAge
	// and MaxAge, so that clients who came together do not come back together. It is how long the connection has lasted while the machine was
	// awake, whatever the clock says. Expires can end it sooner. In a session it is the age of each WebSocket, at which the session is suspended.
	//
	// The default, and anything negative, is no limit.
	MaxAge time.Duration

	// Groups returns the groups that a connection is in from the start; Conn.Join and Conn.Leave change them later. It is called as
	// Greeting is, and before it. A group has a name by the rules of User. A wrong one, or more than WorkerOptions.MaxGroups, is
	// logged, and the connection is closed with 1011. By default there are none.
	Groups func(c *Conn) []string

	// Greeting makes the first message to a client. It runs on one of the connection's own goroutines, before anyone can push
	// to the connection: until it returns, every push, also one by the ID that it may have handed on, gets ErrBusy. Nothing can
	// overtake the greeting. If Greeting returns no bytes, there is none. WorkerOptions.MaxPushBytes and MaxPending do not
	// bound it. A Text greeting that is not valid UTF-8, or one of any other type than Text and Binary, is logged, and the
	// connection is closed with 1011.
	//
	// The default is a text message with Conn.Addresses, separated by commas, or with Conn.SealedAddress if
	// WorkerOptions.PublicURL is set. A client that offers wspush.v1 gets the same in its hello, which is no message; where Greeting is set, the
	// hello has no address, and what Greeting returns is the first message of a new session.
	Greeting func(c *Conn) (MessageType, []byte)

	// OnConnect is called once, when the connection can be pushed to and its greeting is first in line. OnMessage is called with each whole
	// message from the client, and may keep the data. OnDisconnect is called once, with the reason, when the connection has ended and
	// nobody can push to it any more. OnConnect is called before OnDisconnect even if the connection ends before anyone could push to it.
	// At a worker to which a session has come from another one, or from before a restart, OnConnect is not called for it: see Conn.Resumed.
	//
	// They run one after the other on the connection's own goroutines, not always on the same one. No lock is held, and they
	// may call anything but Worker.Shutdown. While one of them runs, the connection is not read, so the client's next message
	// waits. A panic is logged, and ends the connection with 1011.
	//
	// Without OnMessage, messages from the client are read and dropped.
	OnConnect    func(c *Conn)
	OnMessage    func(c *Conn, typ MessageType, data []byte)
	OnDisconnect func(c *Conn, reason error) // reason is a *CloseError

	// OriginPatterns are the foreign origins whose pages may connect: patterns for path.Match, matched against the host
	// ("*.example.com", "localhost:*"), or against scheme and host if they contain "://". Letter case is ignored, and the
	// scheme's own port makes no difference. An IPv6 address in brackets ("[fd00::5]:*") means itself: these are not the brackets
	// of path.Match. NewHandler refuses what no origin can match, and says what to write instead.
	//
	// By default a page may connect only to the host that it came from. A browser sends its cookies along whatever page
	// connects, so each pattern lets the pages that it matches act as their visitor; "*" lets every page on the web do so.
	// Clients that send no Origin are not browsers, and are not affected.
	OriginPatterns []string

	// Subprotocols are the subprotocols that the server speaks, in order of preference (RFC 6455 section 1.9). Letter case
	// matters. A client that offers none of them is connected without one. The default is none.
	Subprotocols []string

	// ReadLimit is the size in bytes of the longest message that a client may send. A longer one closes the connection with
	// 1009 as soon as a frame's header announces it. The default is 64 KiB. Negative means no limit: any client can then make
	// the process use any amount of memory.
	//
	// On the wire, with the headers of its frames and with what the client sends between them, a message may take eight times
	// ReadLimit and 1 KiB; pongs that answer a ping do not count. More than that closes the connection with 1009, too: what
	// inflates to nothing, and frames with nothing in them, could otherwise come without end.
	ReadLimit int64

	// ReadTimeout is how long a client may take to send one message, from when its first bytes have come in without the rest
	// until the last byte. A client that takes longer is closed with 1008 "message too slow", whatever else it sends meanwhile;
	// half a message costs memory. The time between messages does not count: IdleTimeout is about that. The default is 1 minute,
	// in which a message of the default ReadLimit takes 9 kbit/s; choose more with a large ReadLimit. Negative means no limit.
	ReadTimeout time.Duration

	// ResumeWindow is how long a session waits for its client. A client that offers the subprotocol wspush.v1 then gets a session: a connection
	// that outlives its WebSocket. When that ends in any way that does not mean the end, the connection is suspended. It keeps its ID and
	// addresses, its user and groups; it is still among Worker.Conns, and counts in MaxConns. What is pushed to it is buffered, as far as MaxPending
	// and MaxPendingAll let it, and the client gets it, exactly once and in order, when it comes back with its ticket, by another WebSocket. If
	// it does not come back in time, the connection ends, with CauseAway.
	//
	// Each time, Accept and Expires are asked again, and User must name the same user. Conn.Value and Info are then about the new
	// WebSocket. With WorkerOptions.Cluster the client may come back to any worker that has a Handler with the same Name at the same path:
	// see Conn.Resumed. A close frame of the client with 1000, without a code, or with 3000 to 4999 ends the connection, save for 3901, "I
	// shall be back"; so do a violation, a panic in a callback, Conn.Close, and Worker.Shutdown if neither another worker nor a SessionFile
	// takes it. If MaxPendingAll is full when a client connects, it gets no session.
	//
	// For clients that do not offer wspush.v1 it changes nothing. The default, and anything negative, is no sessions.
	ResumeWindow time.Duration

	// MaxUnconfirmed bounds how many bytes of a session's messages may be written and not be confirmed by the client's endpoint, counted as for
	// MaxPending. While that is reached, other messages wait; one message of any size is always written. All of it counts in MaxPendingAll. It
	// bounds what is sent in each round trip, so a client on a fast path that is long gets more with a larger one. The default is 256 KiB.
	// Negative means no limit.
	MaxUnconfirmed int

	// OnSuspend is called when a session's WebSocket has ended and the client is not back yet, with the reason, a *CloseError; OnResume when it is
	// back after that. They are called in turns: after OnSuspend comes OnResume, or the end, for which only OnDisconnect is called. For a client that
	// comes back before OnSuspend could be called, or that replaces its WebSocket by a newer one, neither is called. They run as the other callbacks do,
	// one after the other with these.
	OnSuspend func(c *Conn, reason error)
	OnResume  func(c *Conn)

	// Name is by which sessions find their Handler at another worker of the Cluster, or again after a restart: see
	// WorkerOptions.SessionFile. It must be the same at all of them. Where several Handlers of a Worker have a ResumeWindow, each needs a
	// name of its own: NewHandler fails without if there is a SessionFile, and otherwise Shutdown hands no sessions of theirs to other
	// workers. The default is "".
	Name string

	// SaveValue and LoadValue carry Conn.Value along when Shutdown hands sessions to other workers, or leaves them in
	// WorkerOptions.SessionFile. SaveValue makes bytes of Conn.Value, and LoadValue a value of those bytes, which it may keep: Value until
	// the client is back and Accept is asked anew. Shutdown calls the one for one session after the other, and NewHandler, or the worker
	// that gets sessions, the other, which may be called from several goroutines at once; a callback that has not returned by then may
	// still use the value. When Shutdown's context has ended, SaveValue has a second left for all of them. An error, or a panic, is logged,
	// and Value is then nil, as it is without them. Either requires the other.
	SaveValue func(value any) ([]byte, error)
	LoadValue func(data []byte) (any, error)

	// Compression lets clients negotiate permessage-deflate without context takeover (RFC 7692). Messages of 512 bytes or more
	// are then compressed, each by itself, if that makes them shorter and the client has room for them; PushEach compresses a
	// message once for all its clients. It costs time and memory that short messages seldom repay. A message must not
	// contain both a secret and text that an attacker chooses. ReadLimit applies to the inflated message. The default is off.
	Compression bool
}

// WorkerOptions are the settings of one Worker. The zero value of each field, and a nil *WorkerOptions, mean the default.
// [NewWorker] copies and checks them once; changing them later has no effect.
type WorkerOptions struct {
	// Listen is the TCP address of the push listener, as for net.Listen; with port 0 the system chooses one. The default is
	// "127.0.0.1:0". A wildcard opens the push endpoint to every network that the machine is connected to: "0.0.0.0:0" for
	// IPv4, "[::]:0" for IPv6, ":0" for both. Anyone there who knows the ID of a connection can then push to it; see
	// AuthorizePush and TLS.
	Listen string

	// Listener is used instead of Listen. The Worker closes it. Its Accept may return any error, and is called again, unless that is
	// net.ErrClosed (see [Worker.Failed]). If it is not a TCP listener, Advertise is required. Set
	// Advertise as well if the listener serves TLS by itself, because the default addresses would say http.
	Listener net.Listener

	// NoListen means that there is no push listener: the application mounts the Worker on a server of its own. Advertise
	// is then required, and Listen, Listener and TLS must not be set.
	NoListen bool

	// Advertise lists where publishers reach the push endpoint, if that differs from what the listener is bound to
	// (NAT, containers, a proxy). Each element is a host ("10.0.0.5", "::1", "push.internal"), which gets the listener's port;
	// a host and a port ("10.0.0.5:8443", "[fd00::5]:8443"); or a base URL ("https://push.example.com/workers/3"), which is
	// used as it is. Each connection has one address for each element. NewWorker refuses what package publisher would not push to:
	// more than 16 elements, IP addresses that cannot be connected to, paths with dot segments.
	//
	// The default is the address of the listener. For a wildcard it is each address of the machine, looked up once at the
	// start, that is neither loopback nor link-local, or loopback if there is none. If there are more than 16, NewWorker warns, and
	// leaves out the others.
	Advertise []string

	// TLS makes the push listener serve TLS, with HTTP/2; addresses are then https. It needs a certificate, or
	// GetCertificate. By default there is no TLS: anyone who can read the network between publisher and worker can read the
	// pushes and the IDs in them.
	TLS *tls.Config

	// AuthorizePush is called for every GET, HEAD, POST, PUT and DELETE at the push endpoint, before the body is read, and
	// before it is known whether the connection exists. In a bulk request it is also called once for each user and each group
	// that a line names, with the request that a push to it would be by itself. TargetOf says whom a request is about. An error refuses the request: ErrUnauthorized with 401, ErrForbidden
	// with 403, and ErrUnavailable, like any other error, with 503 and Retry-After. The publisher never sees the error. It is
	// logged at Debug, or at Warn if it is none of the three, because AuthorizePush then failed to decide. It may be called from
	// many goroutines at once. It is not called for in-process pushes. An ID in the request may be in any letter case.
	//
	// By default, anyone who knows the ID of a connection may push to it, and nobody to users and groups, whose names can be
	// guessed: requests that name one are refused with 403.
	AuthorizePush func(r *http.Request) error

	// Cluster lets publishers push through any worker that has the same keys. A sealed ID (Conn.SealedID), which seals the
	// worker's address and the connection's ID, can then be used wherever an ID can. A worker that gets a request for a
	// connection of another worker forwards it there, once, and passes the answer back. Only the first of the two calls
	// AuthorizePush. By default there is no cluster: sealed IDs are refused with 421, and users and groups are those of this worker.
	// With a cluster, Cluster.Directory or Cluster.Peers makes them those of all its workers.
	//
	// In a cluster, sessions follow their clients: the worker to which one comes back takes its session over from the one that has it, and what is
	// pushed to the former addresses is forwarded. Shutdown, and addresses whose worker has ended, need a Directory for that which implements
	// directory.Owners: see [Worker.Shutdown].
	//
	// Forwarded pushes and requests share one link to each other worker. At most 1024 of them, apart from the lines of bulk
	// requests, are on their way to one worker at a time; more are refused with 503. Opening a link takes at most 3 s. A worker waits
	// for the answer to a push for 5 s longer than the push may wait, and gives a worker up that has been silent for 5 s.
	Cluster *Cluster

	// PublicURL is where publishers reach the push endpoint of any worker of the Cluster, which it requires. Most often it is
	// the URL of a load balancer, such as "https://push.example.com", that passes requests on to the workers' push endpoints
	// without changing their path. The default greeting is then Conn.SealedAddress alone, which reveals nothing about the workers'
	// own addresses. The default is none.
	PublicURL string

	// PushOrigins are the foreign origins whose pages may push, each as a browser names it: "https://admin.example.com",
	// with a port unless it is the default one of the scheme. These pages may send any headers, and read the answers (CORS).
	//
	// By default a POST or DELETE that a browser sends for a page of another origin is refused with 403, so that no page can
	// push by accident. Programs other than browsers send no Origin, and are not affected.
	PushOrigins []string

	// MaxPushBytes is the size in bytes of the longest message that may be pushed, by HTTP or in-process. A longer one gets
	// ErrTooLarge. The default is 1 MiB. Negative means no limit: any publisher can then make the process use any amount
	// of memory.
	MaxPushBytes int64

	// MaxPushBytesAll bounds how many bytes of pushes by HTTP may be held at a time while they come in, through this worker or from
	// others of its Cluster, bulk requests included. Each counts for what has come of it so far, rounded up to the size of its buffer,
	// and for nothing as long as that is at most 4 KiB. One that finds no room waits for 5 s, and is then refused with 503. Meanwhile
	// bodies that have been coming in for more than 1 s are refused to make room, the oldest first. One message of any size
	// is taken beyond the bound, so that there is always progress. It does not apply to in-process pushes, nor to messages that have
	// come in and wait for their clients: see MaxPendingAll.
	// Once more as much bounds what bulk requests hold together, beyond 64 KiB each: pushes that have no outcome yet, and answers that
	// their publishers have not read. A request that finds no room reads no lines until there is some.
	// The default is 64 MiB. Negative means no limit but MaxPushConns times MaxPushBytes.
	MaxPushBytesAll int64

	// MaxPending bounds how many bytes may wait for one client that does not read fast enough. Each message counts for its
	// size, once compressed if it is, plus 512 bytes for what the process keeps about it. A push that does not fit gets ErrBusy,
	// but while nothing waits for the client a message of any size is taken, as far as MaxPendingAll lets it. The default is 1 MiB.
	// Negative means no limit: a client that does not read can then use any amount of memory.
	MaxPending int

	// MaxPendingAll bounds how many bytes may wait for all clients together. They are counted as for MaxPending, but the data of a
	// message to several clients, of PushEach, PushEachID or a line of a bulk request, counts once, as it is held once. What does
	// not fit gets ErrBusy. Only messages of up to 4 KiB are taken in any case for a client for which nothing waits, as one that reads
	// takes them at once. So all that waits takes at most MaxPendingAll, and 4.5 KiB for each connection. Greetings count, but are not
	// refused. While nothing waits for anybody, a message of any size is taken. The default is 256 MiB. Negative means no limit.
	MaxPendingAll int64

	// SendBuffer is the size in bytes of the system's send buffer for each client's connection (SO_SNDBUF): how much the system
	// takes for a client before messages have to wait. It counts in neither MaxPending nor the process's own memory, but it is
	// memory of the machine, and of its container. Linux takes twice as much as it is told, for its own bookkeeping, and at most
	// twice net.core.wmem_max, which by default allows 208 KiB. A client on a path with a long round trip gets at most about
	// SendBuffer in each of them, and a message that is larger than that waits for the client more often.
	//
	// The default is 256 KiB. Negative leaves it to the system: Linux then takes up to the third number of
	// net.ipv4.tcp_wmem, by default 4 MiB, for each client that stops to read.
	SendBuffer int

	// MaxConns bounds how many clients may be connected through the worker's Handlers, including those whose connection is
	// just ending. Beyond it, handshakes are refused with 503 and Retry-After. The default, and anything negative, is no limit
	// but the system's: a process that has run out of descriptors can accept neither clients nor publishers.
	MaxConns int

	// MaxPushConns bounds how many connections the push listener may have at a time, so that publishers cannot use up the
	// descriptors that clients need. One more closes the one that has rested for the longest time: between two requests, or
	// without having sent the first one's header. Connections of publishers that AuthorizePush has let in, or that have named
	// a connection that there is, count as having rested for 10 s less than others, which a crowd of strangers can open in a
	// moment. No connection is closed in the middle of a request. If none rests, the new one is answered with 503 and
	// Retry-After, and closed; with HTTP/2, or if many others are being refused, it is just closed. The links of other workers
	// always get in. The default is 1024. Negative means no limit. A connection of HTTP/2 may have 100 requests at a time, and
	// all of them together as many as there may be connections, or 100; more are answered with 503.
	MaxPushConns int

	// MaxGroups bounds how many groups one connection may be in. One more is refused with ErrTooManyGroups, or 409. Each takes
	// about 150 bytes beside its name, which all its members share. The default is 1000. Negative means no limit.
	MaxGroups int

	// WriteTimeout is how long a client may take for each 16 KiB of a message. A client that takes longer is cut off. The
	// default is 10 s. Negative means no limit: only its silence then reveals a client that does not read.
	WriteTimeout time.Duration

	// PushTimeout is how long a push by HTTP waits to be written. After that it is withdrawn (429) or, if its writing has
	// begun, given up as unknown (504). The default is 30 s. Negative means no limit. It does not apply to in-process
	// pushes, which are bounded by their context, nor to confirmed pushes by HTTP, which wait for 5 s, or for the timeout that
	// they ask for, at most 30 s.
	PushTimeout time.Duration

	// SessionFile is the path of a file in which Shutdown leaves the sessions to the worker that is started next, with the same SessionFile, so that
	// a restart loses nothing: what has been accepted for their clients, tickets, users and groups, what is left of ResumeWindow, and that which makes
	// their addresses and sealed IDs stay good. Where Listen leaves the port to the system, the next worker listens on the same port. Sessions
	// go on when NewHandler is called with the Name of their Handler, and can be pushed to before that. Time without a worker does not count: a
	// client has as much of ResumeWindow left as when Shutdown began.
	//
	// The file is written once, by Shutdown, when every publisher has its answer, even if its context has ended; only its owner can read it. It
	// holds what has been pushed, and the tickets. NewWorker removes it before it serves anybody, so that nothing is sent twice, and fails if
	// it is damaged, or cannot be written or removed. So Shutdown must be called also if the start fails after NewWorker. If the sessions cannot
	// be written, Shutdown logs and returns the error, and OnDisconnect gets what is Unconfirmed; otherwise it gets CauseMoved, and nothing is.
	//
	// In a Cluster, sessions that other workers have not taken during Shutdown are written, and none are handed over.
	//
	// The next worker must be started when this one has ended, on the same machine or with the same disk; while it has not, NewWorker
	// fails, except on Windows and Solaris: a file beside it, with the suffix .lock, is locked, and stays. A worker that is killed writes
	// nothing. The default is no file: Shutdown hands the sessions to other workers of the Cluster, or ends them.
	SessionFile string

	// DrainOver is the time over which Shutdown closes connections, evenly spread, so that not all clients reconnect in the
	// same second. If the deadline of Shutdown's context comes too early for that, Shutdown closes them faster, so that the
	// last one still has 3 s; if there are sessions that other workers may take, 10 s within two thirds of the time, or half of that. The
	// default, and anything negative, is no time: all are closed at once.
	DrainOver time.Duration

	// ShutdownCode is the close code with which Shutdown closes connections, one of those that Conn.Close takes. The default
	// is 1012, which tells a client that the service restarts. Every client understands 1001 (going away), but WebKitGTK, Qt,
	// libwebsockets, faye, gobwas and nbio do not know 1012 and 1013, and report 1002 or 1006 instead. The connection ends all
	// the same. The reason is "service restart" for 1012, and "shutting down" for any other code.
	ShutdownCode int

	// Logger gets one record per event. Ordinary events are logged at Debug, and name a connection by the first 8 digits of
	// its ID. The handler must not block: Shutdown waits for it. The default is what slog.Default() returns in NewWorker, from
	// Warn upwards.
	Logger *slog.Logger
}

// withDefaults returns a checked copy in which every value is final.
func (o *HandlerOptions) withDefaults() (HandlerOptions, error) {
	var c HandlerOptions
	if o != nil {
		c = *o
	}
	c.MaxAge = max(c.MaxAge, 0)
	switch ping, idle := c.PingInterval, c.IdleTimeout; {
	case ping == 0 && idle == 0:
		c.PingInterval, c.IdleTimeout = defaultPingInterval, defaultIdleTimeout
	case ping == 0 && idle > 0:
		c.PingInterval = min(defaultPingInterval, idle-idle/6)
	case ping == 0:
		c.PingInterval = defaultPingInterval
	case idle == 0 && ping > 0:
		c.IdleTimeout = max(defaultIdleTimeout, ping+min(ping/5, math.MaxInt64-ping))
	case idle == 0:
		c.IdleTimeout = defaultIdleTimeout
	}
	if c.PingInterval > 0 && c.IdleTimeout > 0 && c.PingInterval >= c.IdleTimeout {
		return c, fmt.Errorf("wspush: PingInterval (%v) must be less than IdleTimeout (%v): a client would be closed before it is pinged",
			c.PingInterval, c.IdleTimeout)
	}
	for _, p := range c.Subprotocols {
		if !isToken(p) {
			return c, fmt.Errorf("wspush: Subprotocols: %q is not a token (RFC 6455 section 4.1)", p)
		}
		if p == session.Subprotocol {
			return c, fmt.Errorf("wspush: Subprotocols: %q is chosen for every client that offers it, and is not the application's", p)
		}
	}
	c.OriginPatterns = append([]string(nil), c.OriginPatterns...)
	c.Subprotocols = append([]string(nil), c.Subprotocols...)
	if c.ReadLimit == 0 {
		c.ReadLimit = defaultReadLimit
	}
	c.ReadLimit = max(c.ReadLimit, -1)
	setDefault(&c.ReadTimeout, defaultReadTimeout)
	c.ResumeWindow = max(c.ResumeWindow, 0)
	setDefault(&c.MaxUnconfirmed, defaultMaxUnconfirmed)
	if (c.SaveValue == nil) != (c.LoadValue == nil) {
		return c, errors.New("wspush: SaveValue and LoadValue require each other")
	}
	return c, nil
}

// withDefaults returns a checked copy in which every value is final.
func (o *WorkerOptions) withDefaults() (WorkerOptions, error) {
	var c WorkerOptions
	if o != nil {
		c = *o
	}
	if c.NoListen {
		switch {
		case c.Listen != "" || c.Listener != nil:
			return c, errors.New("wspush: NoListen excludes Listen and Listener")
		case c.TLS != nil:
			return c, errors.New("wspush: NoListen excludes TLS: the application's server decides that, and Advertise says so")
		case len(c.Advertise) == 0:
			return c, errors.New("wspush: NoListen requires Advertise: nothing else says where publishers reach this worker")
		}
	}
	if c.Listen != "" && c.Listener != nil {
		return c, errors.New("wspush: Listen and Listener exclude each other")
	}
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.PublicURL != "" && c.Cluster == nil {
		return c, errors.New("wspush: PublicURL requires Cluster: a request to it may reach any worker")
	}
	c.Cluster = c.Cluster.copied()
	if c.TLS != nil {
		if len(c.TLS.Certificates) == 0 && c.TLS.GetCertificate == nil && c.TLS.GetConfigForClient == nil {
			return c, errors.New("wspush: TLS has neither Certificates nor GetCertificate")
		}
		if !allowsHTTP2(c.TLS) {
			return c, errors.New("wspush: TLS.CipherSuites has neither of those that HTTP/2 requires, TLS_ECDHE_(RSA, ECDSA)_WITH_AES_128_GCM_SHA256")
		}
		c.TLS = c.TLS.Clone()
	}
	c.Advertise = append([]string(nil), c.Advertise...)
	setDefault(&c.MaxPushBytes, defaultMaxPushBytes)
	setDefault(&c.MaxPushBytesAll, defaultMaxPushAll)
	setDefault(&c.MaxPending, defaultMaxPending)
	setDefault(&c.MaxPendingAll, defaultMaxPendingAll)
	setDefault(&c.SendBuffer, defaultSendBuffer)
	setDefault(&c.MaxPushConns, defaultMaxPushConns)
	setDefault(&c.MaxGroups, defaultMaxGroups)
	setDefault(&c.WriteTimeout, defaultWriteTimeout)
	setDefault(&c.PushTimeout, defaultPushTimeout)
	setDefault(&c.ShutdownCode, defaultShutdownCode)
	if err := wire.CheckClose(c.ShutdownCode, ""); err != nil {
		return c, fmt.Errorf("wspush: ShutdownCode: %w", wire.Inside(err))
	}
	if c.SessionFile != "" {
		path, err := filepath.Abs(c.SessionFile) // Shutdown may come when the process is elsewhere
		if err != nil {
			return c, fmt.Errorf("wspush: SessionFile: %w", err)
		}
		c.SessionFile = path
	}
	c.PushOrigins = append([]string(nil), c.PushOrigins...)
	if c.Logger == nil {
		c.Logger = slog.New(warnings{slog.Default().Handler()})
	}
	return c, nil
}

// allowsHTTP2 reports whether http.Server can speak HTTP/2 with this configuration. If it cannot, it refuses to serve.
func allowsHTTP2(c *tls.Config) bool {
	return c.CipherSuites == nil || c.MinVersion >= tls.VersionTLS13 ||
		slices.Contains(c.CipherSuites, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) ||
		slices.Contains(c.CipherSuites, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// isToken reports whether s is an HTTP token (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
