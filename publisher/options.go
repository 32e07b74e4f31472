package publisher

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// Options say where pushes may go, and how. At least one of Hosts, Prefixes, Allow and Workers must be set. The first three are for addresses,
// and a host that any of them allows is allowed.
type Options struct {
	// Hosts are the host names and IP addresses to which pushes may go, in any letter case. One with a port
	// ("worker-1:48775", "[::1]:48775") allows that port; one without allows every port of the host, whoever listens there.
	// One with a scheme ("https://worker-1:48775", "https://worker-1", "http://10.1.0.0/16") allows that scheme alone; behind a
	// scheme may also be a prefix. Names are compared as they are, and not resolved: an allowed name is trusted, wherever it leads.
	//
	// Whoever sends an address decides whether it says http. Once Credential, CredentialFunc or TLS is set, addresses with http
	// are therefore refused with ErrAddress, except on loopback and where an element of Hosts says http:// itself.
	Hosts []string

	// Prefixes are the IP addresses to which pushes may go, on any port. They apply to IP addresses in the URL; a name that
	// resolves to one does not count.
	Prefixes []netip.Prefix

	// Allow decides about hosts that neither Hosts nor Prefixes allow; it cannot allow http where Hosts must. Its URL has a scheme and a host, in lower case and without
	// a default port, and nothing else. It is called on the goroutines of callers, several at once.
	Allow func(*url.URL) bool

	// Workers are the URLs of workers, or of a load balancer in front of them, that are asked about users, groups and IDs: each is http or
	// https, a host and perhaps a path, such as "https://push.example.com" or "http://10.0.0.5:48775/ws". The path is that at which
	// clients connect, if connections are to be found by their IDs. Users and groups are the same at every path; the worker must
	// have AuthorizePush to tell of them. With several URLs, the one that worked last is asked, and another one only if it is certain
	// that nothing was written, and that another may know better. So each of them must know of all members.
	//
	// They are trusted, and one with http gets the Credential in clear. An address at one of them is not allowed by that. At
	// most 16; default: none, and pushes to users, groups and IDs fail.
	Workers []string

	// Credential is sent to every worker as Authorization: Bearer; see wspush.BearerTokens. Over http it can be read on the way:
	// see Hosts. Default: none.
	Credential string

	// CredentialFunc returns the Credential where it changes, such as a JWT that expires; the two exclude each other. It is
	// called once for each Push, Lookup and Disconnect, and for each request of a Stream, on several goroutines at once, so it
	// must keep what it returns until that expires. ctx is that of the call, or one that lasts for Timeout. If it returns
	// an error, nothing is sent, and the error of the push matches it. "" means no credential.
	CredentialFunc func(ctx context.Context) (string, error)

	// TLS is for workers whose addresses begin with https; others are then refused: see Hosts. It is copied. Default: that of
	// package tls.
	TLS *tls.Config

	// Timeout bounds each call for one connection, in addition to its context. Default 35 s; negative: none. A worker answers a
	// push to its own connection within its PushTimeout, 30 s by default. If it forwards the push to another worker, it may
	// need up to 11 s more. A Stream also gives up a request that has had no answer for Timeout plus 5 s.
	Timeout time.Duration

	// DialTimeout bounds each attempt to connect, and separately the TLS handshake. Default 3 s; negative: none.
	DialTimeout time.Duration

	// Dial connects in place of a net.Dialer: through a tunnel, or in tests to a worker in memory (wspushtest.Dialer). It is
	// called only for allowed hosts, on several goroutines at once. For an https address, TLS is spoken over its connection.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// OnPush is called once for each message that is pushed to a connection, a user or a group, with what has become of it: for traces and
	// metrics. ctx is that of the call, so that it leads to the caller's span. It is called before the push returns, or its outcome is yielded,
	// or given to done: on the caller's goroutine, or, after Send and SendTo, the Stream's; on several at once. The push waits for it, so it
	// must not block, and it must call no method of the Client or a Stream. A PushEach that is left tells of those that it has yielded. Default: none.
	OnPush func(ctx context.Context, r PushResult)

	// MaxStreamBytes is how many bytes of unanswered lines one bulk request of a Stream may have before Stream.Send waits; the
	// last line may exceed it. Default 1 MiB. Negative is an error.
	MaxStreamBytes int
}

const (
	defaultTimeout        = 35 * time.Second
	defaultDialTimeout    = 3 * time.Second
	defaultMaxStreamBytes = 1 << 20
)

// withDefaults returns a checked copy with every default filled in. In the copy, 0 means no limit.
func (o *Options) withDefaults() (Options, error) {
	if o == nil {
		o = &Options{}
	}
	out := *o
	out.Timeout = orDefault(o.Timeout, defaultTimeout)
	out.DialTimeout = orDefault(o.DialTimeout, defaultDialTimeout)
	if o.Dial == nil {
		out.Dial = new(net.Dialer).DialContext
	}
	if o.MaxStreamBytes < 0 {
		return out, errors.New("wspush: MaxStreamBytes is negative: 0 means the default")
	}
	if o.MaxStreamBytes == 0 {
		out.MaxStreamBytes = defaultMaxStreamBytes
	}
	if o.Credential != "" && o.CredentialFunc != nil {
		return out, errors.New("wspush: Credential and CredentialFunc exclude each other")
	}
	if err := checkCredential(o.Credential); err != nil {
		return out, err
	}
	if o.TLS != nil {
		out.TLS = o.TLS.Clone()
	}
	return out, nil
}

func orDefault(d, otherwise time.Duration) time.Duration {
	switch {
	case d == 0:
		return otherwise
	case d < 0:
		return 0
	}
	return d
}
