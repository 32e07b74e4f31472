package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/console"
	"github.com/wspush/wspush/internal/testutil"
)

// A page learns of a connection within half a second of its start, and of its end likewise; unchanged state is not sent again.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &console.Options{Label: func(*wspush.Conn) string { return "Ada <b>" }})
		p := s.open()
		if u := p.next(); u.Total != 0 || len(u.Samples) != 1 || u.Order == nil {
			t.Errorf("before any client: %+v", u)
		}
		came := time.Now()
		client, id := s.connect(testutil.Options{Path: "/chat?secret=1", Header: http.Header{"User-Agent": {"Firefox"}}})
		u := p.next()
		if waited := time.Since(came); waited > time.Second {
			t.Errorf("the page was told after %v", waited)
		}
		if len(u.Rows) != 1 || u.Total != 1 || u.Matches != 1 {
			t.Fatalf("%+v", u)
		}
		r := u.Rows[0]
		if r.ID != id[:8] || r.Label != "Ada <b>" || r.Path != "/chat" || r.Remote != "pipe" || r.UserAgent != "" ||
			time.UnixMilli(r.Since).Sub(came).Abs() > time.Second {
			t.Errorf("the row is %+v", r)
		}
		if u := p.next(); u.Rows != nil || u.Order != nil || u.Totals != nil || len(u.Samples) != 1 {
			t.Errorf("nothing changed, but the page was told %+v", u)
		}
		client.Send(testutil.Text, []byte("hello"))
		if u := p.next(); len(u.Rows) != 1 || u.Rows[0].Active <= r.Active || u.Rows[0].Handle != "" || u.Order != nil {
			t.Errorf("the client sent a message, but the page was told %+v", u)
		}
		client.Close()
		if u := p.next(); u.Total != 0 || len(u.Order) != 0 || u.Order == nil || u.Totals == nil {
			t.Errorf("the client left, but the page was told %+v", u)
		}
		p.client.Close()
	})
}

// The server filters and sorts.
func TestViews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		labels := map[string]string{"/b": "bob", "/a": "Alice", "/c": "carol"}
		s := newSite(t, &console.Options{Label: func(c *wspush.Conn) string { return labels[c.Info().Path] }})
		clients := make(map[string]*testutil.Client)
		ids := make(map[string]string)
		for _, path := range []string{"/b", "/a", "/c"} {
			clients[path], ids[path] = s.connect(testutil.Options{Path: path, Header: http.Header{"User-Agent": {"Agent " + path[1:]}}})
			testutil.Pass(time.Second)
		}
		want := func(p *page, what string, paths ...string) {
			t.Helper()
			var got []string
			for _, n := range p.order {
				got = append(got, p.rows[n].Path)
			}
			if !slices.Equal(got, paths) {
				t.Errorf("%s: %v, want %v", what, got, paths)
			}
		}
		p := s.open()
		p.next()
		want(p, "as long as it asks for nothing, the youngest first", "/c", "/a", "/b")
		p.ask(`{"seq":1,"sort":"since","desc":true}`)
		want(p, "the oldest first", "/b", "/a", "/c")
		p.ask(`{"seq":2,"sort":"label"}`)
		want(p, "by label", "/a", "/b", "/c")
		p.ask(`{"seq":3,"sort":"path","desc":true}`)
		want(p, "by path, backwards", "/c", "/b", "/a")
		if u := p.ask(`{"seq":4,"sort":"path","filter":"ALICE agent"}`); u.Matches != 1 || u.Total != 3 {
			t.Errorf("filtered: %+v", u)
		}
		want(p, "filtered by label and user agent", "/a")
		p.ask(`{"seq":5,"sort":"path","filter":"alice bob"}`)
		want(p, "filtered by what is nowhere together")
		p.ask(`{"seq":6,"sort":"path","filter":"` + ids["/c"][:8] + `"}`)
		want(p, "filtered by ID", "/c")
		p.ask(`{"seq":7,"sort":"path","filter":"` + ids["/c"][9:] + `"}`)
		want(p, "filtered by the part of the ID that the page is not told")
		clients["/a"].Send(testutil.Text, []byte("x"))
		synctest.Wait()
		p.ask(`{"seq":8,"sort":"active"}`)
		if p.rows[p.order[0]].Path != "/a" {
			t.Errorf("by silence: %v first", p.rows[p.order[0]])
		}
		p.ask(`{"seq":9,"sort":"pending"}`)
		ties := slices.Clone(p.order)
		p.ask(`{"seq":10,"sort":"rtt","desc":true}`) // round trips take no time in a bubble, so all are equal again
		if slices.Reverse(ties); len(ties) != 3 || !slices.Equal(p.order, ties) {
			t.Errorf("equal ones come in order %v, and descending in order %v", ties, p.order)
		}
		p.client.Close()
		for _, c := range clients {
			c.Close()
		}
	})
}

