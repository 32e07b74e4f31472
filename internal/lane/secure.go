package lane

import (
	"crypto/tls"
	"time"
)

// secure returns the TLS on top of a connection, or nil if there is none. A listener of the application's may do TLS itself.
func (config *Config) secure(c *counted) *tls.Conn {
	if secure, ok := c.Conn.(*tls.Conn); ok {
		return secure
	}
	if config.TLS != nil {
		return tls.Server(&boundedConn{Conn: c, limit: config.WriteTimeout}, config.TLS)
	}
	return nil
}

// agree shakes hands, within the time that http.Server would take for it. False means that net/http must have the tls.Conn itself:
// because HTTP/2 has been agreed, or because there is no agreement. Then net/http finds the same error, says so in its log, and
// answers a publisher that speaks no TLS at all.
func (c *conn) agree(secure *tls.Conn) bool {
	_ = secure.SetDeadline(time.Now().Add(c.listener.config.HeaderTimeout))
	if err := secure.HandshakeContext(c.context); err != nil {
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
