package bulk_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
)

// whole answers only when the whole request has come.
func whole(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", wire.NDJSON)
	for i, line := range strings.Split(strings.TrimSuffix(string(body), "\n"), "\n") {
		_, _ = io.WriteString(w, ok(i+1, line))
	}
}

// piped is a client with one connection in the memory of a bubble.
func piped(t *testing.T, h http.HandlerFunc) *http.Client {
	conn := testutil.Pipe(t, h)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// When the header of the answer does not come within a second of the first line, the body ends.
func TestBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bulk.Open(t.Context(), piped(t, whole), post("http://pipe"), 1<<20)
		<-time.After(time.Minute) // which only lines count
		begun := time.Now()
		s := send(t, r, 1, "a")
		if o := <-s; o.err != nil || o.answer.Status != 204 {
			t.Errorf("got %v", o)
		}
		if d := time.Since(begun); d != time.Second {
			t.Errorf("it took %v", d)
		}
		<-r.Done()
		if err := r.Send(context.Background(), nil, 0, nil); err != bulk.ErrEnded || !r.Buffered() {
			t.Errorf("Send: %v; buffered: %v", err, r.Buffered())
		}
	})
}

// Something that answers nothing at all is no proxy that waits for the end.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bulk.Open(t.Context(), piped(t, func(_ http.ResponseWriter, r *http.Request) {
			buf := make([]byte, 100)
			_, _ = r.Body.Read(buf)
			panic(http.ErrAbortHandler)
		}), post("http://pipe"), 1<<20)
		if o := <-send(t, r, 1, "a"); !isLost(o) {
			t.Errorf("got %v", o)
		}
		<-r.Done()
		if r.Buffered() {
			t.Error("buffered")
		}
	})
}

// In time, it is not taken for buffered, however long the lines then take.
func TestNotBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bulk.Open(t.Context(), piped(t, stream(func(n int, line string) string {
			<-time.After(time.Minute)
			return ok(n, line)
		})), post("http://pipe"), 1<<20)
		if o := <-send(t, r, 1, "a"); o.err != nil {
			t.Errorf("got %v", o)
		}
		r.CloseSend()
		<-r.Done()
		if r.Buffered() {
			t.Error("buffered")
		}
	})
}

// A refusal whose body does not end is cut off.
func TestSlowRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bulk.Open(t.Context(), piped(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(502)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(io.Discard, r.Body)
		}), post("http://pipe"), 1<<20)
		begun := time.Now()
		<-r.Done()
		if d := time.Since(begun); d != 5*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// CloseSendIdle ends the body as soon as nothing more is queued, but not before there was anything.
func TestCloseSendIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, whole)
		dial := c.Transport.(*http.Transport).DialContext
		connect := make(chan bool)
		c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			<-connect
			return dial(ctx, network, addr)
		}
		r := bulk.Open(t.Context(), c, post("http://pipe"), 1<<20)
		r.CloseSendIdle()
		begun := time.Now()
		var all []sending
		for i := range 100 {
			all = append(all, send(t, r, 1, fmt.Sprint(i)))
		}
		close(connect)
		for _, s := range all {
			if o := <-s; o.err != nil || o.answer.Status != 204 {
				t.Errorf("got %v", o)
			}
		}
		<-r.Done()
		if d := time.Since(begun); d != 0 || r.Buffered() {
			t.Errorf("it took %v; buffered: %v", d, r.Buffered())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := bulk.Open(t.Context(), piped(t, whole), post("http://pipe"), 1<<20)
		r.CloseSendIdle()
		<-time.After(time.Minute)
		if o := <-send(t, r, 1, "a"); o.err != nil {
			t.Errorf("got %v", o)
		}
		<-r.Done()
	})
}