// The page gets a connection's details for as long as it asks for them, whether or not the connection is listed.
func TestDetails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		client, id := s.connect(testutil.Options{Header: http.Header{"User-Agent": {strings.Repeat("ü", 300)}}})
		p := s.open()
		p.next()
		handle := p.handleOf(id)
		u := p.ask(`{"seq":1,"filter":"nothing like it","watch":"` + handle + `"}`)
		if len(p.order) != 0 || u.Watched == nil || u.Watched.ID != id[:8] || u.Watched.UserAgent != strings.Repeat("ü", 100)+"…" {
			t.Errorf("the details are %+v", u.Watched)
		}
		client.Close()
		p.until("no details", func(u update) bool { return u.Watched == nil })
		if u := p.ask(`{"seq":2,"watch":"` + id + `"}`); u.Watched != nil {
			t.Errorf("an ID in place of a handle gets details: %+v", u.Watched)
		}
		p.client.Close()
	})
}

func TestWrongQuestions(t *testing.T) {
	for _, question := range []string{`{"sort":"password"}`, `nonsense`, `[]`} {
		s := newSite(t, nil)
		p := s.open()
		p.client.Send(testutil.Text, []byte(question))
		if code, _ := p.client.AwaitClose(); code != 1008 {
			t.Errorf("%s: closed with %d", question, code)
		}
	}
}

// Neither the messages to a page nor the log contain more of an ID than its first 8 digits.
func TestNoIDLeaves(t *testing.T) {
	var log buffer
	s := newSite(t, &console.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	p := s.open()
	var ids []string
	var answers []string
	for range 20 {
		client, id := s.connect(testutil.Options{})
		defer client.Close()
		go read(client)
		ids = append(ids, id)
	}
	p.until("all of them", func(update) bool { return len(p.order) == len(ids) })
	for i, id := range ids {
		handle := p.handleOf(id)
		p.ask(fmt.Sprintf(`{"seq":%d,"watch":"%s"}`, i+1, handle))
		what, body := "/push", `{"connection":"`+handle+`","text":"x"}`
		if i%2 == 0 {
			what, body = "/disconnect", `{"connection":"`+handle+`","code":1000}`
		}
		if i%4 == 3 {
			body = `{"connection":"` + handle + `","text":"` + strings.Repeat("x", 1<<20+1) + `"}`
		}
		done := make(chan string)
		go func() { done <- s.post(what, body).Body.String() }()
		answers = append(answers, <-done)
	}
	p.next()
	for _, id := range ids {
		for _, said := range slices.Concat(p.sent, answers, []string{log.String()}) {
			for _, part := range []string{id, id[9:23], id[24:], strings.ReplaceAll(id, "-", "")} {
				if strings.Contains(said, part) {
					t.Fatalf("%s of %s appears in %s", part, id, said)
				}
			}
		}
	}
	p.client.Close()
}

// A page that does not read blocks nobody, and when it reads again it gets the present state, not the past.
func TestSlowPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		slow, quick := s.open(), s.open()
		slow.next()
		quick.next()
		began := time.Now()
		for i := range 10 {
			before := time.Now()
			quick.next()
			if waited := time.Since(before); waited > 600*time.Millisecond {
				t.Errorf("update %d came after %v", i, waited)
			}
		}
		if u := slow.next(); time.UnixMilli(u.Now).Before(began.Add(4*time.Second)) || len(u.Samples) < 8 {
			t.Errorf("%v after the beginning the page is told of %v after it, with %d samples",
				time.Since(began), time.UnixMilli(u.Now).Sub(began), len(u.Samples))
		}
		slow.client.Close()
		quick.client.Close()
	})
}

// No goroutine runs and no snapshot is taken while no page is open: before the first, and after the last.
func TestNobodyLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		s := newSite(t, &console.Options{Label: func(*wspush.Conn) string { looks.Add(1); return "" }})
		var clients []*testutil.Client
		connect := func() {
			client, _ := s.connect(testutil.Options{})
			clients = append(clients, client)
		}
		look := func() { // two pages, one of which closes before the other
			before := looks.Load()
			p, q := s.open(), s.open()
			p.next()
			p.client.Close()
			q.next()
			q.next()
			q.client.Close()
			synctest.Wait()
			if looks.Load() == before {
				t.Error("no snapshot with two pages open, so this tests nothing")
			}
		}
		idle := func(when string) {
			before := looks.Load()
			connect()
			testutil.Pass(10 * time.Second)
			if looks.Load() != before {
				t.Errorf("%s a snapshot was taken", when)
			}
		}
		idle("before a page is open")
		look()
		idle("after the last one was closed")
		look()
		idle("and the same again:")
		for _, c := range clients {
			c.Close()
		}
	})
}

