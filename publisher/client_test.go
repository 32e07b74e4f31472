package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// realWorker is a worker whose clients connect at the URL.
func realWorker(t testing.TB, opts wspush.WorkerOptions) (w *wspush.Worker, server string) {
	t.Helper()
	opts.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	w, err := wspush.NewWorker(&opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	h, err := wspush.NewHandler(w, nil)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", h)
	return w, testutil.Serve(t, mux)
}

// The errors are those of package wspush, and everything works with a worker.
func TestWorker(t *testing.T) {
	w, server := realWorker(t, wspush.WorkerOptions{MaxPushBytes: 1000, AuthorizePush: wspush.BearerTokens("bearer-secret-that-is-long-enough-for-it")})
	client := testutil.Dial(t, server, testutil.Options{Header: http.Header{"User-Agent": {"a browser"}}})
	address := client.Text()
	conn := func() *wspush.Conn {
		for c := range w.Conns() {
			return c
		}
		return nil
	}()
	c := newClient(t, publisher.Options{Credential: "bearer-secret-that-is-long-enough-for-it"})
	for _, address := range []string{address, conn.PathAddresses()[0]} {
		if err := inError(t, outcome(c.Push(t.Context(), address, publisher.Text, []byte("grüß")))); err != nil {
			t.Fatal(err)
		}
		client.Expect(testutil.Text, "grüß")
		if err := inError(t, outcome(c.Push(t.Context(), address, publisher.Binary, nil))); err != nil {
			t.Fatal(err)
		}
		client.Expect(testutil.Binary, "")
	}
	go func() { // which answers pings
		_, _, _ = client.Message()
		_, _, _ = client.Message()
	}()
	if receipt, err := c.Push(t.Context(), address, publisher.Text, []byte("x"), publisher.Confirmed()); inError(t, err) != nil || receipt.RoundTrip <= 0 {
		t.Errorf("%v, %v", receipt.RoundTrip, err)
	}
	info, err := c.Lookup(t.Context(), address)
	if inError(t, err) != nil || info.ID != conn.ID() || info.Path != "/ws" || info.SourceIP != "127.0.0.1" || info.UserAgent != "a browser" ||
		!info.ConnectedAt.Equal(conn.Info().ConnectedAt) || info.RoundTrip <= 0 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := inError(t, outcome(c.Push(t.Context(), address, publisher.Text, make([]byte, 1001)))); !errors.Is(err, wspush.ErrTooLarge) {
		t.Error(err)
	}
	if err := inError(t, outcome(newClient(t, publisher.Options{Credential: "another"}).Push(t.Context(), address, publisher.Text, nil))); !errors.Is(err, publisher.ErrUnauthorized) {
		t.Error(err)
	}
	if err := inError(t, c.Disconnect(t.Context(), address, 4001, "bye")); err != nil {
		t.Error(err)
	}
	if err := inError(t, outcome(c.Push(t.Context(), address, publisher.Text, nil))); !errors.Is(err, wspush.ErrGone) {
		t.Error(err)
	}
}

// Sealed addresses are pushed to through whatever worker the public name leads to, one at a time and in a Stream.
func TestSealedAddresses(t *testing.T) {
	cluster := &wspush.Cluster{Keys: [][]byte{testutil.Key("k")}}
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
