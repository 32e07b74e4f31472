package publisher_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

// counting counts the requests of a handler.
func counting(n *atomic.Int64, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}
}

// The next alternative is tried where nothing was written and it may help, and nowhere else.
func TestAlternatives(t *testing.T) {
	lost := func(w http.ResponseWriter, r *http.Request) { hijacked(w, r).Close() }
	for name, test := range map[string]struct {
		first http.HandlerFunc // nil: nobody
		next  bool
		want  error // when the second is never asked
	}{
		"nobody": {nil, true, nil}, "401": {problem(401, "unauthorized"), true, nil}, "403": {problem(403, "forbidden"), true, nil},
		"404": {problem(404, "not-found"), true, nil}, "405": {problem(405, "method-not-allowed"), true, nil}, "410": {problem(410, "gone"), true, nil},
		"421": {problem(421, "misdirected"), true, nil}, "502": {problem(502, "unreachable"), true, nil}, "508": {problem(508, "loop"), true, nil},
		"400": {problem(400, "bad-request"), false, nil}, "413": {problem(413, "too-large"), false, publisher.ErrTooLarge},
		"429": {problem(429, "busy"), false, publisher.ErrBusy}, "503": {problem(503, "full"), false, publisher.ErrBusy},
		"503 shutdown": {problem(503, "shutdown"), false, publisher.ErrShutdown}, "504": {problem(504, "unknown"), false, publisher.ErrUnknown},
		"500": {problem(500, "internal"), false, publisher.ErrUnknown}, "404 of a proxy": {says(404, "", ""), false, nil},
		"502 of a proxy": {says(502, "", ""), false, publisher.ErrUnknown}, "200": {says(200, "", ""), false, publisher.ErrUnknown},
		"302": {says(302, "", ""), false, nil}, "lost": {lost, false, publisher.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, publisher.Options{})
			first := nobody(t)
			var asked [2]atomic.Int64
			if test.first != nil {
				first = testutil.Serve(t, counting(&asked[0], test.first))
			}
			address := addressOf(first) + "," + addressOf(testutil.Serve(t, counting(&asked[1], says(204, "", ""))))
			for range 2 {
				err := push(t, c, address)
				if (err == nil) != test.next || test.want != nil && !errors.Is(err, test.want) {
					t.Errorf("got %v", err)
				}
			}
			// The second time, the one that worked comes first.
			want := [2]int64{2, 0}
			if test.next {
				want = [2]int64{1, 2}
			}
			if test.first == nil {
				want[0] = 0
			}
			if got := [2]int64{asked[0].Load(), asked[1].Load()}; got != want {
				t.Errorf("asked %v, want %v", got, want)
			}
		})
	}
}

// When no alternative works, the error is the one that says most.
func TestNoAlternativeWorks(t *testing.T) {
	serve := func(h http.HandlerFunc) string { return addressOf(testutil.Serve(t, h)) }
	gone, forbidden, unreachable, none := serve(problem(410, "gone")), serve(problem(403, "forbidden")), serve(problem(502, "unreachable")), addressOf(nobody(t))
	c := newClient(t, publisher.Options{})
	for name, test := range map[string]struct {
		address string
		want    error
		status  int
	}{
		"gone first":   {gone + "," + forbidden + "," + none, publisher.ErrGone, 410},
		"gone last":    {none + "," + forbidden + "," + gone, publisher.ErrGone, 410},
		"last refusal": {unreachable + "," + forbidden + "," + none, publisher.ErrForbidden, 403},
		"nobody":       {none + "," + addressOf(nobody(t)), publisher.ErrUnreachable, 0},
	} {
		err := push(t, c, test.address)
		var e *publisher.Error
		if !errors.As(err, &e) || !errors.Is(err, test.want) || e.Status != test.status {
			t.Errorf("%s: got %v", name, err)
		}
		if test.status == 0 && !testutil.IsRefused(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// A redirect is not followed, wherever it leads, and cookies are not kept.
func TestRedirect(t *testing.T) {
	var asked atomic.Int64
	c := newClient(t, publisher.Options{})
	for _, status := range []int{301, 302, 303, 307, 308} {
		server := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Cookie") != "" || strings.HasPrefix(r.URL.Path, "/else") {
				asked.Add(1)
			}
			w.Header().Set("Set-Cookie", "a=b")
			http.Redirect(w, r, "/elsewhere/@connections/"+id, status)
		}))
		for range 2 {
			var e *publisher.Error
			if err := push(t, c, addressOf(server)); !errors.As(err, &e) || e.Status != status || errors.Is(err, publisher.ErrUnknown) {
				t.Errorf("got %v", err)
			}
		}
		if _, err := c.Lookup(t.Context(), addressOf(server)); inError(t, err) == nil {
			t.Error("looked up")
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("followed, or kept a cookie: %d", n)
	}
}