// A page's charts begin with the samples taken for earlier pages, and say where nobody has looked. After a time that no chart covers they begin anew.
func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		client, id := s.connect(testutil.Options{Timeout: -1})
		go read(client)
		push := func() {
			if _, err := s.worker.Push(t.Context(), id, wspush.Text, []byte("x")); err != nil {
				t.Error(err)
			}
		}
		push() // before anybody has looked
		first := s.open()
		if u := first.next(); u.Samples[0].P50 != 0 || u.Samples[0].P99 != 0 {
			t.Errorf("the first sample has the latency of what was before: %+v", u.Samples[0])
		}
		for range 4 {
			first.next()
		}
		first.client.Close()
		testutil.Pass(time.Second) // as when a page is loaded again
		again := s.open()
		if u := again.next(); slices.ContainsFunc(u.Samples, func(s chartSample) bool { return s.Gap }) {
			t.Error("a page that is loaded again is told of a gap")
		}
		again.client.Close()
		testutil.Pass(time.Minute)
		push()
		second := s.open()
		u := second.next()
		if len(u.Samples) < 7 {
			t.Errorf("%d samples", len(u.Samples))
		}
		for i, sample := range u.Samples {
			isLast := i == len(u.Samples)-1
			if sample.Gap != isLast {
				t.Errorf("sample %d of %d: nobody has looked before it: %v", i, len(u.Samples), sample.Gap)
			}
			if i > 0 && sample.At <= u.Samples[i-1].At {
				t.Errorf("sample %d is not later than the one before", i)
			}
			if isLast && sample.P50 == 0 {
				t.Error("the sample after the gap has no latency")
			}
		}
		for range 400 {
			if u := second.next(); u.Samples[0].Gap {
				t.Fatal("nobody has looked, although a page was open")
			}
		}
		third := s.open()
		if u := third.next(); len(u.Samples) != 360 {
			t.Errorf("%d samples are kept", len(u.Samples))
		}
		second.client.Close()
		third.client.Close()
		testutil.Pass(time.Hour)
		fourth := s.open()
		if u := fourth.next(); len(u.Samples) != 1 || u.Samples[0].Gap {
			t.Errorf("after an hour the charts have %d samples, the first of them after a gap: %v", len(u.Samples), u.Samples[0].Gap)
		}
		fourth.client.Close()
		client.Close()
	})
}

// Pages see the worker's Shutdown and are closed at its end; then nothing runs any more, even though the console itself was not
// shut down.
func TestWorkerShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quiet := slog.New(slog.DiscardHandler)
		worker, err := wspush.NewWorker(&wspush.WorkerOptions{
			NoListen: true, Advertise: []string{"push.invalid"}, Logger: quiet, DrainOver: 3 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		handler, err := wspush.NewHandler(worker, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := console.New(worker, &console.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		s := &site{t: t, worker: worker, handler: handler, console: c}
		var clients sync.WaitGroup
		for range 3 {
			client, _ := s.connect(testutil.Options{})
			clients.Go(func() { _, _, _ = client.Message() }) // answers the close
		}
		p := s.open()
		if u := p.next(); u.Draining || u.Over {
			t.Errorf("before Shutdown: %+v", u)
		}
		down := make(chan error)
		go func() { down <- worker.Shutdown(context.Background()) }()
		p.until("draining", func(u update) bool { return u.Draining && !u.Over && u.Total > 0 })
		p.until("its end", func(u update) bool { return u.Draining && u.Over && u.Total == 0 })
		if code, _ := p.client.AwaitClose(); code != 1012 {
			t.Errorf("the page was closed with %d", code)
		}
		if err := <-down; err != nil {
			t.Error(err)
		}
		clients.Wait()
	})
}

// While a worker that shuts down waits for a client that does not read, it is not over: the page would say that nobody is there for whom something
// is pending.
func TestShutdownOfOneWhoDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		_, id := s.connect(testutil.Options{})
		pushed := make(chan error, 1)
		go func() {
			_, err := s.worker.Push(context.Background(), id, wspush.Text, make([]byte, 300_000))
			pushed <- err
		}()
		synctest.Wait()
		p := s.open()
		p.until("what is pending", func(u update) bool { return u.Samples[len(u.Samples)-1].Pending > 300_000 })
		down := make(chan error, 1)
		go func() { down <- s.worker.Shutdown(context.Background()) }()
		for waited := 0; ; waited++ {
			u := p.next()
			last := u.Samples[len(u.Samples)-1]
			if u.Over && last.Pending != 0 {
				t.Errorf("nobody is there, and %d bytes are pending", last.Pending)
			}
			if u.Over {
				if waited < 3 {
					t.Error("the worker has waited for nobody, so this tests nothing")
				}
				break
			}
		}
		if err := <-down; err != nil {
			t.Error(err)
		}
		if err := <-pushed; err == nil {
			t.Error("what nobody has read was written")
		}
		p.client.Close()
	})
}

