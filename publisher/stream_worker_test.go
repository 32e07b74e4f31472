package publisher_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// A Stream and a worker understand each other.
func TestStreamWorker(t *testing.T) {
	w, server := realWorker(t, wspush.WorkerOptions{MaxPushBytes: 1000})
	push := "http://" + w.Addr().String()
	const n = 20
	clients, addresses := make([]*testutil.Client, n), make([]string, n)
	for i := range n {
		clients[i] = testutil.Dial(t, server, testutil.Options{})
		addresses[i] = clients[i].Text()
	}
	s := newStream(t, newClient(t, publisher.Options{}))
	for i := range n {
		for j := range 50 {
			if err := s.Send(t.Context(), addresses[i], publisher.Text, fmt.Appendf(nil, "%d", j), func(_ publisher.Receipt, err error) {
				if inError(t, err) != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for address, err := range s.PushEach(t.Context(), slices.Values(addresses), publisher.Binary, []byte{0xff}) {
		if inError(t, err) != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, c := range clients {
		for j := range 50 {
			c.Expect(testutil.Text, fmt.Sprint(j))
		}
		c.Expect(testutil.Binary, "\xff")
	}
	for text, want := range map[string]error{strings.Repeat("x", 1001): wspush.ErrTooLarge, "\n\"<&": nil} {
		if err := inError(t, outcome(s.Push(t.Context(), addresses[0], publisher.Text, []byte(text)))); !errors.Is(err, want) {
			t.Error(err)
		}
	}
	clients[0].Expect(testutil.Text, "\n\"<&")
	read := make(chan struct{})
	go func() { // which answers the ping
		defer close(read)
		for {
			if _, _, err := clients[0].Message(); err != nil {
				return
			}
		}
	}()
	receipt, err := s.Push(t.Context(), addresses[0], publisher.Text, []byte("x"), publisher.Confirmed())
	if inError(t, err) != nil || receipt.RoundTrip <= 0 {
		t.Error(receipt.RoundTrip, err)
	}
	gone := push + "/ws/@connections/" + id
	if err := streamPush(t, s, gone); !errors.Is(err, wspush.ErrGone) {
		t.Error(err)
	}
	for _, err := range s.PushEach(t.Context(), slices.Values([]string{gone, gone}), publisher.Text, nil) {
		if !errors.Is(inError(t, err), wspush.ErrGone) {
			t.Error(err)
		}
	}
	clients[0].Close()
	<-read
}
