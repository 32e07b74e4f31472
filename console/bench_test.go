package console_test

import (
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

// BenchmarkView measures answering a page that asks for another order, with 10,000 connections: looking through all of them and
// sending 200.
func BenchmarkView(b *testing.B) {
	s := newSite(b, &console.Options{Label: func(c *wspush.Conn) string { return "user " + c.String() }})
	for range 10_000 {
		client, _ := s.connect(testutil.Options{})
		defer client.Close()
	}
	p := s.open()
	for p.next().Total < 10_000 {
	}
	orders := []string{`{"seq":1,"sort":"rtt","filter":"user"}`, `{"seq":2,"sort":"since","desc":true}`}
	for i := 0; b.Loop(); i++ {
		p.ask(orders[i%2])
	}
	b.StopTimer()
	p.client.Close()
}
