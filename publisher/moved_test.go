package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// place is a worker that a connection may be at.
type place struct {
	url   string
	asked atomic.Int64

	mu     sync.Mutex // guards what follows
	answer http.HandlerFunc
	moved  []string // what Wspush-Address says, if anything
	got    []string // method, path and Authorization of the requests
}

func newPlace(t testing.TB, answer http.HandlerFunc, moved ...string) *place {
	p := &place{answer: answer, moved: moved}
	p.url = testutil.Serve(t, p)
	return p
}

func (p *place) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked.Add(1)
	p.mu.Lock()
	answer, moved := p.answer, p.moved
	p.got = append(p.got, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Authorization")))
	p.mu.Unlock()
	if moved != nil {
		w.Header()["Wspush-Address"] = moved
	}
	answer(w, r)
}

func (p *place) now(answer http.HandlerFunc, moved ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer, p.moved = answer, moved
}

// address is that of the connection here, in the form of a greeting.
func (p *place) address() string { return strings.Replace(p.url, "//", "//"+id+"@", 1) + "/ws" }

// asked returns how many requests each has had since it was asked the last time.
func asked(places ...*place) string {
	var all []string
	for _, p := range places {
		all = append(all, fmt.Sprint(p.asked.Swap(0)))
	}
	return strings.Join(all, " ")
}

var written = says(204, "", "")

// buffered is the answer of a session whose client is away.
func buffered(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Wspush-Buffered", "60")
	says(202, "", "")(w, r)
}

func lost(w http.ResponseWriter, r *http.Request) { hijacked(w, r).Close() }

// Whatever a worker answers, and to whatever request: what comes next goes to the new address.
func TestMoved(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		call   func(c *publisher.Client, address string) error // nil: a push
	}{
		"204": {written, nil}, "202": {buffered, nil}, "400": {problem(400, "bad-request"), nil}, "409": {problem(409, "suspended"), nil},
		"413": {problem(413, "too-large"), nil}, "429": {problem(429, "busy"), nil}, "500": {problem(500, "internal"), nil}, "504": {problem(504, "unknown"), nil},
		"GET": {says(200, "application/json", `{"connectionId":"`+id+`"}`), func(c *publisher.Client, address string) error {
			_, err := c.Lookup(context10(t), address)
			return err
		}},
		"DELETE": {problem(504, "unknown"), func(c *publisher.Client, address string) error { return c.Disconnect(context10(t), address, 1000, "") }},
		"PUT":    {written, func(c *publisher.Client, address string) error { return c.Join(context10(t), address, "room") }},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPlace(t, written)
			a := newPlace(t, test.answer, b.address())
			c := newClient(t, publisher.Options{Credential: "bearer-secret"})
			if test.call == nil {
				_ = push(t, c, a.address())
			} else {
				_ = inError(t, test.call(c, a.address()))
			}
			if got := asked(a, b); got != "1 0" {
				t.Errorf("asked %s", got)
			}
			for range 3 {
				if err := push(t, c, a.address()); err != nil {
					t.Error(err)
				}
			}
			if got := asked(a, b); got != "0 3" {
				t.Errorf("asked %s", got)
			}
			if want := "POST /ws/@connections/" + id + " Bearer bearer-secret"; b.got[0] != want {
				t.Errorf("got %q, want %q", b.got[0], want)
			}
			_ = push(t, c, a.url+"/other/@connections/"+id)
			if got := asked(a, b); got != "1 0" {
				t.Errorf("another address with this ID: asked %s", got)
			}
		})
	}
}

// An address that has moved more than once leads to where the connection is, and back to itself.
func TestMovedOn(t *testing.T) {
	x, b := newPlace(t, written), newPlace(t, written)
	a := newPlace(t, written, b.address())
	b.now(written, x.address())
	c := newClient(t, publisher.Options{})
	for i, want := range []string{"1 0 0", "0 1 0", "0 0 1", "0 0 1"} {
		if err := push(t, c, a.address()); err != nil {
			t.Error(err)
		}
		if got := asked(a, b, x); got != want {
			t.Errorf("push %d: asked %s, want %s", i, got, want)
		}
	}
	if n := c.Moves(); n != 1 {
		t.Errorf("%d addresses are remembered", n)
	}
	x.now(written, a.address())
	a.now(written)
	for i, want := range []string{"0 0 1", "1 0 0", "1 0 0"} {
		if err := push(t, c, a.address()); err != nil {
			t.Error(err)
		}
		if got := asked(a, b, x); got != want {
			t.Errorf("back, push %d: asked %s, want %s", i, got, want)
		}
	}
	if n := c.Moves(); n != 0 {
		t.Errorf("%d addresses are remembered", n)
	}
}

