// Command gorilla is the benchmark's server on github.com/gorilla/websocket, after its chat example, but with a mutex for
// writing, so that a push is answered when it is written.
package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

const writeWait = 10 * time.Second

var upgrader websocket.Upgrader

// client is a connection, which supports one writer at a time.
type client struct {
	conn *websocket.Conn
	mu   sync.Mutex
}

var clients control.Conns[*client]

func main() {
	s := control.New()
	s.Mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		// Allow collection of memory referenced by the caller by doing all work in new goroutines.
		go serve(s, conn)
	})
	s.HandlePush(push)
	s.HandleBulk(push)
	s.HandleBroadcast(broadcast)
	s.Serve(push)
}

func serve(s *control.Server, conn *websocket.Conn) {
	defer conn.Close()
	c := &client{conn: conn}
	id := control.NewID()
	clients.Add(id, c)
	defer clients.Remove(id)
	if err := c.write(websocket.TextMessage, []byte(s.URL(id))); err != nil {
		return
	}
	done := make(chan struct{})
	defer close(done)
	go c.ping(s.Ping, done)

	pongWait := s.Ping * 10 / 9
	conn.SetReadDeadline(time.Now().Add(pongWait))
	conn.SetPongHandler(func(string) error { return conn.SetReadDeadline(time.Now().Add(pongWait)) })
	for {
		if _, _, err := conn.ReadMessage(); err != nil {
			return
		}
	}
}

func (c *client) ping(interval time.Duration, done <-chan struct{}) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
		}
		if err := c.write(websocket.PingMessage, nil); err != nil {
			c.conn.Close()
			return
		}
	}
}

func (c *client) write(messageType int, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(writeWait))
	return c.conn.WriteMessage(messageType, data)
}

// broadcast frames the message once.
func broadcast(data []byte) (n int, err error) {
	message, err := websocket.NewPreparedMessage(websocket.TextMessage, data)
	if err != nil {
		return 0, err
	}
	for _, c := range clients.All() {
		if err := c.writePrepared(message); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (c *client) writePrepared(message *websocket.PreparedMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(writeWait))
	return c.conn.WritePreparedMessage(message)
}

func push(id string, data []byte) error {
	c, err := clients.Get(id)
	if err != nil {
		return err
	}
	return c.write(websocket.TextMessage, data)
}
