package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// traveller is a client with a session, which outlives its WebSocket. All that it needs to come back to it is a ticket and a count.
type traveller struct {
	url    string
	ticket string
	count  uint64 // messages of the session that it has received
}

// hello is the first message on each of its WebSockets, which is not counted.
type hello struct {
	Ticket  string
	Resumed bool
	Offset  uint64
}

// travel is a client that is cut off now and then, for some seconds, until ctx ends.
func (c *crowd) travel(ctx context.Context) {
	t := traveller{url: fmt.Sprintf("%s/train?user=%s-%d", c.url, names[rand.N(len(names))], rand.N(10))}
	for ctx.Err() == nil {
		t.ride(ctx, 10*time.Second+rand.N(40*time.Second))
		select {
		case <-ctx.Done():
		case <-time.After(2*time.Second + rand.N(15*time.Second)): // a tunnel
		}
	}
}

// ride is one WebSocket. It ends without a close frame, as one does in a tunnel, unless ctx has ended.
func (t *traveller) ride(ctx context.Context, lasts time.Duration) {
	offers := []string{"wspush.v1"}
	if t.ticket != "" {
		offers = append(offers, fmt.Sprintf("wspush.resume.%s.%d", t.ticket, t.count))
	}
	conn, _, err := websocket.Dial(ctx, t.url, &websocket.DialOptions{
		Subprotocols: offers, HTTPHeader: http.Header{"User-Agent": {userAgents[rand.N(len(userAgents))]}},
	})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	riding, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	_, data, err := conn.Read(riding)
	var h hello
	if err != nil || json.Unmarshal(data, &h) != nil || h.Ticket == "" {
		return
	}
	t.ticket, t.count = h.Ticket, 0
	if h.Resumed {
		t.count = h.Offset
	}
	for {
		typ, data, err := conn.Read(riding)
		if err != nil {
			return
		}
		if isControl := typ == websocket.MessageText && strings.HasPrefix(string(data), "\x06") && !strings.HasPrefix(string(data), "\x06\x06"); !isControl {
			t.count++
		}
	}
}