// If the new address does not work, and nothing was written there, the given one has the message, in the same call; and then comes first.
func TestMovedInVain(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc // of the new address; nil: nobody
		given  bool             // the given address is asked
		want   error
	}{
		"nobody": {nil, true, nil}, "401": {problem(401, "unauthorized"), true, nil}, "403": {problem(403, "forbidden"), true, nil},
		"404": {problem(404, "not-found"), true, nil}, "405": {problem(405, "method-not-allowed"), true, nil}, "410": {problem(410, "gone"), true, nil},
		"421": {problem(421, "misdirected"), true, nil}, "502": {problem(502, "unreachable"), true, nil}, "508": {problem(508, "loop"), true, nil},
		"503 shutdown": {problem(503, "shutdown"), true, nil},
		"503 full":     {problem(503, "full"), false, publisher.ErrBusy}, "429": {problem(429, "busy"), false, publisher.ErrBusy},
		"409": {problem(409, "suspended"), false, publisher.ErrSuspended}, "413": {problem(413, "too-large"), false, publisher.ErrTooLarge},
		"504": {problem(504, "unknown"), false, publisher.ErrUnknown}, "500": {problem(500, "internal"), false, publisher.ErrUnknown},
		"502 of a proxy": {says(502, "", ""), false, publisher.ErrUnknown}, "lost": {lost, false, publisher.ErrUnknown},
		"200": {says(200, "", ""), false, publisher.ErrUnknown}, "404 of a proxy": {says(404, "", ""), false, errors.ErrUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPlace(t, test.answer)
			to, reached := b.address(), "1"
			if test.answer == nil {
				to, reached = strings.Replace(nobody(t), "//", "//"+id+"@", 1)+"/ws", "0"
			}
			a := newPlace(t, written, to)
			c := newClient(t, publisher.Options{})
			if err := push(t, c, a.address()); err != nil {
				t.Fatal(err)
			}
			asked(a)
			for i := range 3 {
				err := push(t, c, a.address())
				want := "0 " + reached
				switch {
				case test.given && i == 0:
					want = "1 " + reached
				case test.given:
					want = "1 0" // although its answers still name the new one
				}
				if got := asked(a, b); got != want {
					t.Errorf("push %d: asked %s, want %s", i, got, want)
				}
				if (err == nil) != test.given || test.want != nil && test.want != errors.ErrUnsupported && !errors.Is(err, test.want) {
					t.Errorf("push %d: %v", i, err)
				}
			}
			if !test.given {
				return
			}
			// Another one is no worse for that.
			x := newPlace(t, written)
			a.now(written, x.address())
			for range 2 {
				if err := push(t, c, a.address()); err != nil {
					t.Error(err)
				}
			}
			if got := asked(a, b, x); got != "1 0 1" {
				t.Errorf("after the next move: asked %s", got)
			}
			// And if the connection is back where it was, there is nothing to remember.
			x.now(problem(410, "gone"))
			a.now(written)
			if err := push(t, c, a.address()); err != nil || c.Moves() != 0 {
				t.Errorf("back: %v, and %d are remembered", err, c.Moves())
			}
		})
	}
}

