// Command melody is the benchmark's server on github.com/olahol/melody.
package main

import (
	"net/http"
	"sync"

	"github.com/olahol/melody"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

// What a session has.
const (
	keyID      = "id"
	keyGreeted = "greeted"
)

var sessions control.Conns[*melody.Session]

func main() {
	s := control.New()
	m := melody.New()
	m.Config.PingPeriod = s.Ping
	m.Config.PongWait = s.Ping * 10 / 9 // as in its defaults
	m.HandleConnect(func(session *melody.Session) {
		id := control.NewID()
		session.Set(keyID, id)
		sessions.Add(id, session)
		session.Write([]byte(s.URL(id)))
	})
	m.HandleDisconnect(func(session *melody.Session) {
		if id, ok := session.Get(keyID); ok {
			sessions.Remove(id.(string))
		}
	})
	s.Mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) { m.HandleRequest(w, r) })
	s.HandlePush(push)
	var written sync.WaitGroup
	m.HandleSentMessage(func(session *melody.Session, message []byte) {
		if _, ok := session.Get(keyGreeted); ok {
			written.Done()
		} else {
			session.Set(keyGreeted, true)
		}
	})
	s.HandleBroadcast(func(data []byte) (int, error) {
		n := m.Len()
		written.Add(n)
		if err := m.Broadcast(data); err != nil {
			return 0, err
		}
		written.Wait()
		return n, nil
	})
	s.Serve(push)
}

// push returns when the message is in the session's queue; melody drops it when that is full.
func push(id string, data []byte) error {
	session, err := sessions.Get(id)
	if err != nil {
		return err
	}
	return session.Write(data)
}
