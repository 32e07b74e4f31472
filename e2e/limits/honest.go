//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// honest are publishers and clients that mean no harm. The publishers have a credential, and push small messages one after the other,
// one of them over a new connection each time. Each pushes to a client of its own.
type honest struct {
	victim  *victim
	clients []*client
	pushing sync.WaitGroup

	mu     sync.Mutex // guards what follows
	pushes []*pushed
	told   string // what judge has found out
}

// pushed is one push of an honest publisher.
type pushed struct {
	by, seq int // the publisher, and its how manieth push this is
	status  int // of the answer; 0: there was none
	fault   error
	begun   time.Time
	took    time.Duration
}

func (p *pushed) text() string { return fmt.Sprintf("%d %d", p.by, p.seq) }

// client is a client of an honest publisher, and what it has received.
type client struct {
	id    string
	conn  *websocket.Conn
	ended chan struct{} // closed when the connection has ended

	mu  sync.Mutex // guards got
	got []string
}

const (
	publishers = 3 // the last of them makes a new connection for each push
	pushPause  = 25 * time.Millisecond
	pushLimit  = 20 * time.Second // for an answer
)

// newHonest connects the clients.
func newHonest(ctx context.Context, v *victim) (*honest, error) {
	h := &honest{victim: v}
	for range publishers {
		conn, _, err := websocket.Dial(ctx, "ws://"+v.App+"/ws", nil)
		if err != nil {
			return h, err
		}
		c := &client{conn: conn, ended: make(chan struct{})}
		h.clients = append(h.clients, c)
		_, greeting, err := conn.Read(ctx)
		if err != nil {
			close(c.ended)
			return h, err
		}
		c.id = string(greeting)
		go c.read() // close waits for it
	}
	return h, nil
}

func (c *client) read() {
	defer close(c.ended)
	for {
		_, message, err := c.conn.Read(context.Background())
		if err != nil {
			return
		}
		c.mu.Lock()
		c.got = append(c.got, string(message))
		c.mu.Unlock()
	}
}

func (c *client) received() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// close ends the clients.
func (h *honest) close() {
	for _, c := range h.clients {
		_ = c.conn.CloseNow()
		<-c.ended
	}
}

// push has the publishers push until stop, which waits for the answers.
func (h *honest) push(ctx context.Context) (stop func()) {
	stopping := make(chan struct{})
	for by := range publishers {
		transport := &http.Transport{TLSClientConfig: trusting(h.victim.Certificate), DisableKeepAlives: by == publishers-1}
		h.pushing.Go(func() {
			defer transport.CloseIdleConnections()
			publisher := &http.Client{Transport: transport, Timeout: pushLimit}
			for seq := 0; ; seq++ {
				p := &pushed{by: by, seq: seq, begun: time.Now()}
				p.status, p.fault = h.post(ctx, publisher, p)
				p.took = time.Since(p.begun)
				h.mu.Lock()
				h.pushes = append(h.pushes, p)
				h.mu.Unlock()
				select {
				case <-time.After(pushPause):
				case <-stopping:
					return
				}
			}
		})
	}
	return func() {
		close(stopping)
		h.pushing.Wait()
	}
}

func (h *honest) post(ctx context.Context, publisher *http.Client, p *pushed) (status int, err error) {
	url := h.victim.url() + "/ws/@connections/" + h.clients[p.by].id
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(p.text()))
	if err != nil {
		return 0, err
	}
	r.GetBody = nil // so that the client cannot send it again by itself
	r.Header.Set("Authorization", "Bearer "+h.victim.Credential)
	r.Header.Set("Content-Type", "text/plain")
	resp, err := publisher.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// answered returns how many pushes have an answer.
func (h *honest) answered() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pushes)
}

// judge compares what the publishers were told with what the clients have received, once push has stopped, and says which pushes
// since began should have been answered otherwise: all that were not answered with 204.
func (h *honest) judge(ctx context.Context, began time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var faults []error
	expected := make(map[int][]string) // by publisher
	answers := make(map[string]int)
	var worst time.Duration
	total, written, overNew := 0, 0, 0
	for _, p := range h.pushes {
		if p.status == http.StatusNoContent {
			expected[p.by] = append(expected[p.by], p.text())
		}
		if p.begun.Before(began) {
			continue
		}
		total++
		worst = max(worst, p.took)
		switch {
		case p.status == http.StatusNoContent:
			written++
			if p.by == publishers-1 {
				overNew++
			}
		case p.status == 0:
			answers["no answer: "+innermost(p.fault).Error()]++
		default:
			answers[fmt.Sprint(p.status)]++
		}
	}
	h.told = fmt.Sprintf("%d of %d honest pushes answered with 204, %d of them over new connections, after %d ms at most",
		written, total, overNew, worst.Milliseconds())
	for _, answer := range slices.Sorted(maps.Keys(answers)) {
		faults = append(faults, fmt.Errorf("%d honest pushes: %s", answers[answer], answer))
	}
	if written == 0 {
		faults = append(faults, errors.New("no honest push was answered with 204"))
	} else if overNew == 0 {
		faults = append(faults, errors.New("no honest push over a new connection was answered with 204"))
	}
	for by, c := range h.clients {
		if !await(ctx, 5*time.Second, func() bool { return len(c.received()) >= len(expected[by]) }) {
			faults = append(faults, fmt.Errorf("client %d has received %d messages of the %d that were answered with 204", by, len(c.received()), len(expected[by])))
		}
		unknown := 0
		for _, p := range h.pushes {
			if p.by == by && (p.status == 0 || p.status == http.StatusGatewayTimeout) {
				unknown++
			}
		}
		if unknown == 0 && !slices.Equal(c.received(), expected[by]) {
			faults = append(faults, fmt.Errorf("client %d has received other messages, or in another order, than were answered with 204", by))
		}
	}
	return errors.Join(faults...)
}

// innermost returns the error at the bottom of another, which says nothing of ports.
func innermost(err error) error {
	for {
		below := errors.Unwrap(err)
		if below == nil {
			return err
		}
		err = below
	}
}

// String returns figures, once judge has been called.
func (h *honest) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.told
}
