package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
)

// Answers come while the request is being sent, over both versions, and each is for its line and target.
func TestAnswers(t *testing.T) {
	run := func(t *testing.T, c *http.Client, url string) {
		r := begin(t, c, url, 1<<20)
		for i := range 3 {
			if o := send(t, r, 1, "hello").wait(t); o.err != nil || o.answer.Status != 204 || o.answer.Line != 2*i+1 || o.index != 0 {
				t.Errorf("got %v", o)
			}
			many := send(t, r, 3, "all")
			for i := range 3 {
				if o := many.wait(t); o.err != nil || o.index != i || *o.answer.Index != i {
					t.Errorf("got %v", o)
				}
			}
		}
		r.CloseSend()
		wait(t, r)
		if r.NeedsWhole() {
			t.Error("it took a whole request")
		}
		b, n := line(t, 1, "late")
		if err := r.Send(context.Background(), b, n, nil); err != bulk.ErrEnded {
			t.Errorf("after the end: %v", err)
		}
	}
	t.Run("HTTP/1.1", func(t *testing.T) { run(t, client(t, nil), testutil.Serve(t, stream(ok))) })
	t.Run("HTTP/2", func(t *testing.T) {
		url, config := serveH2(t, stream(func(n int, line string) string { return ok(n, line) }))
		run(t, client(t, config), url)
	})
}

// A request that has ended as it should leaves its connection to the next.
func TestReuse(t *testing.T) {
	var mu sync.Mutex
	from := make(map[string]bool)
	url := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		from[r.RemoteAddr] = true
		mu.Unlock()
		stream(ok)(w, r)
	}))
	c := client(t, nil)
	for range 3 {
		r := begin(t, c, url, 1<<20)
		send(t, r, 1, "hello")
		r.CloseSend()
		wait(t, r)
	}
	if len(from) != 1 {
		t.Errorf("it took %d connections", len(from))
	}
}

// Lines that come while the transport is busy share a read, and nothing is lost however they come.
func TestManySenders(t *testing.T) {
	r := begin(t, client(t, nil), testutil.Serve(t, stream(ok)), 8<<10)
	var all sync.WaitGroup
	for g := range 20 {
		b, targets := line(t, 1, fmt.Sprint(g))
		all.Go(func() {
			for range 100 {
				s := newSending()
				if err := r.Send(context.Background(), b, targets, s.done); err != nil {
					t.Errorf("Send: %v", err)
					return
				}
				if o := <-s; o.err != nil || o.answer.Status != 204 {
					t.Errorf("got %v", o)
				}
			}
		})
	}
	all.Wait()
	if unanswered, answers := r.Progress(); unanswered != 0 || answers != 2000 {
		t.Errorf("%d unanswered, %d answers", unanswered, answers)
	}
}

