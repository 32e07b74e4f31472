package snippets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wspush/wspush"
)

// withMail makes a Handler whose users get by mail what none of their pages has got.
func withMail(worker *wspush.Worker, mail func(user string, data []byte)) (*wspush.Handler, error) {
	return wspush.NewHandler(worker, &wspush.HandlerOptions{
		ResumeWindow: 2 * time.Minute,
		Accept:       func(r *http.Request) (any, error) { return userOf(r) },
		User:         func(_ *http.Request, value any) string { return value.(string) },
		OnDisconnect: func(c *wspush.Conn, _ error) {
			for m := range c.Unconfirmed() { // what was accepted for her and is not known to have arrived, in order
				if !m.Written { // otherwise she may have seen it
					mail(c.User(), m.Data)
				}
			}
		},
	})
}

// orMail pushes to a client, and mails what it does not get within ten seconds.
func orMail(ctx context.Context, c *wspush.Conn, data []byte, mail func(user string, data []byte)) error {
	_, err := c.Push(ctx, wspush.Text, data, wspush.Keep(10*time.Second))
	switch {
	case errors.Is(err, wspush.ErrUnknown): // she may have it
		return err
	case err != nil: // nothing was written, and nothing will be
		mail(c.User(), data)
	}
	return nil
}

// newRestartable makes a worker whose sessions outlive it.
func newRestartable(file string) (*wspush.Worker, error) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		SessionFile: file, // such as /var/lib/shop/sessions: where Shutdown leaves the sessions for the next start
	})
	return worker, err
}

// sessionClient is a page's side of a session, with what it takes to come back.
type sessionClient struct {
	url      string
	conn     *websocket.Conn
	messages chan string // which it reads at once, as browsers do, so that pings are answered
	hello    struct {
		Address, Ticket, Why string
		Window               int
		Resumed              bool
	}
	count int
}

// join connects a client that speaks wspush.v1; for one that has been connected, it comes back.
func (s *sessionClient) join(t *testing.T) {
	t.Helper()
	offers := []string{"wspush.v1"}
	if s.hello.Ticket != "" {
		offers = append(offers, fmt.Sprintf("wspush.resume.%s.%d", s.hello.Ticket, s.count))
	}
	dialer := websocket.Dialer{Subprotocols: offers}
	conn, _, err := dialer.Dial("ws"+strings.TrimPrefix(s.url, "http"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s.conn, s.messages = conn, make(chan string, 10)
	go func(messages chan<- string) {
		defer close(messages)
		for {
			_, data, err := conn.ReadMessage()
			if err != nil {
				return
			}
			messages <- string(data)
		}
	}(s.messages)
	s.hello.Resumed, s.hello.Why = false, ""
	if err := json.Unmarshal([]byte(s.next(t)), &s.hello); err != nil {
		t.Fatal(err)
	}
}

func (s *sessionClient) next(t *testing.T) string {
	t.Helper()
	select {
	case text, ok := <-s.messages:
		if !ok {
			t.Fatal("the client is closed")
		}
		return text
	case <-time.After(within):
		t.Fatal("the client receives nothing")
		return ""
	}
}

// receives fails the test unless these are the next messages.
func (s *sessionClient) receives(t *testing.T, messages ...string) {
	t.Helper()
	for _, want := range messages {
		if got := s.next(t); got != want {
			t.Fatalf("the client receives %q, want %q", got, want)
		}
		s.count++
	}
}

// leave breaks the client's WebSocket, and waits until the session is suspended.
func (s *sessionClient) leave(t *testing.T, c *wspush.Conn) {
	t.Helper()
	s.conn.NetConn().Close()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); !c.Info().Suspended; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the session is not suspended")
		}
	}
}

// newSession connects a client to a Handler.
func newSession(t *testing.T, worker *wspush.Worker, handler http.Handler) (*sessionClient, *wspush.Conn) {
	t.Helper()
	s := &sessionClient{url: serveFor(t, handler) + "/ws?user=ada"}
	s.join(t)
	for c := range worker.Conns() {
		return s, c
	}
	t.Fatal("nobody is connected")
	return nil, nil
}

