package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
)

// reference is a small server of wspush.v1, so that clients can be tested without the library. It has no bounds: a session keeps every
// message that it ever had.
type reference struct {
	host   string
	window time.Duration

	mu       sync.Mutex
	sessions map[string]*session // by ID; those that have ended stay, for their close code
}

type session struct {
	// Guarded by the reference's mu.
	id      string
	tickets []string // the present one, and before it the one that is good until the client has confirmed this one
	log     []message
	ws      *websocket.Conn // nil while suspended
	news    chan struct{}   // closed when log or ws changes
	expiry  *time.Timer
	ended   *websocket.CloseError
}

type message struct {
	kind websocket.MessageType
	data []byte
}

func newReference(host string, window time.Duration) *reference {
	return &reference{host: host, window: window, sessions: map[string]*session{}}
}

// find returns the session that a resume asks for and its offset, or why there is none. The caller holds mu.
func (r *reference) find(offers []string) (s *session, offset uint64, why string) {
	for _, offer := range offers {
		ticket, count, ok := strings.Cut(strings.TrimPrefix(offer, "wspush.resume."), ".")
		if !ok || !strings.HasPrefix(offer, "wspush.resume.") {
			continue
		}
		offset, err := strconv.ParseUint(count, 10, 64)
		for s := range maps.Values(r.sessions) {
			if err == nil && slices.Contains(s.tickets, ticket) {
				return s, offset, ""
			}
		}
		return nil, 0, "unknown"
	}
	return nil, 0, ""
}

func (r *reference) connect(w http.ResponseWriter, q *http.Request) {
	var offers []string
	for _, line := range q.Header.Values("Sec-WebSocket-Protocol") {
		for offer := range strings.SplitSeq(line, ",") {
			offers = append(offers, strings.TrimSpace(offer))
		}
	}
	ws, err := websocket.Accept(w, q, &websocket.AcceptOptions{Subprotocols: []string{"wspush.v1"}})
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	if ws.Subprotocol() != "wspush.v1" {
		_ = ws.Close(websocket.StatusPolicyViolation, "only wspush.v1 is spoken here")
		return
	}

	r.mu.Lock()
	s, offset, why := r.find(offers)
	switch {
	case s != nil && s.ended != nil:
		r.mu.Unlock()
		_ = ws.Close(s.ended.Code, s.ended.Reason)
		return
	case s != nil && offset > uint64(len(s.log)):
		r.mu.Unlock()
		_ = ws.Close(websocket.StatusProtocolError, "offset too high")
		return
	}
	hello := map[string]any{"resumed": s != nil, "window": int(math.Ceil(r.window.Seconds())), "protocol": ""}
	if s == nil {
		s = &session{id: uuid.NewString(), news: make(chan struct{})}
		r.sessions[s.id] = s
		if why != "" {
			hello["why"] = why
		}
	} else {
		hello["offset"] = offset
	}
	hello["address"] = "http://" + s.id + "@" + r.host + "/ws"
	former := s.ws
	s.ws = ws
	if s.expiry != nil {
		s.expiry.Stop()
	}
	if r.window > 0 {
		secret := make([]byte, 24)
		rand.Read(secret)
		ticket := base64.RawURLEncoding.EncodeToString(secret)
		s.tickets = append(s.tickets[max(0, len(s.tickets)-1):], ticket)
		hello["ticket"] = ticket
	}
	r.mu.Unlock()
	if former != nil {
		go func() { _ = former.Close(3909, "replaced") }()
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go r.write(ctx, s, ws, hello, offset)
	err = r.read(ctx, ws)
	r.lost(s, ws, err)
}

// write sends the hello, and then every message after offset, until ctx ends.
func (r *reference) write(ctx context.Context, s *session, ws *websocket.Conn, hello map[string]any, offset uint64) {
	text, _ := json.Marshal(hello)
	if ws.Write(ctx, websocket.MessageText, text) != nil {
		return
	}
	for {
		r.mu.Lock()
		rest, news := s.log[offset:], s.news
		if s.ws != ws {
			rest, news = nil, nil
		}
		r.mu.Unlock()
		for _, m := range rest {
			data := m.data
			if m.kind == websocket.MessageText && len(data) > 0 && data[0] == 6 {
				data = append([]byte{6}, data...)
			}
			if ws.Write(ctx, m.kind, data) != nil {
				return
			}
			offset++
		}
		if len(rest) > 0 {
			continue
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

// read answers probes, until the WebSocket ends.
func (r *reference) read(ctx context.Context, ws *websocket.Conn) error {
	for {
		kind, data, err := ws.Read(ctx)
		if err != nil {
			return err
		}
		if kind == websocket.MessageText && string(data) == "\x06p" {
			if err := ws.Write(ctx, kind, data); err != nil {
				return err
			}
		}
	}
}

// lost suspends the session, or ends it if the client's close code says so.
func (r *reference) lost(s *session, ws *websocket.Conn, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.ws != ws {
		return
	}
	s.ws = nil
	code := websocket.CloseStatus(err)
	if r.window <= 0 || code == 1000 || code == 1005 || code >= 3000 && code != 3901 {
		delete(r.sessions, s.id)
		return
	}
	s.expiry = time.AfterFunc(r.window, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if s.ws == nil {
			delete(r.sessions, s.id)
		}
	})
}

func (r *reference) push(w http.ResponseWriter, q *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, q.Body, 1<<20))
	if err != nil {
		return
	}
	kind := websocket.MessageText
	if q.Header.Get("Content-Type") == "application/octet-stream" {
		kind = websocket.MessageBinary
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sessions[q.PathValue("id")]
	if s == nil || s.ended != nil {
		http.Error(w, "gone", http.StatusGone)
		return
	}
	s.log = append(s.log, message{kind, data})
	close(s.news)
	s.news = make(chan struct{})
	if s.ws == nil {
		w.Header().Set("Wspush-Buffered", strconv.Itoa(int(math.Ceil(r.window.Seconds()))))
		w.WriteHeader(http.StatusAccepted)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (r *reference) end(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	s := r.sessions[q.PathValue("id")]
	if s == nil || s.ended != nil {
		r.mu.Unlock()
		http.Error(w, "gone", http.StatusGone)
		return
	}
	s.ended = &websocket.CloseError{Code: websocket.StatusNormalClosure, Reason: "deleted"}
	ws := s.ws
	r.mu.Unlock()
	if ws != nil {
		_ = ws.Close(s.ended.Code, s.ended.Reason)
	}
	w.WriteHeader(http.StatusNoContent)
}

// shutdown closes every WebSocket with 1012.
func (r *reference) shutdown() {
	r.mu.Lock()
	var all []*websocket.Conn
	for s := range maps.Values(r.sessions) {
		if s.ws != nil {
			all = append(all, s.ws)
		}
	}
	r.mu.Unlock()
	var closing sync.WaitGroup
	for _, ws := range all {
		closing.Go(func() { _ = ws.Close(websocket.StatusServiceRestart, "service restart") })
	}
	closing.Wait()
}
