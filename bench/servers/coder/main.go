// Command coder is the benchmark's server on github.com/coder/websocket.
package main

import (
	"context"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

var (
	conns        control.Conns[*websocket.Conn]
	writeTimeout time.Duration
)

func main() {
	s := control.New()
	writeTimeout = s.WriteTimeout
	s.Mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		id := control.NewID()
		conns.Add(id, c)
		defer conns.Remove(id)
		if err := write(c, []byte(s.URL(id))); err != nil {
			return
		}
		go ping(ctx, c, s.Ping)
		for {
			if _, _, err := c.Read(ctx); err != nil {
				return
			}
		}
	})
	s.HandlePush(push)
	s.HandleBulk(push)
	s.Serve(push)
}

func push(id string, data []byte) error {
	c, err := conns.Get(id)
	if err != nil {
		return err
	}
	return write(c, data)
}

func write(c *websocket.Conn, data []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return c.Write(ctx, websocket.MessageText, data)
}

// ping pings the client until ctx ends, or it does not answer.
func ping(ctx context.Context, c *websocket.Conn, interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		answered, cancel := context.WithTimeout(ctx, interval)
		err := c.Ping(answered)
		cancel()
		if err != nil {
			c.CloseNow()
			return
		}
	}
}
