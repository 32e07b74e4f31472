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

// Options say where pushes may go, and how. At least one of Hosts, Prefixes and Allow must be set; what any of them allows is
// allowed.
type Options struct {
	// Hosts are the host names and IP addresses to which pushes may go, in any letter case. One with a port
	// ("worker-1:48775", "[::1]:48775") allows that port; one without allows every port of the host, whoever listens there.
	// Names are compared as they are, and not resolved: an allowed name is trusted, wherever it leads.
	Hosts []string

	// Prefixes are the IP addresses to which pushes may go, every port of them: of those that stand in the address as such.
	// A name that resolves to one does not count.
	Prefixes []netip.Prefix

	// Allow is asked about what neither Hosts nor Prefixes allow. The URL has a scheme and a host, in lower case and without a
	// default port, and nothing else. It is called by whoever pushes, from many goroutines at once.
	Allow func(*url.URL) bool

	// Credential is sent to every worker as Authorization: Bearer; see wspush.BearerTokens. Over http it can be read on the way.
	// Default: none.
	Credential string

	// CredentialFunc returns the Credential where it changes, such as a JWT that expires; the two exclude each other. It is
	// called once for each Push, Lookup and Disconnect, and for each request of a Stream, on several goroutines at once, so it
	// must keep what it returns until that expires. ctx is that of the call, or one that ends with the Client. If it returns
	// an error, nothing is sent, and the error of the push matches it. "" means no credential.
	CredentialFunc func(ctx context.Context) (string, error)

	// TLS is for workers whose addresses begin with https. It is copied. Default: that of package tls.
	TLS *tls.Config

	// Timeout bounds a push, and any other call for one connection, whose context ends no earlier. Default 35 s, which is more
	// than a worker takes to answer; negative: none. A Stream also gives up a request in which nothing was answered for that
	// long, and 5 s more.
	Timeout time.Duration

	// DialTimeout bounds each attempt to connect, and the handshake of TLS once more. Default 3 s; negative: none.
	DialTimeout time.Duration

	// Dial connects in place of a net.Dialer: through a tunnel, or in tests to a worker in memory (wspushtest.Dialer). It is
	// asked only for what Hosts, Prefixes and Allow have allowed, and called from many goroutines at once. For an address that
	// begins with https, TLS follows.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// MaxStreamBytes bounds what one bulk request of a Stream may have unanswered before Stream.Send waits, in bytes of lines,
	// of which the last may exceed it. Default 1 MiB. Negative is an error.
	MaxStreamBytes int
}

const (
	defaultTimeout        = 35 * time.Second
	defaultDialTimeout    = 3 * time.Second
	defaultMaxStreamBytes = 1 << 20
)

// withDefaults returns a copy with every default filled in; 0 then means that there is no limit.
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
		return out, errors.New("wspush: MaxStreamBytes is negative")
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
