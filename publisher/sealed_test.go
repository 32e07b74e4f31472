package publisher_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// Sealed addresses are pushed to through whatever worker the public name leads to, one at a time and in a Stream.
func TestSealedAddresses(t *testing.T) {
	cluster := &wspush.Cluster{Keys: [][]byte{bytes.Repeat([]byte("k"), 32)}}
	front, _ := realWorker(t, wspush.WorkerOptions{Cluster: cluster})
	holder, server := realWorker(t, wspush.WorkerOptions{Cluster: cluster, PublicURL: "http://" + front.Addr().String()})
	client := testutil.Dial(t, server, testutil.Options{})
	address := client.Text()
	c := newClient(t, publisher.Options{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	s := newStream(t, c)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for i := range 4 {
			client.Expect(testutil.Text, fmt.Sprint(i))
		}
		_, _, _ = client.Message() // until it is closed, and on the way pings are answered
	}()
	if err := inError(t, outcome(c.Push(t.Context(), address, publisher.Text, []byte("0")))); err != nil {
		t.Error(err)
	}
	if _, err := c.Push(t.Context(), address, publisher.Text, []byte("1"), publisher.Confirmed()); inError(t, err) != nil {
		t.Error(err)
	}
	if err := inError(t, outcome(s.Push(t.Context(), address, publisher.Text, []byte("2")))); err != nil {
		t.Error(err)
	}
	if _, err := s.Push(t.Context(), address, publisher.Text, []byte("3"), publisher.Confirmed()); inError(t, err) != nil {
		t.Error(err)
	}
	about, err := c.Lookup(t.Context(), address)
	if _, known := holder.Conn(about.ID); inError(t, err) != nil || !known {
		t.Errorf("%+v %v", about, err)
	}
	if err := inError(t, c.Disconnect(t.Context(), address, 1000, "")); err != nil {
		t.Error(err)
	}
	<-read
	if s := front.Stats(); s.Forwarded != 6 || s.Written != 0 {
		t.Errorf("%+v", s)
	}
}
