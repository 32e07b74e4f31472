package publisher_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
	"github.com/wspush/wspush/publisher"
)

// outcomesJSON are the counts of an answer, as members of an object.
func outcomesJSON(written, received int, refused string, unknown, excepted, workers, answered int, complete bool) string {
	return fmt.Sprintf(`"written":%d,"received":%d,"refused":{%s},"unknown":%d,"excepted":%d,"workers":%d,"answered":%d,"complete":%v`,
		written, received, refused, unknown, excepted, workers, answered, complete)
}

// An answer that is not a success has its counts, too.
func TestOutcomesOfProblems(t *testing.T) {
	refused := func(err error, n int) publisher.Outcomes {
		return counts(publisher.Outcomes{Refused: map[error]int{err: n}})
	}
	for _, test := range []struct {
		status    int
		kind      string
		counts    string
		confirmed bool
		want      publisher.Outcomes
		err       error
	}{
		{429, "busy", outcomesJSON(0, 0, `"busy":3`, 0, 0, 1, 1, true), false, refused(publisher.ErrBusy, 3), publisher.ErrBusy},
		{429, "busy", outcomesJSON(0, 0, `"busy":3,"full":2`, 0, 0, 1, 1, true), false, refused(publisher.ErrBusy, 5), publisher.ErrBusy},
		{503, "shutdown", outcomesJSON(0, 0, `"shutdown":1`, 0, 0, 1, 1, true), false, refused(publisher.ErrShutdown, 1), publisher.ErrShutdown},
		{410, "gone", outcomesJSON(0, 0, `"gone":1`, 0, 0, 1, 1, true), false, refused(publisher.ErrGone, 1), publisher.ErrGone},
		{410, "gone", outcomesJSON(0, 0, ``, 0, 0, 3, 3, true), false, publisher.Outcomes{Workers: 3, Answered: 3, Complete: true}, publisher.ErrGone},
		{504, "unknown", outcomesJSON(0, 0, ``, 2, 1, 1, 1, true), false, counts(publisher.Outcomes{Unknown: 2, Excepted: 1}), publisher.ErrUnknown},
		{504, "unconfirmed", outcomesJSON(0, 0, ``, 2, 0, 1, 1, true), true, counts(publisher.Outcomes{Unknown: 2}), publisher.ErrUnknown},
		{504, "unknown", outcomesJSON(0, 0, `"busy":1`, 0, 0, 2, 1, false), false, publisher.Outcomes{Refused: map[error]int{publisher.ErrBusy: 1}, Workers: 2, Answered: 1}, publisher.ErrUnknown},
		{503, "directory", outcomesJSON(0, 0, ``, 0, 0, 3, 2, false), false, publisher.Outcomes{Workers: 3, Answered: 2}, publisher.ErrDirectory},
		{503, "directory", outcomesJSON(0, 0, ``, 0, 0, 0, 0, false), false, publisher.Outcomes{}, publisher.ErrDirectory},
		{502, "unreachable", outcomesJSON(0, 0, `"unreachable":1`, 0, 0, 2, 2, true), false, publisher.Outcomes{Refused: map[error]int{publisher.ErrUnreachable: 1}, Workers: 2, Answered: 2, Complete: true}, publisher.ErrUnreachable},
		{502, "unreachable", outcomesJSON(0, 0, ``, 0, 0, 2, 1, false), false, publisher.Outcomes{Workers: 2, Answered: 1}, publisher.ErrUnreachable},
		{403, "forbidden", `"title":"Forbidden"`, false, publisher.Outcomes{}, publisher.ErrForbidden},
	} {
		what := fmt.Sprintf("%d %s", test.status, test.counts)
		server := testutil.Serve(t, says(test.status, "application/problem+json", fmt.Sprintf(`{"type":"urn:wspush:%s","detail":"about %s",%s}`, test.kind, id, test.counts)))
		var opts []publisher.PushOption
		if test.confirmed {
			opts = append(opts, publisher.Confirmed())
		}
		got, err := asks(t, server).Group("room").Push(context10(t), publisher.Text, nil, opts...)
		expectOutcomes(t, what, got, inError(t, err), test.want, test.err)
		var e *publisher.Error
		if !errors.As(err, &e) || e.Status != test.status || !strings.HasSuffix(e.Type, test.kind) {
			t.Errorf("%s: %v", what, err)
		}
	}
	got, err := asks(t, testutil.Serve(t, says(200, "application/json", "{"+outcomesJSON(1, 0, `"busy":1,"what-comes-next":2,"internal":1`, 1, 0, 3, 2, false)+"}"))).Group("room").Push(context10(t), publisher.Text, nil)
	if err != nil || got.Written != 1 || len(got.Refused) != 3 || got.Refused[publisher.ErrBusy] != 1 || got.Refused[wire.ErrInternal] != 1 || got.Complete {
		t.Errorf("%+v, %v", got, err)
	}
	if err := got.Err(); !errors.Is(err, publisher.ErrUnknown) || !errors.Is(err, publisher.ErrBusy) || !errors.Is(err, publisher.ErrDirectory) || errors.Is(err, publisher.ErrGone) {
		t.Errorf("Err returns %v", err)
	}
}

