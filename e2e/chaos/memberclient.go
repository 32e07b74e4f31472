package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// memberClient is a client of a user. It connects, stays, leaves or moves, and joins and leaves groups.
type memberClient struct {
	client
	members *memberBooks
	user    string
	groups  []string
	stays   bool // until it is cut off
	wanders bool // from connection to connection, and is never away
}

const (
	pulseInterval = 400 * time.Millisecond // between two pings of a client, which prove that the worker has the connection
	longestStay   = 12 * time.Second
	longestAway   = 3 * time.Second
	changeAfter   = 2 * time.Second // between two changes of a client's groups, at the most
	wanderAfter   = 80 * time.Millisecond
)

// attached is a connection while it lasts.
type attached struct {
	*Member
	ws    *websocket.Conn
	valve *valve
	ended chan struct{} // closed when everything has been read
}

// ping asks the worker whether it has the connection.
func (a *attached) ping(now time.Duration) {
	_ = a.ws.WriteControl(websocket.PingMessage, strconv.AppendInt(nil, int64(now), 10), time.Now().Add(time.Second))
}

// live connects until ctx ends.
func (c *memberClient) live(ctx context.Context) {
	var a *attached
	for ctx.Err() == nil {
		if a == nil {
			if a = c.attach(ctx); a == nil {
				sleep(ctx, time.Duration(c.random.Int64N(int64(maxJitter))))
				continue
			}
		}
		if isCut := c.stay(ctx, a); isCut {
			a = nil
			sleep(ctx, time.Duration(c.random.Int64N(int64(maxJitter))))
			continue
		}
		switch n := c.random.IntN(10); {
		case ctx.Err() != nil:
		case n < 4 || c.wanders: // it moves, and is never away
			if next := c.attach(ctx); next != nil {
				c.detach(a, n < 1 && !c.wanders)
				a = next
			}
			continue
		default:
			c.detach(a, n < 5)
			a = nil
			if n < 8 {
				sleep(ctx, time.Duration(c.random.Int64N(int64(longestAway))))
			}
			continue
		}
	}
	if a != nil {
		c.detach(a, false)
	}
}

// stay stays on a connection for a while. It reports whether that has ended meanwhile.
func (c *memberClient) stay(ctx context.Context, a *attached) (isCut bool) {
	duration := time.Duration(c.random.Int64N(int64(longestStay)))
	switch {
	case c.stays:
		duration = never
	case c.wanders:
		duration = time.Duration(c.random.Int64N(int64(wanderAfter)))
	}
	over, change := time.NewTimer(duration), time.NewTimer(time.Duration(c.random.Int64N(int64(changeAfter))))
	defer over.Stop()
	defer change.Stop()
	pulse := time.NewTicker(pulseInterval)
	defer pulse.Stop()
	for {
		select {
		case <-pulse.C:
			a.ping(c.since())
		case <-change.C:
			if !c.stays && !c.wanders {
				c.change(a)
			}
			change.Reset(time.Duration(c.random.Int64N(int64(changeAfter))))
		case <-a.ended:
			c.members.remove(a.Member)
			_ = a.ws.Close()
			return true
		case <-over.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// attach connects, and returns nil if that fails.
func (c *memberClient) attach(ctx context.Context) *attached {
	query := url.Values{"user": {nameOf(c.user)}}
	for _, group := range c.groups {
		query.Add("group", nameOf(group))
	}
	dialled := c.since()
	ws, v, err := c.handshake(ctx, "?"+query.Encode())
	if err != nil {
		if ctx.Err() == nil {
			c.count("handshakes that failed", err.Error())
		}
		return nil
	}
	_, greeting, err := ws.ReadMessage()
	if err != nil {
		_ = ws.Close()
		return nil
	}
	greeted := c.since()
	plain, sealed, _ := strings.Cut(string(greeting), ",")
	address, err := url.Parse(plain)
	worker := -1
	if err == nil {
		worker = c.workerAt(address.Host)
	}
	if worker < 0 || sealed == "" {
		c.count("handshakes that failed", "the worker has moved")
		_ = ws.Close()
		return nil
	}
	m := &Member{ID: sealed, Worker: worker, User: c.user, Groups: c.groups, Dialled: dialled, Greeted: greeted, Alive: greeted, Left: never}
	a := &attached{m, ws, v, make(chan struct{})}
	ws.SetPongHandler(func(payload string) error {
		if at, err := strconv.ParseInt(payload, 10, 64); err == nil {
			m.Alive = max(m.Alive, time.Duration(at))
		}
		return nil
	})
	c.members.add(m)
	go func() { // until the connection has ended, which both stay and detach see to
		defer close(a.ended)
		c.readMember(a)
	}()
	return a
}

// readMember records messages until the connection ends.
func (c *memberClient) readMember(a *attached) {
	for {
		typ, data, err := a.ws.ReadMessage()
		if err != nil {
			return
		}
		r := Receipt{At: c.since()}
		r.Message, r.Fault = decode(data, typ == websocket.BinaryMessage)
		a.Receipts = append(a.Receipts, r)
	}
}

// detach leaves, in order or by cutting the connection.
func (c *memberClient) detach(a *attached, isRude bool) {
	a.Left = c.since()
	c.members.remove(a.Member)
	if !isRude {
		a.ping(a.Left) // the answer shows that it was there until it left
		frame := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = a.ws.WriteControl(websocket.CloseMessage, frame, time.Now().Add(time.Second))
		a.valve.hurry(leaveTimeout)
		<-a.ended
	}
	_ = a.ws.Close()
	<-a.ended
}

// change has the connection join or leave a group, through any worker.
func (c *memberClient) change(a *attached) {
	change := Change{Group: "r" + strconv.Itoa(c.random.IntN(rooms)), Join: true, Start: c.since()}
	method := http.MethodPut
	for _, before := range a.Changes {
		if before.Group == change.Group && before.Join { // leaving what it is not in does no harm
			change.Join, method = c.random.IntN(2) == 0, http.MethodDelete
		}
	}
	if change.Join {
		method = http.MethodPut
	}
	ctx, cancel := context.WithTimeout(context.Background(), hangTimeout)
	defer cancel()
	via := c.slots[c.random.IntN(len(c.slots))].pushAddress()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+via+"/ws/@connections/"+a.ID+"/@groups/"+url.PathEscape(nameOf(change.Group)), nil)
	if err != nil {
		c.fault("%v", err)
		return
	}
	if answer, err := c.http.Do(r); err == nil {
		answer.Body.Close()
		change.Status = answer.StatusCode
	}
	change.End = c.since()
	a.Changes = append(a.Changes, change)
	c.count("joining and leaving", method+" "+strconv.Itoa(change.Status))
}
