package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
)

// A traveller comes back to its session, and has every message once.
func TestTraveller(t *testing.T) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.invalid"}})
	if err != nil {
		t.Fatal(err)
	}
	suspended := make(chan *wspush.Conn, 10)
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		ResumeWindow: time.Minute,
		OnConnect:    func(c *wspush.Conn) { _, _ = c.Push(context.Background(), wspush.Text, []byte("1")) },
		OnSuspend:    func(c *wspush.Conn, _ error) { suspended <- c },
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.Handler(handler))
	defer server.Close()
	tr := traveller{url: strings.Replace(server.URL, "http", "ws", 1)}
	tr.ride(t.Context(), time.Second)
	conn := <-suspended
	if receipt, err := conn.Push(t.Context(), wspush.Text, []byte("2")); err != nil || receipt.State != wspush.Buffered || tr.count != 1 {
		t.Errorf("%+v, %v; it has %d messages", receipt, err, tr.count)
	}
	tr.ride(t.Context(), time.Second)
	if again := <-suspended; again != conn || tr.count != 2 {
		t.Errorf("it has %d messages, and its own session: %v", tr.count, again == conn)
	}
	if s := worker.Stats().Sessions; s.Live != 1 || s.Resumes.Resumed != 1 {
		t.Errorf("%+v", s)
	}
	if err := worker.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}
