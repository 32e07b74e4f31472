package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gorilla/websocket"
)

// wire is one WebSocket of a client with a session.
type wire struct {
	*sessionClient
	ws      *websocket.Conn
	conn    *valve
	session *Session      // set with the hello
	read    uint64        // the number of the last message; sessionClient.mu guards it
	ended   chan struct{} // closed when nothing more comes
	err     error         // why; read it only after ended
}

// farewell is how a client ends a WebSocket.
type farewell int

const (
	byFIN farewell = iota
	byRST
	byBack      // with a close frame that says that the client comes back
	byGoingAway // with the one of a page that is reloaded
	byNormalEnd // of the session, too
)

// farewells are those that leave the session alive.
var farewells = []farewell{byFIN, byRST, byBack, byGoingAway}

const (
	codeBack     = 3901
	codeReplaced = 3909
)

func newWire(c *sessionClient, ws *websocket.Conn, conn *valve) *wire {
	w := &wire{sessionClient: c, ws: ws, conn: conn, ended: make(chan struct{})}
	ws.SetPongHandler(func(data string) error {
		at, _ := strconv.ParseInt(data, 10, 64)
		c.mu.Lock()
		defer c.mu.Unlock()
		if w.session != nil && c.wire == w {
			w.session.Alive = max(w.session.Alive, time.Duration(at))
		}
		return nil
	})
	return w
}

// ping asks the worker whether it has the WebSocket, with a frame and, since pages cannot, with a message.
func (w *wire) ping(now time.Duration) {
	soon := time.Now().Add(time.Second)
	_ = w.ws.WriteControl(websocket.PingMessage, strconv.AppendInt(nil, int64(now), 10), soon)
	_ = w.ws.SetWriteDeadline(soon)
	_ = w.ws.WriteMessage(websocket.TextMessage, []byte{control, 'p'})
}

// receive reads until the WebSocket ends. Each message is in the ledger before anything further is read: so when gorilla answers a ping, which it
// does in ReadMessage, everything before the ping has been recorded.
func (w *wire) receive() {
	defer close(w.ended)
	for {
		typ, data, err := w.ws.ReadMessage()
		if err != nil {
			w.err = err
			w.countEnd(err)
			return
		}
		if typ == websocket.TextMessage {
			payload, isMessage := payloadOf(data)
			if !isMessage {
				continue
			}
			data = payload
		}
		r := Receipt{At: w.since()}
		r.Message, r.Fault = decodeMarked(data, typ == websocket.BinaryMessage)
		w.take(w, r)
	}
}

func (w *wire) countEnd(err error) {
	var code *websocket.CloseError
	switch {
	case errors.As(err, &code) && code.Code != websocket.CloseAbnormalClosure:
		w.count("WebSockets that ended", fmt.Sprintf("closed with %d", code.Code))
		if code.Code == codeReplaced && w.present() == w {
			w.replaced(w.session)
		}
	case isTimeout(err):
		w.count("WebSockets that ended", "given up by the client")
	default:
		w.count("WebSockets that ended", "cut")
	}
}

// cut ends the WebSocket.
func (w *wire) cut(how farewell) {
	code := 0
	switch how {
	case byRST:
		if tcp, ok := w.conn.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	case byBack:
		code = codeBack
	case byGoingAway:
		code = websocket.CloseGoingAway
	case byNormalEnd:
		code = websocket.CloseNormalClosure
	}
	if code != 0 {
		_ = w.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, ""), time.Now().Add(time.Second))
		w.conn.hurry(leaveTimeout)
		<-w.ended
	}
	_ = w.ws.Close()
}