// The answers in the table of docs/sessions.md, by HTTP.
func TestSessionAnswers(t *testing.T) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{ResumeWindow: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	client, conn := newSession(t, worker, handler)
	address := conn.PathAddresses()[0]
	ask := func(method, query, body string) (status int, header http.Header, text string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address+query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		all, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header, string(all)
	}
	push := func(query, body string, want int) http.Header {
		t.Helper()
		status, header, text := ask(http.MethodPost, query, body)
		if status != want {
			t.Fatalf("a push of %q is answered %d, want %d: %s", body, status, want, text)
		}
		if want == http.StatusConflict && !strings.Contains(text, "urn:wspush:suspended") {
			t.Error(text)
		}
		return header
	}
	isBuffered := func(header http.Header) {
		t.Helper()
		if seconds, err := strconv.Atoi(header.Get("Wspush-Buffered")); err != nil || seconds < 100 || seconds > 120 {
			t.Errorf("Wspush-Buffered: %q", header.Get("Wspush-Buffered"))
		}
	}

	push("", "1", 204)
	client.receives(t, "1")
	push("?confirm=received", "2", 204)
	client.receives(t, "2")
	client.leave(t, conn)
	isBuffered(push("", "3", 202))
	push("?keep=0", "never", 409)
	push("?keep=10ms", "never", 409)
	push("?confirm=received&timeout=10ms", "never", 409)
	if status, _, text := ask(http.MethodGet, "", ""); status != 200 || !strings.Contains(text, `"state":"suspended"`) || !strings.Contains(text, `"messages":1`) {
		t.Errorf("%d %s", status, text)
	}
	if status, header, _ := ask(http.MethodHead, "", ""); status != 200 || header.Get("Wspush-State") != "suspended" {
		t.Errorf("%d %v", status, header)
	}
	waiting := make(chan int)
	go func() {
		status, _, _ := ask(http.MethodPost, "?confirm=received", "4")
		waiting <- status
	}()
	before := client.hello.Address
	client.join(t)
	if !client.hello.Resumed || client.hello.Address != before {
		t.Errorf("%+v", client.hello)
	}
	client.receives(t, "3", "4")
	if status := <-waiting; status != 204 {
		t.Errorf("a push that has waited for the client is answered %d", status)
	}
	push("?keep=0", "5", 204)
	client.receives(t, "5")
	if status, _, _ := ask(http.MethodDelete, "", ""); status != 204 {
		t.Errorf("DELETE is answered %d", status)
	}
	push("", "never", 410)
}

// Who is away for too long gets a mail, and only once; so does who is to be mailed at once.
func TestSessionMail(t *testing.T) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	mails := make(chan string, 10)
	mail := func(user string, data []byte) { mails <- user + ": " + string(data) }
	handler, err := withMail(worker, mail)
	if err != nil {
		t.Fatal(err)
	}
	client, conn := newSession(t, worker, handler)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := orMail(ctx, conn, []byte("she is here"), mail); err != nil {
		t.Fatal(err)
	}
	client.receives(t, "she is here")
	client.leave(t, conn)
	soon, cancelSoon := context.WithTimeout(ctx, 10*time.Millisecond) // in place of Keep's ten seconds
	defer cancelSoon()
	if err := orMail(soon, conn, []byte("at once"), mail); err != nil {
		t.Fatal(err)
	}
	receipt, err := conn.Push(ctx, wspush.Text, []byte("in the end"))
	if err != nil || receipt.State != wspush.Buffered || receipt.BufferedFor <= time.Minute {
		t.Fatal(receipt, err)
	}
	if err := worker.Disconnect(ctx, conn.ID(), 1000, ""); err != nil { // in place of two minutes
		t.Fatal(err)
	}
	var got []string
	for range 2 {
		select {
		case m := <-mails:
			got = append(got, m)
		case <-ctx.Done():
			t.Fatal("mailed only ", got)
		}
	}
	if want := []string{"ada: at once", "ada: in the end"}; !slices.Equal(got, want) {
		t.Errorf("mailed: %q, want %q", got, want)
	}
	select {
	case m := <-mails:
		t.Errorf("mailed as well: %q", m)
	default:
	}
}

// A worker that is replaced by another takes its sessions with it, and everybody is told: the application by Unconfirmed, the page by its hello.
func TestSessionRestart(t *testing.T) {
	mails := make(chan string, 10)
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := withMail(worker, func(user string, data []byte) { mails <- user + ": " + string(data) })
	if err != nil {
		t.Fatal(err)
	}
	client, conn := newSession(t, worker, handler)
	client.leave(t, conn)
	if r, err := conn.Push(t.Context(), wspush.Text, []byte("in the end")); err != nil || r.State != wspush.Buffered {
		t.Fatal(r, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := worker.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case m := <-mails:
		if m != "ada: in the end" {
			t.Errorf("mailed %q", m)
		}
	default:
		t.Error("Shutdown has not waited for the mail")
	}
	next, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, next)
	if handler, err = withMail(next, func(string, []byte) {}); err != nil {
		t.Fatal(err)
	}
	client.url = serveFor(t, handler) + "/ws?user=ada"
	client.join(t)
	if client.hello.Resumed || client.hello.Why != "unknown" || client.hello.Window != 120 {
		t.Errorf("%+v", client.hello)
	}
}

// A worker that is restarted in order loses nothing, and its addresses stay good.
func TestRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "sessions")
	var client *sessionClient
	var address string
	for _, text := range []string{"", "first", "second"} {
		worker, err := newRestartable(file)
		if err != nil {
			t.Fatal(err)
		}
		handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{ResumeWindow: 2 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if client == nil {
			var conn *wspush.Conn
			client, conn = newSession(t, worker, handler)
			address = conn.PathAddresses()[0]
		} else {
			resp, err := http.Post(address, "text/plain", strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				t.Fatalf("a push is answered %s", resp.Status)
			}
			client.url = serveFor(t, handler) + "/ws?user=ada"
			client.join(t)
			if !client.hello.Resumed {
				t.Fatalf("%+v", client.hello)
			}
			client.receives(t, text)
		}
		if err := worker.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