// nonsense are answers to a push that make no sense, or contradict themselves, each with its status and the counts.
func nonsense() (all []struct {
	status int
	body   string
}) {
	add := func(status int, body string) {
		all = append(all, struct {
			status int
			body   string
		}{status, body})
	}
	good := outcomesJSON(2, 0, `"busy":1`, 0, 0, 1, 1, true)
	for _, missing := range []string{`"written":2,`, `"received":0,`, `"refused":{"busy":1},`, `"unknown":0,`, `"excepted":0,`, `"workers":1,`, `"answered":1,`, `,"complete":true`} {
		add(200, "{"+strings.Replace(good, missing, "", 1)+"}")
	}
	for _, body := range []string{
		outcomesJSON(-1, 0, ``, 0, 0, 1, 1, true), outcomesJSON(2, 0, ``, -1, 0, 1, 1, true), outcomesJSON(2, 0, ``, 0, -1, 1, 1, true), outcomesJSON(2, 0, ``, 0, 0, -1, -1, true),
		outcomesJSON(2, 0, `"busy":-1`, 0, 0, 1, 1, true), outcomesJSON(2, 0, ``, 0, 0, 1, 2, true), outcomesJSON(2, 0, ``, 0, 0, 2, 1, true),
		outcomesJSON(0, 0, ``, 0, 0, 1, 1, true), outcomesJSON(0, 0, `"busy":1`, 0, 0, 1, 1, true), outcomesJSON(0, 0, ``, 1, 0, 1, 1, true), outcomesJSON(0, 2, ``, 0, 0, 1, 1, true),
		outcomesJSON(2147483647, 0, ``, 1, 0, 1, 1, true), outcomesJSON(2, 0, `"busy":2147483647`, 0, 0, 1, 1, true),
		outcomesJSON(0, 0, ``, 0, 1, 2, 1, false),
	} {
		add(200, "{"+body+"}")
	}
	for _, body := range []string{
		"{}", "null", `{"written":1}`, "{" + strings.Replace(good, `:2,`, `:"2",`, 1) + "}", "{" + strings.Replace(good, `:2,`, `:2.5,`, 1) + "}",
		"{" + strings.Replace(good, `:2,`, `:1e99,`, 1) + "}", "{" + strings.Replace(good, `:2,`, `:null,`, 1) + "}", "{" + strings.Replace(good, `{"busy":1}`, `null`, 1) + "}",
		"{" + strings.Replace(good, `{"busy":1}`, `[]`, 1) + "}", "{" + strings.Replace(good, `true`, `1`, 1) + "}",
	} {
		add(200, body)
	}
	problem := func(kind, counts string) string { return fmt.Sprintf(`{"type":"urn:wspush:%s",%s}`, kind, counts) }
	add(410, problem("gone", outcomesJSON(1, 0, ``, 0, 0, 1, 1, true)))
	add(410, problem("gone", outcomesJSON(0, 0, ``, 1, 0, 1, 1, true)))
	add(410, problem("gone", outcomesJSON(0, 0, ``, 0, 0, 2, 1, false)))
	add(410, problem("gone", outcomesJSON(0, 0, ``, 0, 1, 1, 1, true)))
	add(410, problem("gone", `"written":0`))
	add(429, problem("busy", outcomesJSON(0, 0, ``, 1, 0, 1, 1, true)))
	add(429, problem("busy", outcomesJSON(0, 0, `"busy":-1`, 0, 0, 1, 1, true)))
	add(429, problem("busy", outcomesJSON(1, 0, `"busy":1`, 0, 0, 1, 1, true)))
	add(503, problem("directory", outcomesJSON(1, 0, ``, 0, 0, 2, 1, false)))
	add(504, problem("unknown", outcomesJSON(1, 0, ``, 1, 0, 1, 1, true)))
	return all
}

