package bulk_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
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

// piped is a client whose connections are in the memory of a bubble.
func piped(t *testing.T, h http.HandlerFunc) *http.Client {
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return testutil.Pipe(t, h), nil }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// When the header of the answer does not come within a second, the lines are sent in a request that is answered after it.
func TestBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var media []string
		r := bulk.Open(t.Context(), config(piped(t, func(w http.ResponseWriter, r *http.Request) {
			media = append(media, r.Header.Get("Content-Type"))
			whole(w, r)
		}), "http://pipe", 1<<20))
		begun := time.Now()
		s := send(t, r, 1, "a")
		if o := <-s; o.err != nil || o.answer.Status != 204 {
			t.Errorf("got %v", o)
		}
		if d := time.Since(begun); d != time.Second+2*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		<-r.Done()
		b, n := line(t, 1, "b")
		if err := r.Send(context.Background(), b, n, nil); err != bulk.ErrEnded || !r.NeedsWhole() {
			t.Errorf("Send: %v; needs whole: %v", err, r.NeedsWhole())
		}
		if want := []string{"application/x-ndjson; check=crc32", "application/x-ndjson; check=crc32; answer=after"}; !slices.Equal(media, want) {
			t.Errorf("requests of the types %q", media)
		}
	})
}

// Nothing is handed out before the header of the answer has come, however large the limit is; and until then, no more is
// accepted than a whole request may have.
func TestHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answer := make(chan bool)
		r := bulk.Open(t.Context(), config(piped(t, func(w http.ResponseWriter, r *http.Request) {
			<-answer
			stream(ok)(w, r)
		}), "http://pipe", 1<<20))
		first := send(t, r, 1, strings.Repeat("x", 300<<10))
		b, n := line(t, 1, "b")
		if err := r.TrySend(b, n, nil); err != bulk.ErrFull {
			t.Errorf("TrySend: %v", err)
		}
		<-time.After(999 * time.Millisecond)
		if n := r.Unhanded(); n < 300<<10 {
			t.Errorf("%d bytes are left", n)
		}
		close(answer)
		if o := <-first; o.err != nil {
			t.Errorf("got %v", o)
		}
		r.CloseSend()
		<-r.Done()
		if r.NeedsWhole() {
			t.Error("it took a whole request")
		}
	})
}

// What answers nothing at all has been sent nothing.
func TestSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan struct{}) // or the request may end before there is a line
		r := bulk.Open(t.Context(), config(piped(t, func(w http.ResponseWriter, _ *http.Request) {
			<-sent
			_ = http.NewResponseController(w).SetReadDeadline(time.Now()) // or net/http would wait for the request
			panic(http.ErrAbortHandler)
		}), "http://pipe", 1<<20))
		outcome := send(t, r, 1, "a")
		close(sent)
		if o := <-outcome; !isNotSent(o) {
			t.Errorf("got %v", o)
		}
		<-r.Done()
		if r.NeedsWhole() {
			t.Error("it took a whole request")
		}
	})
}

// With the header in time, the request needs not be whole, however long the lines then take.
func TestNotBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bulk.Open(t.Context(), config(piped(t, stream(func(n int, line string) string {
			<-time.After(time.Minute)
			return ok(n, line)
		})), "http://pipe", 1<<20))
		if o := <-send(t, r, 1, "a"); o.err != nil {
			t.Errorf("got %v", o)
		}
		r.CloseSend()
		<-r.Done()
		if r.NeedsWhole() {
			t.Error("it took a whole request")
		}
	})
}

// A refusal whose body does not end is cut off.
func TestSlowRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := bulk.Open(t.Context(), config(piped(t, func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(502)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(io.Discard, r.Body)
		}), "http://pipe", 1<<20))
		begun := time.Now()
		<-r.Done()
		if d := time.Since(begun); d != 5*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// pipedWhole begins a request that is known to be needed whole.
func pipedWhole(t *testing.T, h http.HandlerFunc) *bulk.Request {
	c := config(piped(t, h), "http://pipe", 1<<20)
	c.Whole = true
	return bulk.Open(t.Context(), c)
}

// A whole request takes the lines that come within 2 ms of the first, however long that takes to come.
func TestWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := pipedWhole(t, whole)
		<-time.After(time.Minute)
		begun := time.Now()
		var all []sending
		for i := range 100 {
			all = append(all, send(t, r, 1, fmt.Sprint(i)))
		}
		for _, s := range all {
			if o := <-s; o.err != nil || o.answer.Status != 204 {
				t.Errorf("got %v", o)
			}
		}
		<-r.Done()
		if d := time.Since(begun); d != 2*time.Millisecond || r.NeedsWhole() {
			t.Errorf("it took %v; needs whole: %v", d, r.NeedsWhole())
		}
	})
}

// A whole request that is full, or takes no more lines, does not wait for others; and one without lines is not sent.
func TestWholeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			size int
			then func(*bulk.Request)
			want error
		}{
			"full": {256 << 10, func(r *bulk.Request) {
				b, n := line(t, 1, "b")
				if err := r.Send(t.Context(), b, n, nil); err != bulk.ErrEnded {
					t.Errorf("Send: %v", err)
				}
			}, nil},
			"closed": {1, (*bulk.Request).CloseSend, nil},
		} {
			r := pipedWhole(t, whole)
			begun := time.Now()
			s := send(t, r, 1, strings.Repeat("x", test.size))
			test.then(r)
			if o := <-s; o.err != test.want {
				t.Errorf("%s: got %v", name, o)
			}
			<-r.Done()
			if d := time.Since(begun); d != 0 {
				t.Errorf("%s: it took %v", name, d)
			}
		}
		r := pipedWhole(t, func(http.ResponseWriter, *http.Request) { t.Error("a request without lines") })
		r.CloseSend()
		<-r.Done()
		r = pipedWhole(t, func(http.ResponseWriter, *http.Request) { t.Error("a request that was closed") })
		s := send(t, r, 1, "a")
		r.Close()
		if o := <-s; !isNotSent(o) {
			t.Errorf("got %v", o)
		}
		<-r.Done()
	})
}
