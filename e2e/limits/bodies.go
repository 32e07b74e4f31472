//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// endlessBodies sends many messages of 1 MiB, each without its last byte, on fewer connections than MaxPushConns: it is publishers with a
// credential who do this, and while all connections are in the middle of a request, another cannot get in.
func (s *scene) endlessBodies() error {
	const length = 1 << 20
	body := repeat("", "x", "", length-1)
	return s.stall(900, func(c *stranger, i int) error {
		to := "/ws/@connections/" + s.honest.clients[0].id
		if i%2 == 0 {
			_ = c.post(to, "text/plain", length)
			return c.say(body)
		}
		_ = c.post(to, "text/plain", -1)
		return c.chunk(body)
	})
}

// endlessLines sends bulk requests whose line is as long as it may be, and does not end.
func (s *scene) endlessLines() error {
	line := repeat(`{"to":"`+nobody+`","text":"`, `\u0041`, "", 6<<20)
	return s.stall(200, func(c *stranger, i int) error {
		if i%2 == 0 {
			_ = c.bulk(len(line) + 1) // all of it is read before it is answered
			return c.say(line)
		}
		_ = c.bulk(-1)
		return c.chunk(line)
	})
}

// stall sends on n connections what is not whole, and waits. The worker may take less.
func (s *scene) stall(n int, send func(c *stranger, i int) error) error {
	var whole atomic.Int64
	_, err := parallel(n, n, func(i int) error {
		c, err := s.dial(s.victim.Push)
		if err != nil {
			return err
		}
		if send(c, i) == nil {
			whole.Add(1)
		}
		return nil
	})
	s.noted = fmt.Sprintf("%d sent all of it but the end", whole.Load())
	s.settle()
	return err
}

// streams sends bulk requests whose line does not end, all on one connection with HTTP/2.
func (s *scene) streams() error {
	line := repeat(`{"to":"`+nobody+`","text":"`, `\u0041`, "", 4<<20)
	var dialled atomic.Int64
	config := trusting(s.victim.Certificate)
	config.NextProtos = []string{"h2"}
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dialled.Add(1) > 1 {
				return nil, errors.New("one connection is enough")
			}
			s.opened.Add(1)
			return (&tls.Dialer{Config: config}).DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	first, err := http.NewRequestWithContext(ctx, http.MethodGet, s.victim.url()+"/@ready", nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(first)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	if resp.ProtoMajor != 2 {
		return fmt.Errorf("the worker speaks %s", resp.Proto)
	}
	var whole atomic.Int64
	var all sync.WaitGroup
	for range 240 {
		all.Go(func() {
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.victim.url()+"/ws/@connections", &endless{ctx: ctx, data: line, sent: &s.sent, whole: &whole})
			if err != nil {
				return
			}
			r.Header.Set("Authorization", "Bearer "+s.victim.Credential)
			r.Header.Set("Content-Type", "application/x-ndjson")
			if resp, err := transport.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
	}
	await(s.ctx, 8*time.Second, func() bool { return whole.Load() == 240 })
	s.noted = fmt.Sprintf("%d streams sent all of it but the end", whole.Load())
	s.settle()
	cancel()
	all.Wait()
	return nil
}

// endless is a body that goes on when all of data has been read, without a byte.
type endless struct {
	ctx         context.Context
	data        []byte
	sent, whole *atomic.Int64
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.data) == 0 {
		e.whole.Add(1)
		<-e.ctx.Done()
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, e.data)
	e.data = e.data[n:]
	e.sent.Add(int64(n))
	return n, nil
}
