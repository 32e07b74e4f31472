package wspush

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// The defaults of Options and WorkerOptions.
const (
	defaultPingInterval  = 5 * time.Minute
	defaultIdleTimeout   = 6 * time.Minute
	defaultReadLimit     = 64 << 10
	defaultListen        = "127.0.0.1:0"
	defaultMaxPushBytes  = 1 << 20
	defaultMaxPending    = 1 << 20
	defaultWriteTimeout  = 10 * time.Second
	defaultPushTimeout   = 30 * time.Second
	defaultMaxPendingAll = 256 << 20
	defaultMaxPushConns  = 4096
)

// Options are the settings of one Handler: one mount on the application's mux. The zero value of each field, and a nil
// *Options, mean the default. [NewHandler] copies and checks them once; to change them later has no effect.
type Options struct {
	// PingInterval is the silence, in both directions, after which the client is sent a ping, and then again after each
	// further PingInterval of silence. Any byte from the client ends a silence, and any message to it; a ping does not.
	//
	// The default is 5 minutes, or 5/6 of IdleTimeout when that is shorter. Negative means no pings but those that confirm
	// pushes, and no detection of a client that has vanished while it is being pushed to. PingInterval must be less than
	// IdleTimeout.
	//
	// Proxies and load balancers drop silent connections, many after 60 s: behind one, choose less, such as 25 s.
	PingInterval time.Duration

	// IdleTimeout is the silence, in both directions, after which the connection is closed with 1001 "idle timeout". A client
	// that answers pings is never silent for so long.
	//
	// Sending alone does not keep a connection: when nothing has been received for IdleTimeout although messages were
	// sent, the client is pinged, and after twice IdleTimeout the connection is closed with 1001 "no answer". The time
	// during which a callback keeps the connection from being read does not count towards that; it does count as idle
	// when nothing is sent, so a callback should not take as long as IdleTimeout.
	//
	// The default is 6 minutes, or 6/5 of PingInterval when that is longer. Negative means that neither happens.
	IdleTimeout time.Duration

	// Accept decides who may connect. It is called for each correct handshake, in ServeHTTP, so behind the application's
	// middleware, and before the upgrade. What it returns as value is what Conn.Value returns. An error refuses the
	// handshake: ErrUnauthorized with 401, ErrForbidden with 403, and ErrUnavailable, as any other error, with 503 and
	// Retry-After. The error goes to the log, and not to the client: at Warn if it is none of the three, since Accept has then
	// failed to decide. It must not keep the request.
	//
	// The default admits everyone whose Origin is allowed.
	Accept func(r *http.Request) (value any, err error)

	// Greeting makes the first message to a client. It is called on a goroutine of the connection's own, before anyone can
	// push to the connection: Conn.Push returns ErrBusy until it has returned. No bytes mean no greeting.
	//
	// The default is a text message with Conn.Addresses, separated by commas; with WorkerOptions.PublicURL, Conn.PublicURL.
	Greeting func(c *Conn) (MessageType, []byte)

	// OnConnect is called once, when the connection can be pushed to, its greeting being first in line; OnMessage with each
	// whole message from the client, which the callback may keep; OnDisconnect once, with the reason, when the connection
	// has ended and nobody can push to it any more. OnConnect comes before OnDisconnect even if the connection
	// ends before anyone could push to it.
	//
	// They run on a goroutine of the connection's own, one after the other, with no lock held, and may call anything but
	// Worker.Shutdown. It need not be the same goroutine each time: a silent connection has a smaller one. While one runs,
	// the connection is not read, and the client's next message waits. A panic ends the connection with 1011 and is logged.
	//
	// Without OnMessage, messages from the client are read and dropped.
	OnConnect    func(c *Conn)
	OnMessage    func(c *Conn, typ MessageType, data []byte)
	OnDisconnect func(c *Conn, reason error) // reason is a *CloseError

	// OriginPatterns are the foreign origins whose pages may connect: patterns of path.Match for the host ("*.example.com",
	// "localhost:*"), or for the scheme and the host if they contain "://". Letter case does not matter.
	//
	// By default only pages of the host that they connect to may. A browser sends its cookies along whatever the page, so
	// each pattern lets those pages act as their visitor; "*" lets every page on the web. Clients that send no Origin are
	// not browsers, and not affected.
	OriginPatterns []string

	// Subprotocols are the subprotocols that the server speaks, the preferred one first (RFC 6455 section 1.9). A client that
	// offers none of them is connected without one. The default is none.
	Subprotocols []string

	// ReadLimit is the size in bytes of the longest message that a client may send; a longer one closes the connection with
	// 1009, as soon as a frame's header says that it will be longer. The default is 64 KiB. Negative means no limit: any
	// client can then make the process use any amount of memory.
	ReadLimit int64

	// Compression lets clients negotiate permessage-deflate without context takeover (RFC 7692). Messages from 512 bytes
	// are then compressed, one by one, at a cost in time and memory that short messages seldom repay. Secrets and text of
	// an attacker's choice in the same message must not be compressed together. ReadLimit is that of a message when it is
	// inflated. The default is off.
	Compression bool
}

