package lane

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// limiter counts the connections of publishers, and turns away those beyond its limit.
type limiter struct {
	config   *Config
	n        atomic.Int64
	refused  atomic.Uint64  // so far
	refusing chan struct{}  // has an element for each connection that is being refused
	running  sync.WaitGroup // their goroutines
	ctx      context.Context
	stop     context.CancelFunc // closes the connections that are still being refused
}

const (
	maxRefusing = 64                     // connections that are told why they are refused; others are just closed
	refuseTime  = 500 * time.Millisecond // for each of them
)

func newLimiter(config *Config) *limiter {
	l := &limiter{config: config, refusing: make(chan struct{}, maxRefusing)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

// enter counts a connection: leave must be called when it has ended. False means that the connection is beyond the limit;
// enter then closes it.
func (l *limiter) enter(c net.Conn) bool {
	if l.n.Add(1) <= int64(l.config.MaxConns) || l.config.MaxConns < 0 {
		return true
	}
	l.n.Add(-1)
	l.refused.Add(1)
	l.refuse(c)
	return false
}

func (l *limiter) leave() { l.n.Add(-1) }

// refuse ends a connection without making anyone wait.
func (l *limiter) refuse(c net.Conn) {
	secure, ok := c.(*tls.Conn)
	if ok {
		c = secure.NetConn() // whose Close does not wait until it has said goodbye
	}
	if ok || l.config.TLS {
		_ = c.Close()
		return
	}
	select {
	case l.refusing <- struct{}{}:
		l.running.Go(func() {
			defer func() { <-l.refusing }()
			defer context.AfterFunc(l.ctx, func() { c.Close() })()
			refuse(c, l.config.Full)
		})
	default:
		_ = c.Close()
	}
}

// refuse answers the request that arrives with what full writes, so that the publisher knows that it was not carried out.
func refuse(c net.Conn, full func(http.ResponseWriter)) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(refuseTime))
	var buf [4 << 10]byte
	n, err := c.Read(buf[:])
	if err != nil {
		return
	}
	var answer response
	full(&answer)
	out := answer.render(true)
	if bytes.HasPrefix(buf[:n], []byte("HEAD ")) { // the answer to HEAD has no body (RFC 9110 section 9.3.2)
		out = out[:bytes.Index(out, []byte("\r\n\r\n"))+4]
	}
	_, err = c.Write(out)
	// Closing the connection while the publisher is still sending would reset it: the publisher might never see the answer.
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	for err == nil {
		_, err = c.Read(buf[:])
	}
}

// wait waits for the connections that are being refused. When ctx ends, it closes them.
func (l *limiter) wait(ctx context.Context) {
	defer context.AfterFunc(ctx, l.stop)()
	l.running.Wait()
	l.stop()
}
