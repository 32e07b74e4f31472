package main

import (
	"net"
	"testing"
	"time"

	"github.com/wspush/wspush/bench/internal/order"
)

// Publishers connect where they are told, whatever the addresses say.
func TestAt(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if err := listener.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	l, err := newLoop(nil)
	if err != nil {
		t.Fatal(err)
	}
	l.clients = []client{{url: "http://127.0.0.1:1/sealed", state: open}} // where nobody listens
	o := order.Order{At: listener.Addr().String(), Form: order.Lines, Publishers: 1, Batch: 1, Window: 1}
	if _, err := l.newPushing(o); err != nil {
		t.Fatal(err)
	}
	if _, err := l.newBulking(o); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		conn, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}
