package testutil

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Page is a client that speaks wspush.v1, as a page in a browser does: it reads on its own, answers pings, and counts messages. Its
// methods are for the test's goroutine.
type Page struct {
	*Client
	Hello Hello  // all zero if there was none
	Count uint64 // of the session's messages that Next has returned

	messages chan string // what comes after the hello; closed at the end of the stream
	ended    error       // why it was closed: set before
}

// Hello is the first message to such a client.
type Hello struct {
	Address  string
	Ticket   string
	Window   int
	Protocol string
	Resumed  bool
	Offset   uint64
	Missed   uint64
	Why      string

	Refused string
	After   int

	Raw string `json:"-"` // all of it
}

// pageTime is how long a Page waits for what is to come.
const pageTime = 20 * time.Second

// Visit connects with wspush.v1 over conn, and waits for the hello, or for the end. resume is "TICKET.OFFSET", or "" for a new session. The
// protocols are offered as well.
func Visit(tb testing.TB, conn net.Conn, opts Options, resume string, protocols ...string) *Page {
	tb.Helper()
	offers := []string{"wspush.v1"}
	if resume != "" {
		offers = append(offers, "wspush.resume."+resume)
	}
	header := http.Header{}
	for name, values := range opts.Header {
		header[name] = values
	}
	header.Set("Sec-WebSocket-Protocol", strings.Join(append(offers, protocols...), ", "))
	opts.Header, opts.Timeout = header, -1
	p := &Page{Client: Handshake(tb, conn, opts), messages: make(chan string, 4096)}
	if got := p.Response().Header.Get("Sec-WebSocket-Protocol"); got != "wspush.v1" {
		tb.Fatalf("the worker has chosen %q", got)
	}
	go p.read()
	text, ok := p.take()
	if !ok {
		return p
	}
	if err := json.Unmarshal([]byte(text), &p.Hello); err != nil {
		tb.Fatalf("the hello is %q: %v", text, err)
	}
	p.Hello.Raw, p.Count = text, p.Hello.Offset
	return p
}

func (p *Page) read() {
	defer close(p.messages)
	for {
		_, message, err := p.Message()
		if err != nil {
			p.ended = err
			return
		}
		p.messages <- string(message)
	}
}

// take returns the next message, or false at the end.
func (p *Page) take() (string, bool) {
	p.tb.Helper()
	timer := time.NewTimer(pageTime)
	defer timer.Stop()
	select {
	case text, ok := <-p.messages:
		return text, ok
	case <-timer.C:
		p.tb.Fatal("nothing has come")
		return "", false
	}
}

// Next returns the next message as it came, control included, which it does not count.
func (p *Page) Next() string {
	p.tb.Helper()
	text, ok := p.take()
	if !ok {
		p.tb.Fatalf("the end has come, and no message: %v", p.ended)
	}
	if !strings.HasPrefix(text, "\x06") || strings.HasPrefix(text, "\x06\x06") {
		p.Count++
	}
	return text
}

// Want ends the test unless these are the next messages.
func (p *Page) Want(messages ...string) {
	p.tb.Helper()
	for _, want := range messages {
		if got := p.Next(); got != want {
			p.tb.Fatalf("got %q, want %q", got, want)
		}
	}
}

// TryNext is Next, but returns false if nothing has come.
func (p *Page) TryNext() (string, bool) {
	p.tb.Helper()
	if len(p.messages) == 0 {
		return "", false
	}
	return p.Next(), true
}

// WantNothing ends the test if a message has come.
func (p *Page) WantNothing() {
	p.tb.Helper()
	select {
	case text, ok := <-p.messages:
		p.tb.Fatalf("got %q (%v), want nothing", text, ok)
	default:
	}
}

// End waits for the end of the stream, skipping messages, and returns the code of the close frame; 1006 if there was none.
func (p *Page) End() (code int, reason string) {
	p.tb.Helper()
	for {
		if _, ok := p.take(); !ok {
			break
		}
	}
	if closed := (*CloseError)(nil); errors.As(p.ended, &closed) {
		return closed.Code, closed.Reason
	}
	return 1006, p.ended.Error()
}

// Ticket is what Visit takes to come back with what the page has.
func (p *Page) Ticket() string { return fmt.Sprintf("%s.%d", p.Hello.Ticket, p.Count) }
