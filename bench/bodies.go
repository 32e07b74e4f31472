package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	bodySize    = 1 << 20 // of a large body
	bodyRate    = 43      // a second
	bodyClients = 8       // each with a publisher of its own, so that there is never more than one body for a client
	bodyTimeout = 10 * time.Second
)

// bodies are large messages that are pushed at a steady rate, until stop. They are pushed and received in this process: the
// load generator, which measures small ones meanwhile, has one thread, and must not wait for them.
type bodies struct {
	cancel  context.CancelFunc
	loops   sync.WaitGroup // the publishers, one for each client
	readers sync.WaitGroup // of the clients, one for each
	clients []*bodyClient
	begin   time.Time
	due     atomic.Int64 // how many bodies have been given a time
	came    atomic.Int64
	errs    chan error // has room for one of each loop
}

// bodyClient is a client and its publisher.
type bodyClient struct {
	conn      *websocket.Conn
	publisher net.Conn
	answers   *bufio.Reader
	request   []byte     // a whole push
	arrived   chan error // for each message nil, and in the end why there are no more
	closed    chan struct{}
}

// startBodies connects clients to a server, and pushes to them at the given host:port.
func startBodies(ctx context.Context, h *host, at string) (*bodies, error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &bodies{cancel: cancel, errs: make(chan error, bodyClients)}
	for range bodyClients {
		c, err := newBodyClient(ctx, h, at)
		if err != nil {
			b.close()
			return nil, err
		}
		b.clients = append(b.clients, c)
		b.readers.Go(c.read)
	}
	b.begin = time.Now()
	for _, c := range b.clients {
		b.loops.Go(func() { b.errs <- b.push(ctx, c) })
	}
	return b, nil
}

func newBodyClient(ctx context.Context, h *host, at string) (*bodyClient, error) {
	dialing, cancel := context.WithTimeout(ctx, bodyTimeout)
	defer cancel()
	conn, _, err := websocket.Dial(dialing, "ws://"+h.addr+h.path, nil)
	if err != nil {
		return nil, err
	}
	_, greeting, err := conn.Read(dialing)
	if err != nil {
		conn.CloseNow()
		return nil, err
	}
	u, err := url.Parse(string(greeting))
	if err != nil {
		conn.CloseNow()
		return nil, err
	}
	publisher, err := new(net.Dialer).DialContext(dialing, "tcp", at)
	if err != nil {
		conn.CloseNow()
		return nil, err
	}
	conn.SetReadLimit(bodySize)
	c := &bodyClient{
		conn: conn, publisher: publisher, answers: bufio.NewReader(publisher), arrived: make(chan error, 1), closed: make(chan struct{}),
	}
	c.request = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n",
		u.RequestURI(), u.Host, bodySize)
	c.request = append(c.request, bytes.Repeat([]byte{'x'}, bodySize)...)
	return c, nil
}

// read notes what arrives, until close.
func (c *bodyClient) read() {
	buf := make([]byte, bodySize)
	for {
		_, message, err := c.conn.Reader(context.Background())
		if err == nil {
			_, err = io.ReadFull(message, buf)
		}
		if err == nil {
			if n, _ := io.Copy(io.Discard, message); n > 0 {
				err = fmt.Errorf("a message has %d bytes too many", n)
			}
		}
		select {
		case c.arrived <- err:
		case <-c.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

// push pushes the bodies that fall to a client, each when it is due.
func (b *bodies) push(ctx context.Context, c *bodyClient) error {
	const gap = time.Second / bodyRate
	for {
		due := b.begin.Add(time.Duration(b.due.Add(1)-1) * gap)
		if sleep(ctx, time.Until(due)) != nil {
			return nil
		}
		if err := c.push(); err != nil {
			return fmt.Errorf("a body of %d bytes: %w", bodySize, err)
		}
		b.came.Add(1)
	}
}

// push pushes one body, and waits until it has arrived and is answered.
func (c *bodyClient) push() error {
	if err := c.publisher.SetDeadline(time.Now().Add(bodyTimeout)); err != nil {
		return err
	}
	if _, err := c.publisher.Write(c.request); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, 1000))
		return fmt.Errorf("%s: %s", answer.Status, text)
	}
	select {
	case err := <-c.arrived:
		return err
	case <-time.After(bodyTimeout):
		return errors.New("it was accepted, and never came")
	}
}

// stop waits for the bodies that are under way, and returns how many a second arrived.
func (b *bodies) stop() (rate float64, err error) {
	b.cancel()
	b.loops.Wait()
	elapsed := time.Since(b.begin)
	b.close()
	close(b.errs)
	for e := range b.errs {
		err = errors.Join(err, e)
	}
	return float64(b.came.Load()) / elapsed.Seconds(), err
}

// close ends the connections, and waits for those who read them.
func (b *bodies) close() {
	b.cancel()
	for _, c := range b.clients {
		close(c.closed)
		c.conn.CloseNow()
		c.publisher.Close()
	}
	b.readers.Wait()
}
