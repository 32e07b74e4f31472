// Command gws is the benchmark's server on github.com/lxzan/gws.
package main

import (
	"net/http"
	"sync"
	"time"

	"github.com/lxzan/gws"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

var conns control.Conns[*gws.Conn]

func main() {
	s := control.New()
	upgrader := gws.NewUpgrader(&handler{server: s}, nil)
	s.Mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
		socket, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go func() {
			socket.ReadLoop() // Blocking prevents the context from being GC.
		}()
	})
	s.HandlePush(push)
	s.HandleBulk(push)
	s.HandleBroadcast(broadcast)
	s.Serve(push)
}

func push(id string, data []byte) error {
	socket, err := conns.Get(id)
	if err != nil {
		return err
	}
	return socket.WriteMessage(gws.OpcodeText, data)
}

// broadcast frames the message once. Everyone's own queue writes it.
func broadcast(data []byte) (n int, err error) {
	b := gws.NewBroadcaster(gws.OpcodeText, data)
	defer b.Close()
	var written sync.WaitGroup
	for _, socket := range conns.All() {
		if err := b.Broadcast(socket); err != nil {
			return n, err
		}
		n++
		written.Add(1)
		socket.Async(written.Done)
	}
	written.Wait()
	return n, nil
}

// handler serves the events of all connections.
type handler struct {
	gws.BuiltinEventHandler
	server *control.Server
}

// What a connection has in its Session.
const (
	keyID   = "id"
	keyDone = "done"
)

func (h *handler) OnOpen(socket *gws.Conn) {
	h.extend(socket)
	id, done := control.NewID(), make(chan struct{})
	socket.Session().Store(keyID, id)
	socket.Session().Store(keyDone, done)
	conns.Add(id, socket)
	go ping(socket, h.server.Ping, done)
	_ = socket.WriteMessage(gws.OpcodeText, []byte(h.server.URL(id)))
}

func (h *handler) OnClose(socket *gws.Conn, _ error) {
	if id, ok := socket.Session().Load(keyID); ok {
		conns.Remove(id.(string))
	}
	if done, ok := socket.Session().Load(keyDone); ok {
		close(done.(chan struct{}))
	}
}

func (h *handler) OnPing(socket *gws.Conn, payload []byte) {
	h.extend(socket)
	_ = socket.WritePong(payload)
}

func (h *handler) OnPong(socket *gws.Conn, _ []byte) { h.extend(socket) }

// extend sets when the connection ends if it stays silent. The README waits 10 s for an answer.
func (h *handler) extend(socket *gws.Conn) {
	_ = socket.SetDeadline(time.Now().Add(h.server.Ping + 10*time.Second))
}

func ping(socket *gws.Conn, interval time.Duration, done <-chan struct{}) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
		}
		if err := socket.WritePing(nil); err != nil {
			return // OnClose follows
		}
	}
}
