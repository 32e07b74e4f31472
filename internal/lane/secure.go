package lane

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// How many bytes a publisher may send before its handshake is over. crypto/tls would keep 64 KiB of a hello that does not end, and 256 KiB
// of certificates, in buffers of up to twice that. A hello has 2 KiB or so. With a client's certificates come these, 10 to 20 KiB of
// them with all that lies between them and a root, or a ticket that crypto/tls has made of them, in which they are twice.
const (
	maxHello          = 16 << 10
	maxHelloWithChain = 64 << 10
)

var errHello = errors.New("more was sent than a handshake needs")

// shakeHands shakes hands, and reads as much as there is from then on.
func shakeHands(ctx context.Context, secure *tls.Conn) error {
	if err := secure.HandshakeContext(ctx); err != nil {
		return err
	}
	if bounded, ok := secure.NetConn().(*boundedConn); ok {
		bounded.isShaking = false
	}
	return nil
}

// secure returns the TLS on top of a connection, or nil if there is none. A listener of the application's may do TLS itself.
func (config *Config) secure(c *counted) *tls.Conn {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		return secure
	}
	if config.TLS != nil {
		bounded := &boundedConn{Conn: c, limit: config.WriteTimeout, isShaking: true, left: maxHello}
		if config.TLS.ClientAuth != tls.NoClientCert || config.TLS.GetConfigForClient != nil {
			bounded.left = maxHelloWithChain
		}
		return tls.Server(bounded, config.TLS)
	}
	return nil
}

// agree shakes hands, within the time that http.Server would take for it. False means that net/http must have the tls.Conn itself:
// because HTTP/2 has been agreed, or because there is no agreement. Then net/http finds the same error, says so in its log, and
// answers a publisher that speaks no TLS at all.
func (c *conn) agree(secure *tls.Conn) bool {
	_ = secure.SetDeadline(time.Now().Add(c.listener.config.HeaderTimeout))
	if err := shakeHands(c.context, secure); err != nil {
		return false
	}
	state := secure.ConnectionState()
	if !isHTTP1(&state) {
		return false
	}
	_ = secure.SetDeadline(time.Time{})
	c.tls = &state
	c.raw = secure
	if secure == c.counted.Conn {
		c.raw = c.counted // so that closing it gives up its place
	}
	return true
}

// isHTTP1 reports whether HTTP/1.1 is what will be spoken: because it was agreed, or because nothing was.
func isHTTP1(state *tls.ConnectionState) bool {
	return state.NegotiatedProtocol == "" || state.NegotiatedProtocol == "http/1.1"
}

// handOverTLS gives net/http a tls.Conn as it is.
func (l *Listener) handOverTLS(secure *tls.Conn, c *counted) {
	if secure == c.Conn { // net/http will close it without c
		l.foreign.Store(secure, c)
	}
	l.handOver(secure)
}
