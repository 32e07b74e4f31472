package link

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"

	"github.com/wspush/wspush/internal/address"
)

// errNoSockets is an ErrNotWorker: a worker is there, but something in between does not let WebSockets through.
var errNoSockets = fmt.Errorf("%w: something in between does not let WebSockets through", ErrNotWorker)

const maxOpeningHeader = 16 << 10 // of the answer

// dial opens a link to the worker with the address.
func (l *Links) dial(ctx context.Context, address string) (*channel, error) {
	ch, _, err := l.begin(ctx, address, forLink)
	return ch, err
}

// Probe opens a link of its own to the address, and closes it. It returns the instance that answered.
func (l *Links) Probe(ctx context.Context, address string) (instance uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.bounds.open)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	_, instance, err = l.begin(ctx, address, forProbe)
	return instance, err
}

// begin sends an opening, and judges the answer.
func (l *Links) begin(ctx context.Context, to, use string) (*channel, uint64, error) {
	scheme, rest, ok := strings.Cut(to, "://")
	if !ok {
		return nil, 0, fmt.Errorf("%w: the address is no URL", ErrNotSent)
	}
	o, err := newOpening(&l.config, to, use)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	key := l.config.Keys.First()
	proof := key.Prove(o.message())

	d := dialer{ctx: ctx, make: l.config.Dial}
	if d.make == nil {
		d.make = new(net.Dialer).DialContext
	}
	transport := d.transport(l.config.TLS)
	defer transport.CloseIdleConnections()
	ws, resp, err := websocket.Dial(ctx, address.Base{Scheme: scheme + "://", Rest: rest}.Link(o.nonce), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader:      http.Header{header: {o.header(proof)}, "User-Agent": {"wspush"}},
		Subprotocols:    []string{subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if resp == nil {
		d.close()
		return nil, 0, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	answer, proved := readReception(key, o, proof, resp.Header.Get(header))
	if proved && answer.word == isOpen && err == nil && ws.Subprotocol() == subprotocol && use == forLink {
		ch := &channel{ws: ws, carrier: d.conn()}
		ch.ws.SetReadLimit(maxBatch)
		ch.out, ch.in, err = ciphers(key, o, proof, answer)
		if err == nil {
			return ch, answer.instance, nil
		}
	}
	d.close()
	if ws != nil {
		_ = ws.CloseNow()
	}
	switch {
	case !proved && resp.StatusCode == http.StatusSwitchingProtocols:
		return nil, 0, fmt.Errorf("%w: it did not prove to be a worker with the same keys", ErrNotWorker)
	case !proved:
		return nil, 0, fmt.Errorf("%w: it answered with %d, and did not prove to be a worker with the same keys", ErrNotWorker, resp.StatusCode)
	case answer.word == isProbed && use == forProbe:
		return nil, answer.instance, nil
	case answer.word == isWrong:
		return nil, answer.instance, ErrWrongWorker
	case answer.word == isPlain, answer.word == isOpen:
		return nil, answer.instance, errNoSockets
	case answer.word == isEnding:
		return nil, answer.instance, fmt.Errorf("%w: the worker is shutting down", ErrNotSent)
	default:
		return nil, answer.instance, fmt.Errorf("%w: the worker speaks another version", ErrNotSent)
	}
}

// dialer makes the one connection of an opening, and keeps it.
type dialer struct {
	ctx  context.Context // bounds the dialling
	make Dial

	mu      sync.Mutex // guards what follows: net/http dials on a goroutine of its own
	carrier *carrier
	closed  bool
}

func (d *dialer) dial(_ context.Context, network, address string) (net.Conn, error) {
	conn, err := d.make(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.carrier != nil {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	d.carrier = &carrier{Conn: conn}
	return d.carrier, nil
}

func (d *dialer) conn() *carrier {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.carrier
}

// close closes the connection, also one that is yet to be made.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.carrier != nil {
		_ = d.carrier.Close()
	}
}

// transport makes connections that speak HTTP/1.1, without a proxy.
func (d *dialer) transport(config *tls.Config) *http.Transport {
	if config == nil {
		config = new(tls.Config)
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	return &http.Transport{
		DialContext:            d.dial,
		TLSClientConfig:        config,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxOpeningHeader,
	}
}