// WorkerOptions are the settings of one Worker. The zero value of each field, and a nil *WorkerOptions, mean the default.
// NewWorker copies and checks them once; to change them later has no effect.
type WorkerOptions struct {
	// Listen is the TCP address of the push listener, as for net.Listen; port 0 has the system choose one. The default is
	// "127.0.0.1:0". A wildcard opens the push endpoint to every network that the machine is in: "0.0.0.0:0" to IPv4,
	// "[::]:0" to IPv6, ":0" to both. Whoever knows the ID of a connection can then push to it from there; see
	// AuthorizePush and TLS.
	Listen string

	// Listener is used in place of Listen. The Worker closes it. If it is not a TCP listener, Advertise is required. Set
	// it, too, if the listener serves TLS by itself: the addresses would say http.
	Listener net.Listener

	// NoListen means that there is no push listener: the application mounts the Worker on a server of its own. Advertise
	// is then required; Listen, Listener and TLS must not be set.
	NoListen bool

	// Advertise lists where publishers reach the push endpoint, when that differs from what the listener is bound to
	// (NAT, containers, a proxy): a host ("10.0.0.5", "::1", "push.internal"), which gets the listener's port; a host and
	// a port ("10.0.0.5:8443", "[fd00::5]:8443"); or a base URL ("https://push.example.com/workers/3"), which is used as
	// it is. Each connection has one address for each of them.
	//
	// By default it is the address of the listener, or for a wildcard each address of the machine, found once at the
	// start, that is neither loopback nor link-local, or loopback if there is none.
	Advertise []string

	// TLS has the push listener serve TLS, with HTTP/2; addresses are then https. It needs a certificate, or
	// GetCertificate. The default is none: whoever can read the network between publisher and worker can read the pushes
	// and the IDs in them.
	TLS *tls.Config

	// AuthorizePush is asked before every GET, HEAD, POST and DELETE at the push endpoint, before its body is read, and
	// before it is known whether the connection exists. ErrUnauthorized refuses it with 401, ErrForbidden with 403, and
	// ErrUnavailable, as any other error, with 503 and Retry-After. The error goes to the log, not to the publisher: at Warn if
	// it is none of the three, since AuthorizePush has then failed to decide. It may be called from many goroutines at once. It is not asked for
	// pushes in-process.
	//
	// By default, to know the ID of a connection is to have the right to push to it.
	AuthorizePush func(r *http.Request) error

	// Cluster lets any worker with the same keys be pushed through. Then a token (Conn.Token), in which the worker's address
	// and the connection's ID are sealed, can stand wherever an ID can. A worker that gets a request for a connection of
	// another sends it on, once, to that worker, and gives back its answer. AuthorizePush is asked by the first of the two.
	// Forwarding has limits of its own: 1024 requests at a time, 3 s to reach the other worker, and for its answer 5 s more
	// than the push may wait. The default is none: tokens are refused, with 421.
	Cluster *Cluster

	// PublicURL is where publishers reach the push endpoint of any worker of the Cluster, which it requires: a load
	// balancer's, such as "https://push.example.com", whose requests come to the workers' push endpoints with the same path.
	// The default greeting is then Conn.PublicURL alone, which tells nothing of the workers' own addresses. The default is
	// none.
	PublicURL string

	// PushOrigins are the foreign origins whose pages may push, each as a browser names it: "https://admin.example.com",
	// with a port unless it is the scheme's own. They may read the answers, too (CORS).
	//
	// By default a POST or DELETE that a browser sends for a page of another origin is refused with 403, so that no page can
	// push by accident. Programs that are not browsers send no Origin, and are not affected.
	PushOrigins []string

	// MaxPushBytes is the size in bytes of the longest message that may be pushed, by HTTP and in-process; a longer one gets
	// ErrTooLarge. The default is 1 MiB. Negative means no limit: any publisher can then make the process use any amount
	// of memory.
	MaxPushBytes int64

	// MaxPending bounds how many bytes may wait for one client that does not read fast enough. Each message counts 256 bytes
	// more than it has. A push is refused with ErrBusy if it does not fit; but if nothing waits, it is taken whatever
	// its size. The default is 1 MiB. Negative means no limit: a client that does not read can then use any amount of memory.
	MaxPending int

	// MaxPendingAll bounds how many bytes may wait for all clients together, counted as for MaxPending. When it is reached, a
	// client for which nothing waits is still pushed to; a message that would have to wait behind others is refused with
	// ErrBusy. The default is 256 MiB. Negative means no limit.
	MaxPendingAll int64

	// MaxConns bounds how many clients the worker's Handlers let connect, including those whose connection is just ending;
	// a handshake beyond it is refused with 503 and Retry-After. The default is no limit other than the system's: a process
	// that has run out of descriptors can accept neither clients nor publishers.
	MaxConns int

	// MaxPushConns bounds how many connections the push listener has at a time, so that publishers cannot use up the
	// descriptors that clients need. One beyond it is told 503 with Retry-After, and closed; with TLS, it is closed.
	// The default is 4096. Negative means no limit.
	MaxPushConns int

	// WriteTimeout is how long a write of at most 16 KiB to a client may take. A client that does not take it is cut
	// off. The default is 10 s. Negative means no limit: such a client is then found only by its silence.
	WriteTimeout time.Duration

	// PushTimeout is how long a push by HTTP waits to be written, before it is withdrawn (429) or, if it has begun, given
	// up as unknown (504). The default is 30 s. Negative means no limit. For pushes in-process, their context does this. A
	// push that is to be confirmed waits for 5 s, or as long as it asks for, at most 30 s.
	PushTimeout time.Duration

	// DrainOver is the time over which Shutdown spreads the closing of connections, evenly, so that not all clients connect
	// elsewhere in the same second. If Shutdown's context has a deadline that comes too early for it, they are closed
	// over what leaves the last of them 3 s. The default, and anything negative, is none: all are closed at once.
	DrainOver time.Duration

	// Logger gets one record per event; Debug for the ordinary ones, which name a connection by the first 8 digits of its
	// ID. Its handler must not block: Shutdown waits for it. The default is what slog.Default() is in NewWorker, from Warn
	// upwards.
	Logger *slog.Logger
}

