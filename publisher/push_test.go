package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
	"github.com/wspush/wspush/publisher"
)

// What a push says to the worker.
func TestPush(t *testing.T) {
	type request struct{ line, contentType, authorization, body string }
	requests := make(chan request, 1)
	server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- request{r.Method + " " + r.RequestURI, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), string(body)}
		w.Header().Set("Wspush-Rtt", "12.5")
		w.WriteHeader(204)
	}))
	c := newClient(t, publisher.Options{Credential: "bearer-secret"})
	path := "/ws/@connections/" + id
	userinfo := strings.Replace(server, "http://", "http://"+id+"@", 1) + "/ws"
	for name, test := range map[string]struct {
		push func() error
		want request
	}{
		"text": {func() error { return outcome(c.Push(context.Background(), userinfo, publisher.Text, []byte("grüß"))) },
			request{"POST " + path + "?type=text", "text/plain; charset=utf-8", "Bearer bearer-secret", "grüß"}},
		"binary": {func() error {
			return outcome(c.Push(context.Background(), server+path, publisher.Binary, []byte{0xff}))
		},
			request{"POST " + path + "?type=binary", "application/octet-stream", "Bearer bearer-secret", "\xff"}},
		"empty": {func() error { return outcome(c.Push(context.Background(), server+path, publisher.Binary, nil)) },
			request{"POST " + path + "?type=binary", "application/octet-stream", "Bearer bearer-secret", ""}},
		"confirmed": {func() error {
			receipt, err := c.Push(context.Background(), server+path, publisher.Text, nil, publisher.Confirmed())
			if receipt.RoundTrip != 12500*time.Microsecond {
				t.Errorf("round trip %v", receipt.RoundTrip)
			}
			return err
		}, request{"POST " + path + "?type=text&confirm=received", "text/plain; charset=utf-8", "Bearer bearer-secret", ""}},
		"close": {func() error { return c.Disconnect(context.Background(), server+path, 4000, "a b&c") },
			request{"DELETE " + path + "?code=4000&reason=a+b%26c", "", "Bearer bearer-secret", ""}},
	} {
		if err := inError(t, test.push()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := <-requests; got != test.want {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// A deadline is told to the worker, a little earlier.
func TestDeadline(t *testing.T) {
	timeouts := make(chan string, 1)
	server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timeouts <- r.URL.Query().Get("timeout")
		w.WriteHeader(204)
	}))
	for name, test := range map[string]struct {
		option, ctx time.Duration
		confirm     bool
		least, most time.Duration // both 0: none
	}{
		"none":                   {0, 0, false, 0, 0},
		"none, confirmed":        {0, 0, true, 0, 0},
		"no timeout":             {-1, 0, true, 0, 0},
		"10 s":                   {0, 10 * time.Second, false, 9 * time.Second, 9500 * time.Millisecond},
		"10 s, confirmed":        {0, 10 * time.Second, true, 9 * time.Second, 9500 * time.Millisecond},
		"1 s":                    {-1, time.Second, true, 500 * time.Millisecond, 900 * time.Millisecond},
		"a minute":               {-1, time.Minute, false, 0, 0},
		"a minute, confirmed":    {-1, time.Minute, true, 30 * time.Second, 30 * time.Second},
		"option":                 {4 * time.Second, 0, true, 3600 * time.Millisecond, 3600 * time.Millisecond},
		"option above the usual": {20 * time.Second, 0, true, 0, 0},
		"both":                   {4 * time.Second, 10 * time.Second, false, 3600 * time.Millisecond, 3600 * time.Millisecond},
	} {
		c := newClient(t, publisher.Options{Timeout: test.option})
		ctx, cancel := context.Background(), func() {}
		if test.ctx > 0 {
			ctx, cancel = context.WithTimeout(ctx, test.ctx)
		}
		var err error
		if test.confirm {
			_, err = c.Push(ctx, addressOf(server), publisher.Text, nil, publisher.Confirmed())
		} else {
			_, err = c.Push(ctx, addressOf(server), publisher.Text, nil)
		}
		cancel()
		if inError(t, err) != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, _ := time.ParseDuration(<-timeouts)
		if got < test.least || got > test.most {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

// What the answers mean.
func TestOutcomes(t *testing.T) {
	const media = "application/problem+json"
	c := newClient(t, publisher.Options{Credential: "bearer-secret"})
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error // nil: an Error that is none of them
		typ    string
	}{
		"400":                 {problem(400, "bad-request"), nil, "urn:wspush:bad-request"},
		"401":                 {problem(401, "unauthorized"), publisher.ErrUnauthorized, "urn:wspush:unauthorized"},
		"403":                 {problem(403, "forbidden"), publisher.ErrForbidden, "urn:wspush:forbidden"},
		"404":                 {problem(404, "not-found"), nil, "urn:wspush:not-found"},
		"408":                 {problem(408, "timeout"), nil, "urn:wspush:timeout"},
		"409 suspended":       {problem(409, "suspended"), publisher.ErrSuspended, "urn:wspush:suspended"},
		"410":                 {problem(410, "gone"), publisher.ErrGone, "urn:wspush:gone"},
		"413":                 {problem(413, "too-large"), publisher.ErrTooLarge, "urn:wspush:too-large"},
		"429":                 {problem(429, "busy"), publisher.ErrBusy, "urn:wspush:busy"},
		"500":                 {problem(500, "internal"), publisher.ErrUnknown, "urn:wspush:internal"},
		"502":                 {problem(502, "unreachable"), publisher.ErrUnreachable, "urn:wspush:unreachable"},
		"503 full":            {problem(503, "full"), publisher.ErrBusy, "urn:wspush:full"},
		"503 shutdown":        {problem(503, "shutdown"), publisher.ErrShutdown, "urn:wspush:shutdown"},
		"503 unavailable":     {problem(503, "unavailable"), publisher.ErrUnavailable, "urn:wspush:unavailable"},
		"503 of the future":   {problem(503, "sleepy"), publisher.ErrUnknown, "urn:wspush:sleepy"},
		"504":                 {problem(504, "unknown"), publisher.ErrUnknown, "urn:wspush:unknown"},
		"504 unconfirmed":     {problem(504, "unconfirmed"), publisher.ErrUnknown, "urn:wspush:unconfirmed"},
		"508":                 {problem(508, "loop"), publisher.ErrUnreachable, "urn:wspush:loop"},
		"404 of a proxy":      {says(404, "text/html", "not here: "+id), nil, ""},
		"410 of a proxy":      {says(410, "text/html", "gone"), nil, ""},
		"413 of a proxy":      {says(413, "text/html", "large"), publisher.ErrTooLarge, ""},
		"429 of a proxy":      {says(429, "text/html", "slow down"), publisher.ErrBusy, ""},
		"403 of a proxy":      {says(403, "text/html", "no"), publisher.ErrForbidden, ""},
		"502 of a proxy":      {says(502, "text/html", "bad gateway"), publisher.ErrUnknown, ""},
		"503 of a proxy":      {says(503, media, `{"type":"about:blank","status":503}`), publisher.ErrUnknown, ""},
		"410, another type":   {says(410, "application/json", `{"type":"urn:wspush:gone"}`), nil, ""},
		"410, broken":         {says(410, media, `{"type":"urn:wspush:gone"`), nil, ""},
		"410, far too long":   {says(410, media, `{"type":"urn:wspush:gone","detail":"`+strings.Repeat("x", 1<<20)+`"}`), nil, ""},
		"200":                 {says(200, "text/html", "welcome "+id), publisher.ErrUnknown, ""},
		"200, endless":        {endless(200), publisher.ErrUnknown, ""},
		"202":                 {says(202, "", ""), publisher.ErrUnknown, ""},
		"206":                 {says(206, media, `{"type":"urn:wspush:gone"}`), publisher.ErrUnknown, ""},
		"302":                 {says(302, "text/html", ""), nil, ""},
		"600":                 {says(600, "text/html", ""), publisher.ErrUnknown, ""},
		"410, endless":        {endless(410), nil, ""},
		"a huge header":       {hugeHeader, publisher.ErrUnknown, ""},
		"101":                 {switching, publisher.ErrUnknown, ""},
		"an echo":             {echo, publisher.ErrUnknown, ""},
		"an echo of a header": {echoHeader, publisher.ErrUnknown, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := push(t, c, addressOf(testutil.Serve(t, test.answer)))
			var e *publisher.Error
			if !errors.As(err, &e) || test.want != nil && !errors.Is(err, test.want) || e.Type != test.typ {
				t.Fatalf("got %v", err)
			}
			for _, other := range []error{publisher.ErrGone, publisher.ErrBusy, publisher.ErrTooLarge, publisher.ErrShutdown, publisher.ErrUnknown, publisher.ErrForbidden, publisher.ErrUnreachable, publisher.ErrSuspended} {
				if other != test.want && errors.Is(err, other) {
					t.Errorf("it is also %v", other)
				}
			}
		})
	}
}

// endless answers with a body that does not end.
func endless(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		for {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}
}

// hijacked is the connection of a request whose body has been read.
func hijacked(w http.ResponseWriter, r *http.Request) net.Conn {
	_, _ = io.Copy(io.Discard, r.Body)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	return conn
}

func hugeHeader(w http.ResponseWriter, r *http.Request) {
	conn := hijacked(w, r)
	defer conn.Close()
	_, err := io.WriteString(conn, "HTTP/1.1 204 No Content\r\n")
	for err == nil {
		_, err = fmt.Fprintf(conn, "X-%s: %s\r\n", id, strings.Repeat("x", 1000))
	}
}

func switching(w http.ResponseWriter, r *http.Request) {
	conn := hijacked(w, r)
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	_, _ = conn.Read(make([]byte, 1))
}

func echo(w http.ResponseWriter, r *http.Request) {
	conn := hijacked(w, r)
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nAuthorization: %s\r\n\r\n", r.RequestURI, r.Header.Get("Authorization"))
}

func echoHeader(w http.ResponseWriter, r *http.Request) {
	conn := hijacked(w, r)
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 204 No Content\r\n%s bearer-secret\r\n\r\n", r.RequestURI)
}

// What must not be sent is not.
func TestNotSent(t *testing.T) {
	c := newClient(t, publisher.Options{})
	address := addressOf(testutil.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("somebody was asked") })))
	if err := inError(t, outcome(c.Push(t.Context(), address, publisher.Text, []byte{0xff}))); !errors.Is(err, publisher.ErrInvalidUTF8) {
		t.Errorf("got %v", err)
	}
	if err := inError(t, outcome(c.Push(t.Context(), address, 0, nil))); !errors.Is(err, wire.ErrMessageType) {
		t.Errorf("got %v", err)
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1010, 1015, 2999, 5000} {
		if err := inError(t, c.Disconnect(t.Context(), address, code, "")); err == nil {
			t.Errorf("closed with %d", code)
		}
	}
	for _, reason := range []string{strings.Repeat("x", 124), "\xff"} {
		if err := inError(t, c.Disconnect(t.Context(), address, 1000, reason)); err == nil {
			t.Errorf("closed with %q", reason)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := inError(t, outcome(c.Push(ctx, address, publisher.Text, nil))); !errors.Is(err, context.Canceled) || errors.Is(err, publisher.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	c.Close()
	if err := push(t, c, address); !errors.Is(err, publisher.ErrClosed) {
		t.Errorf("got %v", err)
	}
	c.Close()
}

// An answer that does not come, or not to its end, is not waited for beyond the timeout.
func TestSlow(t *testing.T) {
	release := make(chan bool)
	silent := testutil.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	}))
	arrived := make(chan bool)
	tells := testutil.Serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-release
	}))
	drip := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(410)
		_, _ = io.WriteString(w, `{"type":"urn:wspush:gone"`)
		_ = http.NewResponseController(w).Flush()
		<-release
	}))
	defer close(release)
	c := newClient(t, publisher.Options{Timeout: 500 * time.Millisecond}) // within which a slow machine sends the request
	if err := push(t, c, addressOf(silent)); !errors.Is(err, publisher.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if err := push(t, c, addressOf(drip)); errors.Is(err, publisher.ErrUnknown) || errors.Is(err, publisher.ErrGone) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Lookup(t.Context(), addressOf(silent)); !errors.Is(inError(t, err), publisher.ErrUnreachable) || errors.Is(err, publisher.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	c = newClient(t, publisher.Options{Timeout: -1})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	if err := inError(t, outcome(c.Push(ctx, addressOf(tells), publisher.Text, nil))); !errors.Is(err, publisher.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// serveTLS serves over HTTP/2.
func serveTLS(t *testing.T, h http.Handler) (string, publisher.Options) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(t.Output(), "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, publisher.Options{TLS: s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()}
}
