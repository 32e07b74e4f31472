package publisher_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
)

func TestLookup(t *testing.T) {
	c := newClient(t, publisher.Options{})
	info, err := c.Lookup(t.Context(), addressOf(testutil.Serve(t, says(200, "application/json", `{"connectionId":"`+id+`","connectedAt":"2026-11-25T20:57:33.1Z",
		"lastActiveAt":"2026-11-25T20:58:01.7Z","identity":{"sourceIp":"203.0.113.7","userAgent":"x"},"path":"/ws","subprotocol":"p","rttMs":12.5}`))))
	want := publisher.Info{ID: id, ConnectedAt: time.Date(2026, 11, 25, 20, 57, 33, 1e8, time.UTC), LastActive: time.Date(2026, 11, 25, 20, 58, 1, 7e8, time.UTC),
		SourceIP: "203.0.113.7", UserAgent: "x", Path: "/ws", Subprotocol: "p", RoundTrip: 12500 * time.Microsecond,
		Since: time.Date(2026, 11, 25, 20, 57, 33, 1e8, time.UTC)} // as of a worker that knows no sessions
	if err != nil || info != want {
		t.Errorf("got %+v, %v", info, err)
	}
	since := time.Date(2026, 11, 25, 20, 59, 0, 0, time.UTC)
	for more, want := range map[string]*publisher.Info{
		`"state":"connected"`: {},
		`"state":"connected","since":"2026-11-25T20:59:00Z","buffered":{"messages":2,"bytes":9}`:              {Session: true, Since: since, Buffered: 2, BufferedBytes: 9},
		`"state":"suspended","since":"2026-11-25T20:59:00Z","buffered":{"messages":0,"bytes":0,"seconds":61}`: {Session: true, Suspended: true, Since: since, ResumableFor: 61 * time.Second},
		`"state":"suspended","since":"2026-11-25T20:59:00Z","buffered":{"messages":-1,"bytes":0,"seconds":1}`: nil,
		`"state":"suspended","since":"2026-11-25T20:59:00Z","buffered":{"messages":0,"bytes":-1}`:             nil,
		`"state":"suspended","since":"2026-11-25T20:59:00Z","buffered":{"messages":0,"bytes":0,"seconds":-1}`: nil,
		`"state":"suspended","since":"yesterday","buffered":{"messages":0,"bytes":0,"seconds":1}`:             nil,
		`"state":"suspended","buffered":{"messages":0,"bytes":0,"seconds":1}`:                                 nil,
		`"state":1`: nil,
	} {
		info, err := c.Lookup(t.Context(), addressOf(testutil.Serve(t, says(200, "application/json", `{"connectionId":"`+id+`",`+more+`}`))))
		if want == nil {
			if !errors.Is(inError(t, err), publisher.ErrUnreachable) {
				t.Errorf("%s: %+v, %v", more, info, err)
			}
			continue
		}
		want.ID = id
		if err != nil || info != *want {
			t.Errorf("%s: %+v, %v", more, info, err)
		}
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   error
	}{
		"410": {problem(410, "gone"), publisher.ErrGone}, "no JSON": {says(200, "text/html", id), publisher.ErrUnreachable}, "no ID": {says(200, "", "{}"), publisher.ErrUnreachable},
		"endless": {endless(200), publisher.ErrUnreachable}, "502": {says(502, "", ""), publisher.ErrUnreachable}, "404": {says(404, "", ""), nil},
	} {
		_, err := c.Lookup(t.Context(), addressOf(testutil.Serve(t, test.answer)))
		if inError(t, err) == nil || test.want != nil && !errors.Is(err, test.want) || errors.Is(err, publisher.ErrUnknown) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Since it changes nothing, the next is asked whatever became of the first.
	if _, err := c.Lookup(t.Context(), addressOf(testutil.Serve(t, says(502, "", "")))+","+addressOf(testutil.Serve(t, problem(410, "gone")))); !errors.Is(err, publisher.ErrGone) {
		t.Errorf("got %v", err)
	}
}