// withDefaults returns a checked copy in which every value is final.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
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
	for _, p := range c.OriginPatterns {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return c, fmt.Errorf("wspush: OriginPatterns: %q is not a pattern of path.Match", p)
		}
	}
	for _, p := range c.Subprotocols {
		if !isToken(p) {
			return c, fmt.Errorf("wspush: Subprotocols: %q is not a token (RFC 6455 section 4.1)", p)
		}
	}
	c.OriginPatterns = append([]string(nil), c.OriginPatterns...)
	c.Subprotocols = append([]string(nil), c.Subprotocols...)
	if c.ReadLimit == 0 {
		c.ReadLimit = defaultReadLimit
	}
	c.ReadLimit = max(c.ReadLimit, -1)
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
		return c, errors.New("wspush: PublicURL requires Cluster: through it, requests come to any worker")
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
	setDefault(&c.MaxPending, defaultMaxPending)
	setDefault(&c.MaxPendingAll, defaultMaxPendingAll)
	setDefault(&c.MaxPushConns, defaultMaxPushConns)
	setDefault(&c.WriteTimeout, defaultWriteTimeout)
	setDefault(&c.PushTimeout, defaultPushTimeout)
	c.PushOrigins = append([]string(nil), c.PushOrigins...)
	if c.Logger == nil {
		c.Logger = slog.New(warnings{slog.Default().Handler()})
	}
	return c, nil
}

// allowsHTTP2 reports whether http.Server will speak HTTP/2 with this configuration. If not, it refuses to serve.
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

// isToken reports whether s is a token of HTTP (RFC 9110 section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
