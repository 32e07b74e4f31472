package link

import (
	"context"
	"net/http"
	"strings"

	"github.com/coder/websocket"
)

// ServeHTTP answers an opening: a GET request whose path ends in the nonce. It takes the connection over, and returns; the link's
// goroutines are Links' own.
func (l *Links) ServeHTTP(rw http.ResponseWriter, r *http.Request, nonce string) {
	o, key, proof, ok := readOpening(l.config.Keys, nonce, r.Header.Get(header))
	if !ok || r.Method != http.MethodGet {
		http.Error(rw, "a link is opened by a worker with the same keys", http.StatusForbidden)
		return
	}
	from, err := l.config.Keys.Open(o.from)
	if err != nil {
		http.Error(rw, "none of the worker's keys opens the place of the one that opens the link", http.StatusForbidden)
		return
	}
	answer := &reception{instance: l.config.Instance, nonce: newNonce()}
	say := func(word string) {
		answer.word = word
		rw.Header().Set(header, answer.header(o, key, proof))
	}
	refuse := func(word, text string, status int) {
		say(word)
		http.Error(rw, text, status)
	}
	l.mu.Lock()
	draining := l.draining
	l.openings++ // before the answer, so that a later opening of the same opener has a greater number
	number := l.openings
	if !draining {
		l.running.Add(1) // Close waits until the link is among those that it ends
		defer l.running.Done()
	}
	l.mu.Unlock()
	switch to, err := l.config.Keys.Open(o.to); {
	case err != nil || to.Address != l.config.Address:
		refuse(isWrong, "the address of this worker is another one", http.StatusMisdirectedRequest)
		return
	case o.use == forProbe:
		say(isProbed)
		rw.WriteHeader(http.StatusNoContent)
		return
	case draining:
		refuse(isEnding, "the worker is shutting down", http.StatusServiceUnavailable)
		return
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		refuse(isPlain, "the request came without its Upgrade header", http.StatusUpgradeRequired)
		return
	case o.use != forLink || r.Header.Get("Sec-WebSocket-Protocol") != subprotocol:
		refuse(isVersion, "this worker opens links of another version", http.StatusUpgradeRequired)
		return
	}
	if !canHijack(rw) { // coder/websocket would find out when it has said that the link is open
		refuse(isPlain, "the server, or a middleware, cannot hand the connection over", http.StatusNotImplemented)
		return
	}
	say(isOpen)
	in, out, err := ciphers(key, o, proof, answer)
	if err != nil {
		http.Error(rw, "the link has no keys", http.StatusInternalServerError)
		return
	}
	h := &hijacked{ResponseWriter: rw}
	ws, err := websocket.Accept(h, r, &websocket.AcceptOptions{
		Subprotocols:    []string{subprotocol},
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil { // and Accept has answered, as far as it could
		if h.carrier != nil {
			_ = h.carrier.Close()
		}
		return
	}
	if !h.early { // Accept has put something in front of the connection all the same, which would cost a little for each read
		h.reader.Reset(h.carrier)
	}
	ws.SetReadLimit(maxBatch)
	now := l.now()
	t := &taking{
		links: l, number: number, ch: &channel{ws: ws, carrier: h.carrier, in: in, out: out}, from: opener{from.Address, from.Instance}, conn: h.conn,
		wake: make(chan struct{}, 1), over: make(chan struct{}), read: make(chan struct{}),
		opened: now, heard: now, large: bodies{credit: window}, buffered: h.reader.Buffered,
	}
	if l.config.Arrived != nil {
		t.arrived = l.config.Arrived(h.conn)
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		t.loseLocked(errClosing)
		t.cancel()
		_ = ws.CloseNow()
		return
	}
	l.accepted[t] = struct{}{}
	l.running.Go(t.hear)
	l.running.Go(t.write)
	l.running.Go(t.watch)
	if l.draining { // since we looked
		t.bye()
	}
}