// Of an answer that makes no sense, nothing is believed: the outcome is unknown.
func TestOutcomesNonsense(t *testing.T) {
	for _, tt := range nonsense() {
		media := "application/json"
		if tt.status != 200 {
			media = "application/problem+json"
		}
		got, err := asks(t, testutil.Serve(t, says(tt.status, media, tt.body))).User("ann").Push(context10(t), publisher.Text, nil)
		expectOutcomes(t, fmt.Sprint(tt), got, inError(t, err), publisher.Outcomes{}, publisher.ErrUnknown)
	}
	for name, h := range map[string]http.HandlerFunc{
		"HTML": says(200, "text/html", "<p>hello</p>"), "204": says(204, "", ""), "202": says(202, "application/json", "{"+outcomesJSON(1, 0, "", 0, 0, 1, 1, true)+"}"),
		"endless": endless(200), "endless 504": endless(504), "500": says(500, "", ""),
		"huge": says(200, "application/json", "{"+outcomesJSON(1, 0, "", 0, 0, 1, 1, true)+strings.Repeat(" ", 64<<10)+"}"),
		"cut off": func(w http.ResponseWriter, r *http.Request) {
			conn := hijacked(w, r)
			defer conn.Close()
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{%s}", outcomesJSON(1, 0, "", 0, 0, 1, 1, true))
		},
	} {
		got, err := asks(t, testutil.Serve(t, h)).User("ann").Push(context10(t), publisher.Text, nil)
		expectOutcomes(t, name, got, inError(t, err), publisher.Outcomes{}, publisher.ErrUnknown)
	}
}

// Whatever an answer is, its outcomes can be.
func FuzzOutcomesOf(f *testing.F) {
	f.Add(200, []byte("{"+outcomesJSON(2, 0, `"busy":1,"gone":2`, 1, 1, 3, 2, false)+"}"), false)
	f.Add(200, []byte(`{"buffered":2,`+outcomesJSON(0, 0, `"suspended":1`, 0, 0, 1, 1, true)+"}"), false)
	f.Add(409, []byte(`{"type":"urn:wspush:suspended",`+outcomesJSON(0, 0, `"suspended":1`, 0, 0, 1, 1, true)+"}"), true)
	f.Add(200, []byte("{"+outcomesJSON(0, 2, `"x":1`, 1, 1, 3, 3, true)+"}"), true)
	f.Add(410, []byte(`{"type":"urn:wspush:gone",`+outcomesJSON(0, 0, "", 0, 0, 1, 1, true)+"}"), false)
	f.Add(503, []byte(`{"type":"urn:wspush:directory",`+outcomesJSON(0, 0, "", 0, 0, 2, 1, false)+"}"), false)
	for _, tt := range nonsense() {
		f.Add(tt.status, []byte(tt.body), false)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, confirmed bool) {
		o, err := publisher.OutcomesOf(status, body, confirmed)
		if err != nil {
			if fmt.Sprintf("%+v", o) != fmt.Sprintf("%+v", publisher.Outcomes{}) {
				t.Errorf("%s: %+v, %v", body, o, err)
			}
			return
		}
		all := o.Written + o.Received + o.Buffered + o.Unknown + o.Excepted
		for reason, n := range o.Refused {
			if all += n; n <= 0 || reason == nil {
				t.Errorf("%s: %+v", body, o)
			}
		}
		has := o.Written + o.Received + o.Buffered
		for _, n := range []int{o.Written, o.Received, o.Buffered, o.Unknown, o.Excepted, o.Workers, o.Answered, o.Workers - o.Answered, all} {
			if n < 0 {
				t.Errorf("%s: %+v", body, o)
			}
		}
		switch {
		case confirmed && o.Written > 0, !confirmed && o.Received > 0, o.Complete && o.Answered != o.Workers,
			status == 200 && has == 0 && (o.Excepted == 0 || o.Unknown > 0 || !o.Complete),
			status != 200 && has > 0, status != 200 && status != 504 && o.Unknown > 0, status == 410 && o.Workers > 0 && !o.Complete:
			t.Errorf("%d %s: %+v", status, body, o)
		}
		_ = o.Err()
	})
}
