package console_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

func TestMain(m *testing.M) { testutil.Main(m) }

// site is an application with a console.
type site struct {
	t       testing.TB
	worker  *wspush.Worker
	handler *wspush.Handler
	console *console.Console
}

// window is how long the sessions of a site wait for their clients.
const window = 2 * time.Minute

// newSite makes a site, which may be in a testing/synctest bubble. The query of a client's handshake has its user and its groups.
// Everything is shut down when the test ends; an error in that fails the test.
func newSite(t testing.TB, opts *console.Options) *site {
	t.Helper()
	return newSiteWith(t, opts, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.invalid"}})
}

func newSiteWith(t testing.TB, opts *console.Options, workerOpts *wspush.WorkerOptions) *site {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := &site{t: t}
	var err error
	workerOpts.Logger = quiet
	if s.worker, err = wspush.NewWorker(workerOpts); err != nil {
		t.Fatal(err)
	}
	greet := func(c *wspush.Conn) (wspush.MessageType, []byte) { return wspush.Text, []byte(c.ID()) }
	if s.handler, err = wspush.NewHandler(s.worker, &wspush.HandlerOptions{
		Greeting:     greet,
		ResumeWindow: window,
		Accept:       func(r *http.Request) (any, error) { return r.URL.Query(), nil },
		User:         func(_ *http.Request, value any) string { return value.(url.Values).Get("user") },
		Groups:       func(c *wspush.Conn) []string { return c.Value().(url.Values)["group"] },
	}); err != nil {
		t.Fatal(err)
	}
	if s.console, err = console.New(s.worker, opts); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		defer cancel()
		if err := s.console.Shutdown(ctx); err != nil {
			t.Errorf("shutting down the console: %v", err)
		}
		if err := s.worker.Shutdown(ctx); err != nil {
			t.Errorf("shutting down the worker: %v", err)
		}
	})
	return s
}

// connect connects a client of the application, and returns its ID too.
func (s *site) connect(opts testutil.Options) (client *testutil.Client, id string) {
	s.t.Helper()
	client = testutil.Handshake(s.t, testutil.Pipe(s.t, s.handler), opts)
	return client, client.Text()
}

// visit connects a client of the application that gets a session, and returns its ID too. With resume it comes back instead.
func (s *site) visit(resume string) (client *testutil.Page, id string) {
	s.t.Helper()
	client = testutil.Visit(s.t, testutil.Pipe(s.t, s.handler), testutil.Options{}, resume)
	if !client.Hello.Resumed {
		id = client.Next()
	}
	return client, id
}

// read discards what the client receives, and answers pings, until its connection ends.
func read(client *testutil.Client) {
	for {
		if _, _, err := client.Message(); err != nil {
			return
		}
	}
}

// page is the console's page without a browser. Like page.html, it keeps what it has received and what it knows from that.
type page struct {
	t        testing.TB
	client   *testutil.Client
	greeting string
	sent     []string // every message
	rows     map[uint64]row
	order    []uint64
}

// update is a message to a page.
type update struct {
	Seq            uint64
	Now            int64
	Draining, Over bool
	Samples        []chartSample
	Totals         []struct {
		Title string
		Of    []struct {
			Name string
			N    uint64
		}
	}
	Total, Matches int
	Order          []uint64
	Rows           []row
	Watched        *row
}

type chartSample struct {
	At, Pending, P50, P99 int64
	Gap                   bool
}

type row struct {
	N                                                       uint64
	Handle, ID, Label, Remote, Path, UserAgent, Subprotocol string
	User                                                    string
	Groups                                                  *groups
	Since, Active, RTT                                      int64
	Pending                                                 int
	Session                                                 int64
	Suspended                                               bool
	Buffered, BufferedBytes                                 int
	Client                                                  string
}

type groups struct {
	Names []string
	Total int
}

// open opens the console's page over a pipe.
func (s *site) open() *page {
	s.t.Helper()
	return newPage(s.t, testutil.Handshake(s.t, testutil.Pipe(s.t, s.console), testutil.Options{Path: "/feed"}))
}

func newPage(t testing.TB, client *testutil.Client) *page {
	t.Helper()
	p := &page{t: t, client: client, rows: make(map[uint64]row)}
	p.greeting = client.Text()
	p.sent = append(p.sent, p.greeting)
	return p
}

// next reads the next update.
func (p *page) next() update {
	p.t.Helper()
	message := p.client.Text()
	p.sent = append(p.sent, message)
	var u update
	if err := json.Unmarshal([]byte(message), &u); err != nil {
		p.t.Fatalf("%v: %s", err, message)
	}
	for _, change := range u.Rows {
		if known, ok := p.rows[change.N]; ok { // only the state is sent again
			change.Handle, change.ID, change.Label, change.Remote, change.Path, change.Since =
				known.Handle, known.ID, known.Label, known.Remote, known.Path, known.Since
		}
		p.rows[change.N] = change
	}
	if u.Order != nil {
		p.order = u.Order
		rows := make(map[uint64]row)
		for _, n := range p.order {
			if p.rows[n].Handle == "" {
				p.t.Fatalf("the page was never told what row number %d is", n)
			}
			rows[n] = p.rows[n]
		}
		p.rows = rows
	}
	return u
}

// until reads updates until one satisfies is.
func (p *page) until(what string, is func(update) bool) update {
	p.t.Helper()
	for range 20 {
		if u := p.next(); is(u) {
			return u
		}
	}
	p.t.Fatalf("no update among 20 has %s; the last is %s", what, p.sent[len(p.sent)-1])
	return update{}
}

// ask sends the page's view, and returns the first update that answers it.
func (p *page) ask(view string) update {
	p.t.Helper()
	p.client.Send(testutil.Text, []byte(view))
	var asked struct{ Seq uint64 }
	if err := json.Unmarshal([]byte(view), &asked); err != nil {
		p.t.Fatal(err)
	}
	return p.until("the answer to "+view, func(u update) bool { return u.Seq == asked.Seq })
}

// shown returns the shortened IDs, in order.
func (p *page) shown() (ids []string) {
	for _, n := range p.order {
		ids = append(ids, p.rows[n].ID)
	}
	return ids
}

// handleOf returns the handle of the connection with this ID, which the page must be showing.
func (p *page) handleOf(id string) string {
	p.t.Helper()
	for _, r := range p.rows {
		if r.ID == id[:8] {
			return r.Handle
		}
	}
	p.t.Fatalf("the page does not show %s: %s", id[:8], p.shown())
	return ""
}

// post sends the request that the page's push box or button sends, without a network.
func (s *site) post(path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.console.ServeHTTP(w, r)
	return w
}

// get requests a page from h as if it had come in at a local address.
func get(h http.Handler, target, host string, local net.Addr) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.Host = host
	if local != nil {
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, local))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func bodyOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
