package publisher

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/wspush/wspush/internal/sent"
)

const (
	idleTimeout       = 90 * time.Second // below the 2 min after which a worker closes an idle connection
	maxIdlePerHost    = 256
	maxResponseHeader = 64 << 10 // bytes
	h2Silence         = 15 * time.Second
)

// newTransport connects for the Client, with no proxy, whatever the environment says. Dialling ends with ctx.
func newTransport(ctx context.Context, opts *Options) *http.Transport {
	return &http.Transport{
		DialContext: func(dialing context.Context, network, addr string) (net.Conn, error) {
			dialing, cancel := context.WithCancel(dialing)
			defer cancel()
			defer context.AfterFunc(ctx, cancel)()
			if opts.DialTimeout > 0 {
				dialing, cancel = context.WithTimeout(dialing, opts.DialTimeout)
				defer cancel()
			}
			conn, err := opts.Dial(dialing, network, addr)
			if err != nil {
				return nil, err
			}
			return sent.Conn(conn), nil
		},
		TLSClientConfig:        opts.TLS,
		TLSHandshakeTimeout:    opts.DialTimeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: h2Silence, PingTimeout: h2Silence},
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}