// More than limit bytes without an answer make Send wait, and TrySend fail; those that wait go in the order of their calls.
func TestLimit(t *testing.T) {
	release := make(chan bool)
	var order []string
	r := begin(t, client(t, nil), testutil.Serve(t, stream(func(n int, line string) string {
		order = append(order, line[strings.Index(line, "text"):])
		<-release
		return ok(n, line)
	})), 100)
	first := send(t, r, 1, "first")
	b, targets := line(t, 1, "refused")
	if err := r.TrySend(b, targets, nil); err != bulk.ErrFull {
		t.Errorf("TrySend: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Send(ctx, b, targets, nil); err != context.Canceled {
		t.Errorf("Send: %v", err)
	}
	second := newSending()
	sent := make(chan error)
	go func() {
		b, targets := line(t, 1, "second")
		sent <- r.Send(context.Background(), b, targets, second.done)
	}()
	second.none(t)
	release <- true
	if err := <-sent; err != nil {
		t.Errorf("Send: %v", err)
	}
	first.wait(t)
	release <- true
	second.wait(t)
	if err := r.TrySend(b, targets, newSending().done); err != nil {
		t.Errorf("TrySend: %v", err)
	}
	release <- true
	r.CloseSend()
	wait(t, r)
	if got := fmt.Sprint(order); got != `[text":"first"} text":"second"} text":"refused"}]` {
		t.Errorf("got %s", got)
	}
}

// The end of the request ends the waiting, with nothing sent.
func TestEndWhileWaiting(t *testing.T) {
	r := begin(t, client(t, nil), testutil.Serve(t, stream(func(int, string) string { return "" })), 100)
	send(t, r, 1, "first")
	sent := make(chan error)
	b, targets := line(t, 1, "second")
	go func() { sent <- r.Send(context.Background(), b, targets, nil) }()
	r.CloseSend()
	if err := <-sent; err != bulk.ErrEnded {
		t.Errorf("Send: %v", err)
	}
}

func TestNotConnected(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	l.Close()
	release := make(chan bool)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		<-release
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	r := begin(t, &http.Client{Transport: transport}, url, 1<<20)
	one, two := send(t, r, 1, "a"), send(t, r, 2, "b")
	close(release)
	for _, o := range []outcome{one.wait(t), two.wait(t), two.wait(t)} {
		if !isNotSent(o) || !errors.Is(o.err, bulk.ErrConnect) || strings.Contains(o.err.Error(), "/ws") {
			t.Errorf("got %v", o)
		}
	}
	wait(t, r)
	two.none(t)
}

func TestNoRequest(t *testing.T) {
	oops := errors.New("oops")
	r := bulk.Open(context.Background(), bulk.Config{Client: client(t, nil), NewRequest: func(io.Reader) (*http.Request, error) { return nil, oops }})
	wait(t, r)
	b, n := line(t, 1, "late")
	if err := r.Send(context.Background(), b, n, nil); err != bulk.ErrEnded {
		t.Errorf("Send: %v", err)
	}
}

// What an answer that ends, or breaks, or makes no sense says of the lines that have none.
func TestEnds(t *testing.T) {
	type expect func(outcome) bool
	answered := func(o outcome) bool { return o.err == nil && o.answer.Status == 204 }
	for name, test := range map[string]struct {
		answers [3]string // to the three lines: to one, to two, to one
		want    [4]expect // of the targets
	}{
		"end":             {[3]string{"end"}, [4]expect{isNotSent, isNotSent, isNotSent, isNotSent}},
		"end in between":  {[3]string{`{"line":1,"status":204}`, "end"}, [4]expect{answered, isNotSent, isNotSent, isNotSent}},
		"cut":             {[3]string{`{"line":1,"status":204}`, "", "cut"}, [4]expect{answered, isLost, isLost, isLost}},
		"stopped":         {[3]string{`{"line":1,"status":204}`, "stop"}, [4]expect{answered, isLost, isLost, isLost}},
		"end of too few":  {[3]string{"", `{"line":2,"index":1,"status":204}` + "\n" + `{"lines":1}`}, [4]expect{isLost, isLost, answered, isLost}},
		"end of too many": {[3]string{`{"lines":4}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"end before one":  {[3]string{`{"line":1,"status":204}`, `{"lines":2}`}, [4]expect{answered, isLost, isLost, isNotSent}},
		"one was skipped": {[3]string{"", `{"line":2,"index":1,"status":204}` + "\n" + `{"line":2,"index":0,"status":204}`, "end"}, [4]expect{isLost, answered, answered, isNotSent}},
		"half a line":     {[3]string{"", `{"line":2,"index":1,"status":204}`, "end"}, [4]expect{isLost, isLost, answered, isNotSent}},
		"whole line": {[3]string{`{"line":1,"status":204}`, `{"line":2,"status":400,"type":"urn:wspush:bad-request"}`, `{"line":3,"status":204}`},
			[4]expect{answered, nil, nil, answered}},
		"unknown line":         {[3]string{"", "", `{"line":4,"status":204}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"line 0":               {[3]string{"", "", `{"status":204}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"twice":                {[3]string{`{"line":1,"status":204}`, `{"line":1,"status":204}`}, [4]expect{answered, isLost, isLost, isLost}},
		"index twice":          {[3]string{"", `{"line":2,"index":1,"status":204}` + "\n" + `{"line":2,"index":1,"status":204}`}, [4]expect{isLost, isLost, answered, isLost}},
		"index too large":      {[3]string{"", `{"line":2,"index":2,"status":204}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"negative index":       {[3]string{"", `{"line":2,"index":-1,"status":204}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"index of a string":    {[3]string{`{"line":1,"index":0,"status":204}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"no index, success":    {[3]string{"", `{"line":2,"status":204}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"no index, after one":  {[3]string{"", `{"line":2,"index":0,"status":204}` + "\n" + `{"line":2,"status":400}`}, [4]expect{isLost, answered, isLost, isLost}},
		"no status":            {[3]string{`{"line":1}`}, [4]expect{isLost, isLost, isLost, isLost}},
		"not JSON":             {[3]string{`{"line":1,"status":204`}, [4]expect{isLost, isLost, isLost, isLost}},
		"a line without end":   {[3]string{`{"line":1,"status":204,"detail":"` + strings.Repeat("x", bulk.MaxAnswer)}, [4]expect{isLost, isLost, isLost, isLost}},
		"blank lines":          {[3]string{"\n\r\n" + `{"line":1,"status":204}`, ok(2, `{"to":["",""]}`), ok(3, "{}")}, [4]expect{answered, answered, answered, answered}},
		"a member more":        {[3]string{`{"line":1,"status":204,"new":{}}`, ok(2, `{"to":["",""]}`), ok(3, "{}")}, [4]expect{answered, answered, answered, answered}},
		"in the reverse order": {[3]string{"", "", ok(3, "{}") + ok(2, `{"to":["",""]}`) + ok(1, "{}")}, [4]expect{answered, answered, answered, answered}},
	} {
		t.Run(name, func(t *testing.T) {
			queued := make(chan bool)
			r := open(t, stream(func(n int, line string) string {
				<-queued
				if a := test.answers[n-1]; a != "" && a != "end" && a != "cut" && a != "stop" {
					return a + "\n"
				} else {
					return a
				}
			}))
			lines := []sending{send(t, r, 1, "a"), send(t, r, 2, "b"), send(t, r, 1, "c")}
			testutil.Eventually(t, "the lines to be handed over", func() bool { return r.Unhanded() == 0 })
			close(queued)
			for i, want := range test.want {
				s := lines[[]int{0, 1, 1, 2}[i]]
				o := s.wait(t)
				if i == 1 && o.index == 1 { // they finish in any order
					other := s.wait(t)
					s <- o
					o = other
				}
				if want == nil {
					want = func(o outcome) bool { return o.err == nil && o.answer.Status == 400 && o.answer.OfWorker() }
				}
				if !want(o) {
					t.Errorf("target %d: got %v", i, o)
				}
			}
			r.CloseSend()
			wait(t, r)
			for _, s := range lines {
				s.none(t)
			}
		})
	}
}

// What has not been handed to the transport when the request breaks was not sent.
func TestUnhanded(t *testing.T) {
	taken := make(chan bool)
	url := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("Content-Type", wire.NDJSON)
		_ = rc.Flush()
		<-taken
		panic(http.ErrAbortHandler)
	}))
	r := begin(t, client(t, nil), url, 64<<20)
	first := send(t, r, 1, strings.Repeat("x", 32<<20)) // more than any socket takes
	second := send(t, r, 1, "second")
	testutil.Eventually(t, "the transport to begin", func() bool { return r.Unhanded() < 32<<20 })
	close(taken)
	if o := first.wait(t); !isLost(o) {
		t.Errorf("got %v", o)
	}
	if o := second.wait(t); !isNotSent(o) || errors.Is(o.err, bulk.ErrConnect) {
		t.Errorf("got %v", o)
	}
}

func TestRefused(t *testing.T) {
	problem := func(status int, kind string) string {
		return fmt.Sprintf(`{"type":"urn:wspush:%s","title":"x","status":%d,"detail":"because"}`, kind, status)
	}
	const media = "application/problem+json"
	lost := func(o outcome) bool { return isLost(o) && o.answer.Status != 0 && o.answer.Type == "" }
	notSent := func(o outcome) bool { return isNotSent(o) && o.answer.Status != 0 && o.answer.Type == "" }
	workers := func(o outcome) bool {
		return o.err == nil && o.answer.OfWorker() && o.answer.Detail == "because" && o.answer.Line == 0
	}
	for name, test := range map[string]struct {
		status      int
		media, body string
		want        func(outcome) bool
	}{
		"403 of a worker":        {403, media, problem(403, "forbidden"), workers},
		"503 of a worker":        {503, media + "; charset=utf-8", problem(503, "full"), workers},
		"404":                    {404, "text/html", "<h1>not here</h1>", notSent},
		"413":                    {413, "", "", lost},
		"408":                    {408, "", "", lost},
		"502":                    {502, "", "", lost},
		"302":                    {302, "", "", notSent},
		"201":                    {201, wire.NDJSON, "", lost},
		"204":                    {204, "", "", lost},
		"200, but HTML":          {200, "text/html", `{"line":1,"status":204}`, lost},
		"200 without a type":     {200, "", `{"line":1,"status":204}`, lost},
		"someone else's type":    {502, media, `{"type":"about:blank","status":502}`, lost},
		"another media type":     {502, "application/json", problem(502, "unreachable"), lost},
		"problem without end":    {502, media, problem(502, "unreachable") + strings.Repeat(" ", bulk.MaxAnswer), lost},
		"problem that is broken": {502, media, problem(502, "unreachable")[:30], lost},
	} {
		t.Run(name, func(t *testing.T) {
			r := openWhole(t, says(test.status, test.media, test.body))
			s := send(t, r, 2, "a")
			for range 2 {
				if o := s.wait(t); !test.want(o) || o.answer.Status != test.status {
					t.Errorf("got %v", o)
				}
			}
			wait(t, r)

			// Nothing is sent to what does not begin to answer as a worker does. It answers when the line is there to be sent.
			accepted := make(chan bool)
			r = open(t, func(w http.ResponseWriter, r *http.Request) {
				<-accepted
				_ = http.NewResponseController(w).EnableFullDuplex()
				if test.media != "" {
					w.Header().Set("Content-Type", test.media)
				}
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			s = send(t, r, 2, "a")
			close(accepted)
			for range 2 {
				if o := s.wait(t); !workers(o) && !notSent(o) || o.answer.Status != test.status {
					t.Errorf("before anything was sent: got %v", o)
				}
			}
			wait(t, r)
		})
	}
}

// An answer that ends with its connection does not say whether it is whole.
func TestCloseDelimited(t *testing.T) {
	r := openWhole(t, func(w http.ResponseWriter, r *http.Request) {
		readLine(r)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"+`{"line":1,"index":0,"status":204}`+"\n")
	})
	s := send(t, r, 2, "a")
	if o := s.wait(t); o.err != nil {
		t.Errorf("got %v", o)
	}
	if o := s.wait(t); !isLost(o) {
		t.Errorf("got %v", o)
	}
}

// Closing the request, and the end of its context, cut it off.
func TestClose(t *testing.T) {
	broken := make(chan error, 2)
	h := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		w.Header().Set("Content-Type", wire.NDJSON)
		_ = rc.Flush()
		_, err := io.Copy(io.Discard, r.Body)
		broken <- err
	}
	url := testutil.Serve(t, http.HandlerFunc(h))
	ctx, cancel := context.WithCancel(context.Background())
	for _, end := range []func(*bulk.Request){(*bulk.Request).Close, func(*bulk.Request) { cancel() }} {
		r := bulk.Open(ctx, config(client(t, nil), url, 1<<20))
		s := send(t, r, 1, "a")
		testutil.Eventually(t, "the line to be handed over", func() bool { return r.Unhanded() == 0 })
		end(r)
		if o := s.wait(t); !isLost(o) && !isNotSent(o) {
			t.Errorf("got %v", o)
		}
		wait(t, r)
		if err := <-broken; err == nil {
			t.Error("the worker saw a whole request")
		}
	}
}

// Redirects are not followed, and cookies not kept.
func TestNoRedirect(t *testing.T) {
	var asked []string
	r := openWhole(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		readLine(r)
		http.Redirect(w, r, "/elsewhere", http.StatusSeeOther)
	})
	if o := send(t, r, 1, "a").wait(t); !isNotSent(o) || o.answer.Status != 303 {
		t.Errorf("got %v", o)
	}
	if len(asked) != 1 {
		t.Errorf("asked %v", asked)
	}
}

// A worker that has read the whole body, and fewer lines than were sent, has not been sent them all: unlike one that says that it
// ended the request before its end.
func TestLostEnd(t *testing.T) {
	for last, isHole := range map[string]bool{
		`{"lines":1}`: true, `{"lines":1,"type":"urn:wspush:damaged"}`: true, `{"lines":1,"type":"urn:wspush:shutdown"}`: false, `{"lines":1,"type":"urn:wspush:timeout"}`: false,
	} {
		r := open(t, stream(func(n int, line string) string {
			if n == 2 {
				return last + "\n"
			}
			return ok(n, line)
		}))
		if o := send(t, r, 1, "a").wait(t); o.err != nil {
			t.Errorf("%s: got %v", last, o)
		}
		if o := send(t, r, 1, "b").wait(t); !isNotSent(o) || errors.Is(o.err, bulk.ErrHole) != isHole || r.NeedsWhole() != isHole {
			t.Errorf("%s: got %v", last, o)
		}
		r.Close()
	}
}
