package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// route is a client's way to a worker.
type route int

const (
	balanced  route = iota // through nginx
	direct                 // to a worker that the client chooses
	remote                 // the same, from far away, where the network fails
	onlyFirst              // direct to worker 0, and so on: for the storms before the chaos
)

// client connects, publishes its address, records what it reads, and reconnects some time after that ends.
type client struct {
	*site
	route  route
	random *rand.Rand
}

const (
	maxJitter    = 1500 * time.Millisecond // before a client reconnects
	leaveTimeout = 3 * time.Second         // for the worker to answer a close frame
)

// live reconnects until ctx ends.
func (c *client) live(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.connect(ctx); err != nil && ctx.Err() == nil {
			c.count("handshakes that failed", err.Error())
		}
		sleep(ctx, time.Duration(c.random.Int64N(int64(maxJitter))))
	}
}

// connect connects, and returns when the connection has ended.
func (c *client) connect(ctx context.Context) error {
	ws, v, err := c.handshake(ctx, "")
	if err != nil {
		return err
	}
	defer ws.Close()
	leaving := context.AfterFunc(ctx, func() {
		frame := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = ws.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second))
		v.hurry(leaveTimeout)
	})
	defer leaving()
	err = c.read(ws, v)
	var closed *websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Code != websocket.CloseAbnormalClosure:
		c.count("connections that ended", fmt.Sprintf("closed with %d", closed.Code))
	case isTimeout(err):
		c.count("connections that ended", "given up by the client")
	default:
		c.count("connections that ended", "cut")
	}
	return nil
}

// handshake opens a WebSocket, with a query that begins with "?" or is empty.
func (c *client) handshake(ctx context.Context, query string) (*websocket.Conn, *valve, error) {
	var v *valve
	dialer := websocket.Dialer{
		HandshakeTimeout: 5 * time.Second,
		ReadBufferSize:   1 << 10, // larger messages are read without it
		WriteBufferSize:  256,
		NetDialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := c.reach(ctx, address)
			if err != nil {
				return nil, err
			}
			v = newValve(conn)
			return v, nil
		},
	}
	ws, answer, err := dialer.DialContext(ctx, "ws://"+c.balancer.address+"/ws"+query, nil)
	if answer != nil && errors.Is(err, websocket.ErrBadHandshake) {
		return nil, nil, errors.New(answer.Status)
	}
	if err != nil {
		return nil, nil, errors.New("no connection")
	}
	return ws, v, nil
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// reach makes the TCP connection.
func (c *client) reach(ctx context.Context, balancer string) (net.Conn, error) {
	switch worker := c.random.IntN(len(c.slots)); c.route {
	case balanced:
		return dial(ctx, balancer)
	case direct:
		return dial(ctx, c.slots[worker].local())
	case remote:
		return c.far.dial(ctx, worker)
	default:
		return dial(ctx, c.slots[c.route-onlyFirst].local())
	}
}

// read records messages until the connection ends. Each is in the ledger before anything further is read: so when gorilla
// answers a ping, which it does in ReadMessage, everything before the ping has been recorded.
func (c *client) read(ws *websocket.Conn, v *valve) error {
	_, greeting, err := ws.ReadMessage()
	if err != nil {
		return err
	}
	plain, sealed, _ := strings.Cut(string(greeting), ",")
	address, err := url.Parse(plain)
	worker := -1
	if err == nil {
		worker = c.workerAt(address.Host)
	}
	if worker < 0 || address.User.Username() == "" || sealed == "" {
		c.fault("the first message to a client is no greeting: %.100q", greeting)
		return errors.New("no greeting")
	}
	t := newTarget(c.books.conn(address.User.Username()), address, sealed, worker, c.route, v)
	c.addresses.add(t)
	defer c.addresses.remove(t)
	for {
		typ, data, err := ws.ReadMessage()
		if err != nil {
			return err
		}
		r := Receipt{At: c.since()}
		r.Message, r.Fault = decode(data, typ == websocket.BinaryMessage)
		if r.To == t.ID {
			r.To = t.ID // share one string
		}
		t.Receipts = append(t.Receipts, r)
	}
}

// crowd is a set of clients that live until told to leave.
type crowd struct {
	leave func()
	gone  sync.WaitGroup
}

// gather starts clients, spread over some time.
func (s *site) gather(n int, over time.Duration, routeOf func(i int) route) *crowd {
	ctx, cancel := context.WithCancel(context.Background())
	g := &crowd{leave: cancel}
	for i := range n {
		c := &client{site: s, route: routeOf(i), random: s.random()}
		g.gone.Go(func() {
			sleep(ctx, over*time.Duration(i)/time.Duration(n))
			c.live(ctx)
		})
	}
	return g
}

// disperse makes all clients leave, and waits for them.
func (g *crowd) disperse() {
	g.leave()
	g.gone.Wait()
}
