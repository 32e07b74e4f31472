package snippets

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wspush/wspush"
)

// What the snippets of deploying.md, migrating.md and security.md are tried with.

// serveFor serves until the test ends, and returns the URL.
func serveFor(t *testing.T, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// shutdownAfter has the worker shut down when the test ends.
func shutdownAfter(t *testing.T, worker *wspush.Worker) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := worker.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
}

// pageClient is a client of a test.
type pageClient struct {
	t    *testing.T
	conn *websocket.Conn
}

// dialClient connects to http://….
func dialClient(t *testing.T, url string) *pageClient {
	t.Helper()
	conn, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http"), nil)
	if err != nil {
		t.Fatalf("%v (%v)", err, resp)
	}
	t.Cleanup(func() { conn.Close() })
	return &pageClient{t, conn}
}

// next is the next message.
func (c *pageClient) next() string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, data, err := c.conn.ReadMessage()
	if err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}

// say sends a message.
func (c *pageClient) say(text string) {
	c.t.Helper()
	if err := c.conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// postText posts a text, and returns the status of the answer.
func postText(t *testing.T, url, body string) int {
	t.Helper()
	resp, err := http.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
