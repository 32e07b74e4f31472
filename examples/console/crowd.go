package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// crowd is a set of simulated clients that come and go, read fast or slowly, and receive pushes. Some have a session, lose their WebSocket now and
// then, and come back to it.
type crowd struct {
	url     string
	worker  *wspush.Worker
	running *sync.WaitGroup

	mu    sync.Mutex // guards leave
	leave []context.CancelFunc
}

var (
	names      = []string{"ada", "alan", "barbara", "dennis", "donald", "edsger", "frances", "grace", "john", "ken", "lynn", "margaret", "niklaus", "radia", "tony", "vint"}
	paths      = []string{"/orders", "/orders", "/orders", "/chat", "/chat", "/tickets/7", "/prices?fast=1"}
	userAgents = []string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
	}
)

const stalledName = "sleepy" // the name of clients that do not read

// run keeps n clients connected until ctx ends, the given numbers of them stalled, and travelling; it replaces some of the others and pushes to all.
func (c *crowd) run(ctx context.Context, n, stalled, travellers int, churn, pushes float64) {
	for i := range n {
		switch {
		case ctx.Err() != nil:
			return
		case i >= stalled && i < stalled+travellers:
			c.running.Go(func() { c.travel(ctx) })
		default:
			c.join(ctx, i < stalled)
		}
	}
	leaving, pushing, stalling := ticker(churn), ticker(pushes), ticker(2)
	for {
		select {
		case <-ctx.Done():
			return
		case <-leaving:
			c.exchange(ctx)
		case <-pushing:
			c.running.Go(func() { c.push(ctx) })
		case <-stalling:
			c.stall(ctx)
		}
	}
}

// ticker ticks perSecond times a second. Unused tickers are garbage collected.
func ticker(perSecond float64) <-chan time.Time {
	if perSecond <= 0 {
		return nil
	}
	return time.Tick(time.Duration(float64(time.Second) / perSecond))
}

// join keeps a client connected until it is told to leave or is closed; one that does not read comes back.
func (c *crowd) join(ctx context.Context, stalled bool) {
	client, leave := context.WithCancel(ctx)
	if !stalled && ctx.Err() == nil {
		c.mu.Lock()
		c.leave = append(c.leave, leave)
		c.mu.Unlock()
	}
	c.running.Go(func() {
		defer leave()
		for {
			c.live(client, stalled)
			select {
			case <-client.Done():
				return
			case <-time.After(time.Second + rand.N(2*time.Second)): // as a page that reconnects
			}
		}
	})
}

// exchange makes one client leave and another join.
func (c *crowd) exchange(ctx context.Context) {
	c.mu.Lock()
	if n := len(c.leave); n > 0 {
		i := rand.N(n)
		c.leave[i]()
		c.leave[i] = c.leave[n-1]
		c.leave = c.leave[:n-1]
	}
	c.mu.Unlock()
	c.join(ctx, false)
}

// live is one connection of a client.
func (c *crowd) live(ctx context.Context, stalled bool) {
	name := names[rand.N(len(names))]
	if stalled {
		name = stalledName
	}
	header := http.Header{
		"User-Agent":      {userAgents[rand.N(len(userAgents))]},
		"X-Forwarded-For": {fmt.Sprintf("203.0.113.%d:%d", 1+rand.N(254), 32768+rand.N(28000))}, // RFC 5737
	}
	dialer := &net.Dialer{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok && stalled {
			_ = tcp.SetReadBuffer(4 << 10)
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	u, err := url.Parse(c.url + paths[rand.N(len(paths))])
	if err != nil {
		return
	}
	query := u.Query()
	query.Set("user", fmt.Sprintf("%s-%d", name, rand.N(10))) // so that most have several connections
	u.RawQuery = query.Encode()
	conn, _, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPHeader: header, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	if stalled {
		select {
		case <-ctx.Done():
		case <-time.After(25 * time.Second): // by then the worker has cut it off, if anything was pushed to it
		}
		return
	}
	// The delay of a pong: most clients are near, some are far.
	latency := time.Duration(math.Exp(rand.NormFloat64()*0.8) * float64(25*time.Millisecond))
	defer context.AfterFunc(ctx, func() { _ = conn.Close(websocket.StatusGoingAway, "") })()
	for {
		if _, _, err := conn.Read(context.Background()); err != nil { // ending this ctx would cut the connection
			return
		}
		select { // a ping after a message waits for the next Read
		case <-ctx.Done():
		case <-time.After(latency):
		}
	}
}

// push pushes something to some client, and asks for a receipt now and then.
func (c *crowd) push(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conns := slices.Collect(c.worker.Conns())
	if len(conns) == 0 {
		return
	}
	conn, data := conns[rand.N(len(conns))], bytes.Repeat([]byte("123 "), 5+rand.N(500))
	if rand.N(3) > 0 {
		_, _ = conn.Push(ctx, wspush.Text, data)
	} else {
		_, _ = conn.Push(ctx, wspush.Text, data, wspush.Confirmed())
	}
}

// stall pushes more to the clients that do not read than their sockets' buffers hold.
func (c *crowd) stall(ctx context.Context) {
	for conn := range c.worker.Conns() {
		if strings.HasPrefix(conn.Value().(string), stalledName) {
			c.running.Go(func() { _, _ = conn.Push(ctx, wspush.Binary, make([]byte, 50_000+rand.N(200_000))) })
		}
	}
}
