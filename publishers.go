package wspush

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wspush/wspush/internal/wire"
)

// publishers counts the connections that the push listener has, and turns away those beyond its limit.
type publishers struct {
	max      int64 // negative: no limit
	tls      bool  // the listener's connections are for TLS, and an answer in plain text is none
	n        atomic.Int64
	refused  atomic.Uint64 // so far
	refusing chan struct{} // has an element for each connection that is being refused
	running  sync.WaitGroup
	ctx      context.Context // ends when nobody is to be told any more
	stop     context.CancelFunc
}

const (
	maxRefusing = 64                     // connections that are told why they are refused; more are just closed
	refuseTime  = 500 * time.Millisecond // for telling one
)

func newPublishers(max int, tls bool) *publishers {
	p := &publishers{max: int64(max), tls: tls, refusing: make(chan struct{}, maxRefusing)}
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// enter counts a connection, for which leave is to be called when it has ended. False means that it is one too many; it is
// then seen to.
func (p *publishers) enter(conn net.Conn) bool {
	if p.n.Add(1) <= p.max || p.max < 0 {
		return true
	}
	p.n.Add(-1)
	p.refused.Add(1)
	p.refuse(conn)
	return false
}

func (p *publishers) leave() { p.n.Add(-1) }

// refuse ends a connection without anyone's waiting for it.
func (p *publishers) refuse(conn net.Conn) {
	c, ok := conn.(*tls.Conn)
	if ok {
		conn = c.NetConn() // whose Close does not wait to say goodbye
	}
	if ok || p.tls {
		_ = conn.Close()
		return
	}
	select {
	case p.refusing <- struct{}{}:
		p.running.Go(func() {
			defer func() { <-p.refusing }()
			defer context.AfterFunc(p.ctx, func() { conn.Close() })()
			refuse(conn)
		})
	default:
		_ = conn.Close()
	}
}

// refuse answers the request that comes, so that the publisher knows that it has not been carried out.
func refuse(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(refuseTime))
	var buf [4 << 10]byte
	n, err := conn.Read(buf[:])
	if err != nil {
		return
	}
	p := newProblem(http.StatusServiceUnavailable, "too many publishers are connected; nothing was written")
	p.Type = wire.TypeFull
	var answer response
	p.write(&answer)
	out := answer.render(true)
	if bytes.HasPrefix(buf[:n], []byte("HEAD ")) { // whose answer has no body (RFC 9110 section 9.3.2)
		out = out[:bytes.Index(out, []byte("\r\n\r\n"))+4]
	}
	_, err = conn.Write(out)
	// To close while the publisher still sends would reset the connection, and it might never see the answer.
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	for err == nil {
		_, err = conn.Read(buf[:])
	}
}

// isTemporary reports whether the next Accept may go better than the one that returned err: when there are too many open
// files, for one.
func isTemporary(err error) bool {
	e, ok := err.(net.Error)
	//lint:ignore SA1019 There is no other way to know, and net/http uses this one.
	return ok && e.Temporary()
}

// limitedListener is the push listener without express in front of it. It accepts no more connections than publishers lets
// in.
type limitedListener struct {
	net.Listener
	publishers *publishers
	log        *slog.Logger
}

func (l limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil && isTemporary(err) { // net/http tries again
			l.log.Warn("wspush: the push listener does not accept for a moment", "error", err)
		}
		if err != nil || l.publishers.enter(conn) {
			return conn, err
		}
	}
}