// A worker that shuts down without clients closes the pages as well.
func TestShutdownOfNobody(t *testing.T) {
	s := newSite(t, nil)
	p := s.open()
	p.next()
	if err := s.worker.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	p.until("its end", func(u update) bool { return u.Draining && u.Over })
	if code, _ := p.client.AwaitClose(); code != 1012 {
		t.Errorf("the page was closed with %d", code)
	}
}

// Where the console is shut down right after its worker, as it should be, pages are told of the end before they are closed. One that does not
// read delays that only for so long.
func TestShutdownAfterTheWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		p, stalled := s.open(), s.open()
		p.next()
		stalled.next()
		testutil.Pass(time.Millisecond) // between two snapshots
		if err := s.worker.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		began, down := time.Now(), make(chan error)
		go func() { down <- s.console.Shutdown(context.Background()) }()
		p.until("its end", func(u update) bool { return u.Draining && u.Over })
		if took := time.Since(began); took > 300*time.Millisecond { // it is told something every 250 ms, and not of the next snapshot, 500 ms after the last
			t.Errorf("the page is told after %v", took)
		}
		if code, _ := p.client.AwaitClose(); code != 1012 {
			t.Errorf("the page was closed with %d", code)
		}
		if err := <-down; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < time.Second || took > 10*time.Second {
			t.Errorf("with a page that does not read, it took %v", took)
		}
	})
}

// Without pages there is nothing to wait for.
func TestShutdownWithoutPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, nil)
		began := time.Now()
		if err := s.worker.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.console.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %v", took)
		}
	})
}

// A panic in Label, which is the application's, does no harm.
func TestLabelPanics(t *testing.T) {
	var log buffer
	s := newSite(t, &console.Options{
		Label:  func(*wspush.Conn) string { panic("no user") },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	client, id := s.connect(testutil.Options{})
	p := s.open()
	p.until("the connection", func(update) bool { return slices.Equal(p.shown(), []string{id[:8]}) })
	if record := log.String(); !strings.Contains(record, "panic=\"no user\"") || strings.Contains(record, id) {
		t.Errorf("the log: %s", record)
	}
	client.Close()
}

// A page that reconnects can tell whether this console knows its handles.
func TestGreetingNamesConsole(t *testing.T) {
	name := func(s *site) string {
		var greeting struct{ Console string }
		if err := json.Unmarshal([]byte(s.open().greeting), &greeting); err != nil {
			t.Fatal(err)
		}
		return greeting.Console
	}
	one, other := newSite(t, nil), newSite(t, nil)
	first := name(one)
	if again := name(one); first == "" || again != first {
		t.Errorf("the same console is named %q, then %q", first, again)
	}
	if second := name(other); second == first {
		t.Errorf("another console is named %q as well", second)
	}
}

// However many connections there are, a page gets 200 rows, and then only the changes among these.
func TestManyConnections(t *testing.T) {
	const n, most = 1500, 200
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, &console.Options{Label: func(c *wspush.Conn) string { return "user " + c.String() }})
		clients := make([]*testutil.Client, n)
		for i := range clients {
			clients[i], _ = s.connect(testutil.Options{})
			go read(clients[i])
		}
		p := s.open()
		size := func() int { return len(p.sent[len(p.sent)-1]) }
		u := p.next()
		if u.Total != n || u.Matches != n || len(p.order) != most || len(u.Rows) != most {
			t.Fatalf("%d of %d, %d in order, %d rows", u.Matches, u.Total, len(p.order), len(u.Rows))
		}
		if size() > 60_000 {
			t.Errorf("the first update has %d bytes", size())
		}
		if u = p.next(); u.Rows != nil || size() > 1000 {
			t.Errorf("when nothing has changed, %d rows are sent, in %d bytes", len(u.Rows), size())
		}
		testutil.Pass(10 * time.Millisecond)
		for _, err := range s.worker.PushEach(context.Background(), s.worker.Conns(), wspush.Text, []byte("hello, everyone")) {
			if err != nil {
				t.Error(err)
			}
		}
		u = p.until("changes", func(u update) bool { return len(u.Rows) > 0 })
		if len(u.Rows) != most || size() > 30_000 {
			t.Errorf("when everything has changed, %d rows are sent, in %d bytes", len(u.Rows), size())
		}
		p.client.Close()
		for _, c := range clients {
			c.Close()
		}
	})
}