// When neither address works, the error is the truth about the given one.
func TestMovedAndLost(t *testing.T) {
	gone, unreachable, shutdown := problem(410, "gone"), problem(502, "unreachable"), problem(503, "shutdown")
	for name, test := range map[string]struct {
		given, moved http.HandlerFunc // nil: nobody
		want         error
		status       int
		forgotten    bool
	}{
		"nobody anywhere":            {nil, nil, publisher.ErrUnreachable, 0, false},
		"the session has ended":      {nil, gone, publisher.ErrGone, 410, true},
		"both say so":                {gone, gone, publisher.ErrGone, 410, true},
		"the way to it, too":         {unreachable, gone, publisher.ErrGone, 410, true},
		"the new one is unreachable": {gone, nil, publisher.ErrGone, 410, true},
		"the old one is":             {nil, problem(403, "forbidden"), publisher.ErrUnreachable, 0, false},
		"both shut down":             {shutdown, shutdown, publisher.ErrShutdown, 503, false},
		"a full one":                 {problem(429, "busy"), nil, publisher.ErrBusy, 429, false},
		"an unknown outcome":         {problem(504, "unknown"), nil, publisher.ErrUnknown, 504, false},
	} {
		t.Run(name, func(t *testing.T) {
			places := [2]*place{newPlace(t, written), newPlace(t, written)}
			down := [2]atomic.Bool{}
			c := newClient(t, publisher.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				for i, p := range places {
					if strings.HasSuffix(p.url, addr) && down[i].Load() {
						return nil, errors.New("nobody there")
					}
				}
				return new(net.Dialer).DialContext(ctx, network, addr)
			}})
			a, b := places[0], places[1]
			a.now(written, b.address())
			if err := push(t, c, a.address()); err != nil {
				t.Fatal(err)
			}
			for i, answer := range []http.HandlerFunc{test.given, test.moved} {
				if places[i].now(answer); answer == nil {
					down[i].Store(true)
				}
			}
			c.Transport().CloseIdleConnections()
			for i := range 2 {
				err := push(t, c, a.address())
				var e *publisher.Error
				if !errors.As(err, &e) || !errors.Is(err, test.want) || e.Status != test.status {
					t.Errorf("push %d: %v", i, err)
				}
				if test.status == 0 && !strings.Contains(err.Error(), a.url) {
					t.Errorf("push %d is not about the given address: %v", i, err)
				}
				if got := c.Moves() == 0; got != test.forgotten {
					t.Errorf("push %d: forgotten %t", i, got)
				}
				if test.forgotten { // the next push is about the given address alone
					return
				}
			}
			if test.given != nil {
				return
			}
			// It was not there for a moment only.
			b.now(written)
			down[1].Store(false)
			for range 2 {
				if err := push(t, c, a.address()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A worker that cannot reach the new one may know its address, and nothing was written; but nobody is led around without end.
func TestMovedOutOfReach(t *testing.T) {
	unreachable := problem(502, "unreachable")
	b := newPlace(t, written)
	a := newPlace(t, unreachable, b.address())
	c := newClient(t, publisher.Options{})
	for _, want := range []string{"1 1", "0 1"} {
		if err := push(t, c, a.address()); err != nil {
			t.Error(err)
		}
		if got := asked(a, b); got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
	x := newPlace(t, written)
	a.now(unreachable)
	b.now(unreachable, x.address())
	for _, want := range []string{"1 1 1", "0 0 1"} {
		if err := push(t, c, a.address()); err != nil {
			t.Error(err)
		}
		if got := asked(a, b, x); got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	}
	var places []*place
	for range 5 {
		places = append(places, newPlace(t, unreachable))
	}
	for i, p := range places { // each knows of the next one
		p.now(unreachable, places[(i+1)%len(places)].address())
	}
	c = newClient(t, publisher.Options{})
	for range 5 {
		if err := push(t, c, places[0].address()); !errors.Is(err, publisher.ErrUnreachable) {
			t.Error(err)
		}
		if got := asked(places...); strings.Count(got, "0") < 2 || strings.ContainsAny(got, "23456789") {
			t.Errorf("asked %s", got)
		}
	}
}

// A header leads nowhere where an address could not, and to no other connection; what makes no sense is ignored.
func TestMovedHostile(t *testing.T) {
	evil := newPlace(t, written) // is allowed, so what is not used is not used because of the rest of it
	at, form := evil.address(), "/ws/@connections/"
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		header []string
	}{
		"another ID":          {written, []string{strings.Replace(at, id, id2, 1)}},
		"another ID as well":  {written, []string{at + "," + strings.Replace(at, id, id2, 1)}},
		"a sealed ID":         {written, []string{evil.url + form + sealedID}},
		"two headers":         {written, []string{at, at}},
		"empty":               {written, []string{""}},
		"a path":              {written, []string{form + id}},
		"no connection":       {written, []string{evil.url + "/admin"}},
		"malformed":           {written, []string{at + ",http://[::1/x"}},
		"another user":        {written, []string{strings.Replace(at, id, id+":x", 1)}},
		"another scheme":      {written, []string{strings.Replace(at, "http:", "ftp:", 1)}},
		"a dot segment":       {written, []string{at + "/.."}},
		"a query":             {written, []string{at + "?type=binary"}},
		"too long":            {written, []string{at + strings.Repeat("/x", publisher.MaxAddress/2)}},
		"17 addresses":        {written, []string{strings.Repeat(at+",", 16) + at}},
		"a host":              {written, []string{strings.Replace(at, "127.0.0.1", "localhost", 1)}},
		"another host":        {written, []string{strings.Replace(at, "127.0.0.1", "127.0.0.2", 1)}},
		"a proxy's 502":       {says(502, "text/html", ""), []string{at}},
		"a proxy's 404":       {says(404, "text/html", ""), []string{at}},
		"a proxy's 503":       {says(503, "application/problem+json", `{"type":"about:blank"}`), []string{at}},
		"a redirect":          {says(307, "", ""), []string{at}},
		"a wrong success":     {says(200, "", ""), []string{at}},
		"a wrong 202":         {says(202, "", ""), []string{at}},
		"an answer cut short": {lost, []string{at}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newPlace(t, test.answer, test.header...)
			var dialled []string
			var mu sync.Mutex
			c := newClient(t, publisher.Options{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				dialled = append(dialled, addr)
				return new(net.Dialer).DialContext(ctx, network, addr)
			}})
			for range 2 {
				_ = push(t, c, a.address())
			}
			if got := asked(a, evil); got != "2 0" || c.Moves() != 0 {
				t.Errorf("asked %s, remembered %d", got, c.Moves())
			}
			for _, addr := range dialled {
				if !strings.HasSuffix(a.url, addr) {
					t.Errorf("dialled %s", addr)
				}
			}
		})
	}
}

// What a header may say, to which address, with which options.
func TestMovedRules(t *testing.T) {
	const (
		a, b   = "https://a.test/ws/@connections/", "https://b.test/ws/@connections/"
		sealed = "v1.YW5vdGhlci1zZWFsZWQtaWQtb2YtdGhlLWNvbm5lY3Rpb24"
		c      = "http://c.test/ws/@connections/" // is allowed with http
	)
	for name, test := range map[string]struct {
		address, header string
		want            string // "": nothing is remembered
	}{
		"to https":                 {a + id, b + id, b + id},
		"in another form":          {a + id, "https://" + id + "@b.test/x", "https://b.test/x/@connections/" + id},
		"in another letter case":   {a + strings.ToUpper(id), b + id, b + id},
		"several":                  {a + id, b + id + ", https://" + id + "@a.test/y", b + id + " https://a.test/y/@connections/" + id},
		"one of which is allowed":  {a + id, "https://10.0.0.1/ws/@connections/" + id + "," + b + id, b + id},
		"none of which is allowed": {a + id, "https://10.0.0.1/ws/@connections/" + id, ""},
		"from http to https":       {c + id, b + id, b + id},
		"from http to http":        {c + id, "http://" + id + "@c.test/x", "http://c.test/x/@connections/" + id},
		"http with a credential":   {a + id, strings.Replace(b, "https", "http", 1) + id, ""},
		"from https to http":       {a + id, c + id, ""},
		"from one of https":        {c + id + "," + a + id, c + id, ""},
		"the same, partly http":    {a + id, c + id + "," + b + id, b + id},
		"sealed":                   {a + sealedID, b + sealed, b + sealed},
		"sealed to plain":          {a + sealedID, b + id, b + id},
		"plain to sealed":          {a + id, b + sealed, ""},
		"back":                     {a + id, "https://" + id + "@a.test/ws", ""},
		"an ID":                    {id, b + id, ""},
		"a sealed ID":              {sealedID, "https://elsewhere.test/x/@connections/" + sealed, "https://w.test/ws/@connections/" + sealed},
		"a sealed ID to a plain":   {sealedID, b + id, ""},
		"a long address":           {a[:len(a)-len("@connections/")] + strings.Repeat("x/", publisher.MaxAddress/2) + "@connections/" + id, b + id, ""},
	} {
		client := newClient(t, publisher.Options{
			Hosts: []string{"a.test", "b.test", "http://c.test"}, Credential: "bearer-secret", Workers: []string{"https://w.test/ws"},
		})
		client.Moved(test.address, test.header)
		if got := strings.Join(client.MovedTo(test.address), " "); got != test.want || (client.Moves() == 1) != (test.want != "") {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// A sealed ID is asked about at Options.Workers, whatever has become of it.
func TestMovedSealedID(t *testing.T) {
	const other = "v1.YW5vdGhlci1zZWFsZWQtaWQtb2YtdGhlLWNvbm5lY3Rpb24"
	elsewhere := newPlace(t, written)
	w := newPlace(t, written, elsewhere.url+"/ws/@connections/"+other)
	c := newClient(t, publisher.Options{Workers: []string{w.url + "/ws"}})
	for range 2 {
		if err := push(t, c, sealedID); err != nil {
			t.Error(err)
		}
	}
	want := []string{"POST /ws/@connections/" + sealedID, "POST /ws/@connections/" + other}
	if got := asked(w, elsewhere); got != "2 0" || !slices.Equal(w.got, want) {
		t.Errorf("asked %s: %q", got, w.got)
	}
}

// What has gone to an https address, given or new, goes to none with http.
func TestMovedTLS(t *testing.T) {
	inClear := newPlace(t, written)
	server, opts := serveTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Wspush-Address", inClear.address())
		written(w, r)
	}))
	opts.Credential, opts.Hosts = "bearer-secret", []string{"127.0.0.1", "http://127.0.0.1"}
	c := newClient(t, opts)
	first := newPlace(t, written, addressOf(server))
	for _, address := range []string{addressOf(server), first.address()} {
		for range 3 {
			if err := push(t, c, address); err != nil {
				t.Error(err)
			}
		}
	}
	if got := asked(first, inClear); got != "1 0" || c.Moves() != 1 {
		t.Errorf("asked %s", got)
	}
}

// Allow may change its mind.
func TestMovedAllow(t *testing.T) {
	b := newPlace(t, written)
	a := newPlace(t, written, b.address())
	var denied atomic.Bool
	c := newClient(t, publisher.Options{Allow: func(u *url.URL) bool { return !denied.Load() || "http://"+u.Host == a.url }})
	for i, want := range []string{"1 0", "0 1", "1 0"} {
		denied.Store(i == 2)
		if err := push(t, c, a.address()); err != nil {
			t.Error(err)
		}
		if got := asked(a, b); got != want {
			t.Errorf("push %d: asked %s, want %s", i, got, want)
		}
	}
}

// If the caller has no time to wait for a new address that does not answer, the next call begins with the given one.
func TestMovedTooSlow(t *testing.T) {
	dialling := make(chan bool, 1)
	b := newPlace(t, written)
	a := newPlace(t, written, b.address())
	c := newClient(t, publisher.Options{DialTimeout: -1, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if strings.HasSuffix(b.url, addr) {
			dialling <- true
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}})
	if err := push(t, c, a.address()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-dialling
		cancel()
	}()
	if err := inError(t, outcome(c.Push(ctx, a.address(), publisher.Text, nil))); !errors.Is(err, context.Canceled) || errors.Is(err, publisher.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if err := push(t, c, a.address()); err != nil {
		t.Error(err)
	}
	if got := asked(a, b); got != "2 0" {
		t.Errorf("asked %s", got)
	}
}

// What is remembered is bounded, and what has not been used for longest goes first.
func TestMovedBounded(t *testing.T) {
	c := newClient(t, publisher.Options{Hosts: []string{"a.test", "b.test"}})
	move := func(n int) {
		c.Moved(connection("http://a.test", n), connection("http://b.test", n))
	}
	for n := range publisher.MaxMoves {
		move(n)
	}
	if c.MovedTo(connection("http://a.test", 0)) == nil {
		t.Error("the first one is forgotten")
	}
	move(2)
	move(publisher.MaxMoves)
	move(publisher.MaxMoves + 1)
	for n, want := range map[int]bool{0: true, 1: false, 2: true, 3: false, 4: true, publisher.MaxMoves: true, publisher.MaxMoves + 1: true} {
		if got := c.MovedTo(connection("http://a.test", n)) != nil; got != want {
			t.Errorf("%d: remembered %t", n, got)
		}
	}
	if n := c.Moves(); n != publisher.MaxMoves {
		t.Errorf("%d are remembered", n)
	}
}

// A session that moves all the time, under pushes and questions of many goroutines: each message is written once.
func TestMovedConcurrently(t *testing.T) {
	const publishers, messages = 8, 100
	var places [3]*place
	var mu sync.Mutex // guards what follows
	got := make(map[string]int)
	at := 0
	for i := range places {
		places[i] = newPlace(t, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			if i != at {
				w.Header().Set("Wspush-Address", places[at].address())
				if len(got)%2 == 0 { // it cannot reach the other one
					problem(502, "unreachable")(w, r)
					at = (at + len(body)) % len(places)
					return
				}
			}
			got[string(body)]++
			at = (at + 1) % len(places)
			w.WriteHeader(204)
		})
	}
	c := newClient(t, publisher.Options{})
	var all sync.WaitGroup
	for n := range publishers {
		all.Go(func() {
			for m := range messages {
				text := fmt.Sprintf("%d of %d", m, n)
				err := inError(t, outcome(c.Push(context10(t), places[n%2].address(), publisher.Text, []byte(text))))
				mu.Lock()
				if count := got[text]; count > 1 || (err == nil) != (count == 1) || err != nil && !errors.Is(err, publisher.ErrUnreachable) {
					t.Errorf("%q was written %d times: %v", text, count, err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
}

// A Stream sends to the address that it is given: its lines are in order only as long as they go one way.
func TestMovedStream(t *testing.T) {
	w, server := serveWorker(t, new(worker))
	b := newPlace(t, written)
	c := newClient(t, publisher.Options{})
	c.Moved(addressOf(server), b.address())
	s := c.NewStream()
	defer s.Close()
	if err := inError(t, outcome(s.Push(context10(t), addressOf(server), publisher.Text, []byte("hello")))); err != nil {
		t.Error(err)
	}
	if got := asked(b); got != "0" || len(w.messages()) != 1 {
		t.Errorf("asked %s, and %q", got, w.messages())
	}
}

// Whatever the header says, what is remembered is an address of the same connection at an allowed host, and never http for https.
func FuzzMoved(f *testing.F) {
	for _, header := range []string{
		"https://b.test/ws/@connections/" + id, "http://" + id + "@b.test/ws,https://" + id + "@10.0.0.1/ws", "https://b.test/ws/@connections/" + sealedID,
		"https://" + strings.ToUpper(id) + "@B.TEST:443", ",", "https://b.test\x00/@connections/" + id,
	} {
		for _, id := range []string{id, sealedID} {
			f.Add(id, header)
		}
	}
	f.Fuzz(func(t *testing.T, id, header string) {
		c := newClient(t, publisher.Options{Hosts: []string{"a.test", "b.test"}})
		address := "https://a.test/ws/@connections/" + id
		if requests, err := c.Requests(address); err != nil || len(requests) != 1 {
			return
		}
		c.Moved(address, header)
		to := c.MovedTo(address)
		if len(header) > publisher.MaxAddress && to != nil {
			t.Error("it is too long")
		}
		for _, s := range to {
			u, err := url.Parse(s)
			if err != nil || u.Scheme != "https" || u.Hostname() != "a.test" && u.Hostname() != "b.test" || u.User != nil || u.RawQuery != "" {
				t.Fatalf("%q became %q", header, s)
			}
			if last := s[strings.LastIndexByte(s, '/')+1:]; !strings.HasPrefix(id, "v1.") && !strings.EqualFold(last, id) {
				t.Errorf("%q of %s became %q", header, id, s)
			}
		}
	})
}
