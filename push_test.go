package wspush_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

const (
	unknownID = "00000000-0000-4000-8000-000000000000" // well-formed, and nobody's
	appSecret = "the reason is the application's own"
)

// pushEnd is a worker with one client at /ws. Its AuthorizePush obeys the header X-Auth.
type pushEnd struct {
	worker *wspush.Worker
	client *testutil.Client
	conn   *wspush.Conn
	log    *lockedBuffer
}

func newPushEnd(t *testing.T, opts wspush.WorkerOptions) *pushEnd {
	t.Helper()
	e := &pushEnd{log: &lockedBuffer{}}
	opts.AuthorizePush = func(r *http.Request) error {
		switch r.Header.Get("X-Auth") {
		case "no":
			return fmt.Errorf("%w: %s", wspush.ErrUnauthorized, appSecret)
		case "forbidden":
			return fmt.Errorf("%w: %s", wspush.ErrForbidden, appSecret)
		}
		return nil
	}
	opts.Logger = slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	e.worker = newWorker(t, &opts)
	e.client, e.conn, _ = dial(t, e.worker, serve(t, e.worker, nil), testutil.Options{})
	return e
}

// lockedBuffer is a log for many goroutines.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// request makes a request to the push listener. ID stands for the client's in target and in user.
func (e *pushEnd) request(t *testing.T, method, target, user string, header http.Header, body io.Reader) *http.Request {
	t.Helper()
	target = strings.ReplaceAll(target, "ID", e.conn.ID())
	req := newRequest(t, method, "http://"+e.worker.Addr().String()+target, body)
	maps.Copy(req.Header, header)
	if user != "" {
		name, password, _ := strings.Cut(strings.ReplaceAll(user, "ID", e.conn.ID()), ":")
		req.SetBasicAuth(name, password)
	}
	return req
}

// quiet ends the test unless the next message to the client is one sent now: nothing came before it.
func (e *pushEnd) quiet(t *testing.T) {
	t.Helper()
	if _, err := e.conn.Push(t.Context(), wspush.Text, []byte("and nothing before")); err != nil {
		t.Fatalf("the connection is harmed: %v", err)
	}
	expect(t, e.client, testutil.Text, "and nothing before")
}

// want is an answer in docs/push-api.md.
type want struct {
	status int
	kind   string // of the problem: urn:wspush:kind
	amazon string // x-amzn-ErrorType
	detail string // is in the problem's detail
	header http.Header
}

func (want want) check(t *testing.T, method string, resp *http.Response) {
	t.Helper()
	body := text(t, resp)
	if resp.StatusCode != want.status {
		t.Fatalf("got %s %q, want %d", resp.Status, body, want.status)
	}
	if got := resp.Header.Get("x-amzn-ErrorType"); got != want.amazon {
		t.Errorf("x-amzn-ErrorType is %q, want %q", got, want.amazon)
	}
	for name, values := range want.header {
		if got := resp.Header.Get(name); got != values[0] {
			t.Errorf("%s is %q, want %q", name, got, values[0])
		}
	}
	if want.kind == "" {
		return
	}
	if got := resp.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type is %q", got)
	}
	if method == http.MethodHead {
		if body != "" {
			t.Errorf("HEAD has a body: %q", body)
		}
		return
	}
	var p struct {
		Type, Title, Detail, Message string
		Status                       int
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	if p.Type != "urn:wspush:"+want.kind || p.Title == "" || p.Status != want.status || p.Detail == "" ||
		!strings.Contains(p.Detail, want.detail) {
		t.Errorf("problem %s, want kind %q with %q in its detail", body, want.kind, want.detail)
	}
	if strings.HasPrefix(p.Detail, "wspush: ") {
		t.Errorf("%s has the text of a Go error", body)
	}
	if message := p.Message; want.amazon != "" && message != p.Detail || want.amazon == "" && message != "" {
		t.Errorf("problem %s: message is %q", body, message)
	}
	if strings.Contains(body, appSecret) {
		t.Errorf("the application's error is told to the publisher: %s", body)
	}
}

// answers are the answers in docs/push-api.md.
func answers() map[string]want {
	header := func(name, value string) http.Header { return http.Header{name: {value}} }
	return map[string]want{
		"done":         {status: 204},
		"found":        {status: 200, header: header("Content-Type", "application/json")},
		"options":      {status: 204, header: header("Allow", "DELETE, GET, HEAD, OPTIONS, POST")},
		"method":       {status: 405, kind: "method-not-allowed", header: header("Allow", "DELETE, GET, HEAD, OPTIONS, POST")},
		"no ID":        {status: 401, kind: "unauthorized", detail: "/@connections/ID", header: header("WWW-Authenticate", `Basic realm="wspush"`)},
		"unauthorized": {status: 401, kind: "unauthorized", detail: "authorization", header: header("WWW-Authenticate", `Basic realm="wspush"`)},
		"forbidden":    {status: 403, kind: "forbidden", amazon: "ForbiddenException"},
		"bad ID":       {status: 400, kind: "bad-request", detail: "UUID"},
		"bad type":     {status: 400, kind: "bad-request", detail: "type"},
		"bad code":     {status: 400, kind: "bad-request", detail: "1000 to 1003, 1007 to 1009, 1011 to 1014, or 3000 to 4999"},
		"bad confirm":  {status: 400, kind: "bad-request", detail: "confirm must be received"},
		"bad timeout":  {status: 400, kind: "bad-request", detail: "timeout must be a positive duration"},

		"unknown parameter": {status: 400, kind: "bad-request", detail: "unknown query parameter"},
		"unknown x":         {status: 400, kind: "bad-request", detail: `unknown query parameter "x": this request takes type, confirm, timeout, keep`},
		"misspelt confirm":  {status: 400, kind: "bad-request", detail: `unknown query parameter "confrim": did you mean "confirm"?`},
		"misspelt code":     {status: 400, kind: "bad-request", detail: `unknown query parameter "cod": did you mean "code"?`},
		"repeated type":     {status: 400, kind: "bad-request", detail: "more than one type"},
		"repeated timeout":  {status: 400, kind: "bad-request", detail: "more than one timeout"},
		"repeated code":     {status: 400, kind: "bad-request", detail: "more than one code"},

		"bad reason": {status: 400, kind: "bad-request", detail: "reason"},
		"bad UTF-8":  {status: 400, kind: "bad-request", detail: "UTF-8"},
		"bad query":  {status: 400, kind: "bad-request", detail: "query"},
		"gone":       {status: 410, kind: "gone", amazon: "GoneException"},
		"not found":  {status: 404, kind: "not-found"},
		"too large":  {status: 413, kind: "too-large", amazon: "PayloadTooLargeException"},
	}
}

// TestPushAPI asks for everything that a live connection and its worker can answer, and for the order of the checks: a
// request that is wrong in several ways gets the first answer of the list in docs/push-api.md.
func TestPushAPI(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{MaxPushBytes: 100})
	long := strings.Repeat("x", 101)
	no, forbidden := http.Header{"X-Auth": {"no"}}, http.Header{"X-Auth": {"forbidden"}}
	upper := strings.ToUpper(e.conn.ID())
	for _, tc := range []struct {
		name           string
		method, target string
		user           string
		header         http.Header
		body           string
		want           string
		message        string // that the client gets
	}{
		// both forms of an address
		{name: "userinfo", method: "POST", target: "/ws", user: "ID:", body: "a", want: "done", message: "a"},
		{name: "userinfo with a password", method: "POST", target: "/ws", user: "ID:secret", body: "b", want: "done", message: "b"},
		{name: "path", method: "POST", target: "/ws/@connections/ID", body: "c", want: "done", message: "c"},
		{name: "path, escaped", method: "POST", target: "/ws/%40connections/ID", body: "d", want: "done", message: "d"},
		{name: "path, Authorization free", method: "POST", target: "/ws/@connections/ID", header: http.Header{"Authorization": {"Bearer x"}}, body: "e", want: "done", message: "e"},
		{name: "path wins", method: "POST", target: "/ws/@connections/ID", user: unknownID, body: "f", want: "done", message: "f"},
		{name: "path wins, to its cost", method: "POST", target: "/ws/@connections/" + unknownID, user: "ID:", body: "g", want: "gone"},
		{name: "path wins, malformed", method: "POST", target: "/ws/@connections/12", user: "ID:", body: "g", want: "bad ID"},
		{name: "upper case", method: "POST", target: "/ws", user: upper, body: "U", want: "done", message: "U"},
		{name: "upper case, path", method: "POST", target: "/ws/@connections/" + upper, body: "P", want: "done", message: "P"},
		{name: "upper case, in part", method: "POST", target: "/ws/@connections/" + upper[:18] + e.conn.ID()[18:], body: "i", want: "done", message: "i"},
		{name: "upper case, GET", method: "GET", target: "/ws/@connections/" + upper, want: "found"},
		{name: "upper case, HEAD", method: "HEAD", target: "/ws", user: upper, want: "found"},
		{name: "upper case, bad code", method: "DELETE", target: "/ws/@connections/" + upper + "?code=1", want: "bad code"},
		{name: "upper case, braces", method: "POST", target: "/ws", user: "{" + upper + "}:", want: "bad ID"},
		{name: "upper case, no hyphens", method: "POST", target: "/ws", user: strings.ReplaceAll(upper, "-", "") + ":", want: "bad ID"},
		{name: "a bare question mark", method: "POST", target: "/ws?", user: "ID:", body: "h", want: "done", message: "h"},
		{name: "query", method: "POST", target: "/ws?&type=text&", user: "ID:", body: "h", want: "done", message: "h"},
		{name: "presigned", method: "POST", target: "/ws?X-Amz-Algorithm=AWS4-HMAC-SHA256&x-amz-date=1&X-Amz-Date=2", user: "ID:", body: "h", want: "done", message: "h"},

		// the other methods
		{name: "GET userinfo", method: "GET", target: "/ws", user: "ID:", want: "found"},
		{name: "GET path", method: "GET", target: "/ws/@connections/ID", want: "found"},
		{name: "HEAD", method: "HEAD", target: "/ws/@connections/ID", want: "found"},
		{name: "OPTIONS needs no ID", method: "OPTIONS", target: "/", want: "options"},
		{name: "OPTIONS is not authorized", method: "OPTIONS", target: "/ws", header: no, want: "options"},
		{name: "PUT", method: "PUT", target: "/ws", user: "ID:", body: "x", want: "method"},
		{name: "PATCH", method: "PATCH", target: "/ws/@connections/ID", want: "method"},
		{name: "TRACE", method: "TRACE", target: "/ws", want: "method"},
		{name: "lower case", method: "post", target: "/ws", user: "ID:", want: "method"},

		// no ID
		{name: "no ID", method: "POST", target: "/ws", body: "x", want: "no ID"},
		{name: "no ID, GET", method: "GET", target: "/", want: "no ID"},
		{name: "no ID, HEAD", method: "HEAD", target: "/ws", want: "no ID"},
		{name: "no ID, DELETE", method: "DELETE", target: "/ws", want: "no ID"},
		{name: "no user", method: "POST", target: "/ws", header: http.Header{"Authorization": {"Basic Og=="}}, want: "no ID"},
		{name: "another scheme", method: "POST", target: "/ws", header: http.Header{"Authorization": {"Bearer x"}}, want: "no ID"},
		{name: "not Base64", method: "POST", target: "/ws", header: http.Header{"Authorization": {"Basic ?"}}, want: "no ID"},

		// no UUID
		{name: "number", method: "POST", target: "/ws", user: "12:", body: "x", want: "bad ID"},
		{name: "number, path", method: "POST", target: "/ws/@connections/12", body: "x", want: "bad ID"},
		{name: "urn", method: "POST", target: "/ws", user: "urn:uuid:ID", want: "bad ID"},
		{name: "urn, path", method: "POST", target: "/ws/@connections/urn:uuid:ID", want: "bad ID"},
		{name: "braces", method: "POST", target: "/ws", user: "{ID}:", want: "bad ID"},
		{name: "no hyphens", method: "POST", target: "/ws", user: strings.ReplaceAll(e.conn.ID(), "-", "") + ":", want: "bad ID"},
		{name: "not hexadecimal", method: "GET", target: "/ws", user: strings.Repeat("g", 8) + unknownID[8:], want: "bad ID"},
		{name: "too long", method: "HEAD", target: "/ws/@connections/ID0", want: "bad ID"},
		{name: "space", method: "DELETE", target: "/ws/@connections/ID%20", want: "bad ID"},

		// not here
		{name: "unknown", method: "POST", target: "/ws", user: unknownID, body: "x", want: "gone"},
		{name: "unknown, path", method: "POST", target: "/ws/@connections/" + unknownID, body: "x", want: "gone"},
		{name: "unknown, GET", method: "GET", target: "/ws/@connections/" + unknownID, want: "gone"},
		{name: "unknown, HEAD", method: "HEAD", target: "/ws/@connections/" + unknownID, want: "gone"},
		{name: "unknown, DELETE", method: "DELETE", target: "/ws/@connections/" + unknownID, want: "gone"},
		{name: "unknown, upper case", method: "POST", target: "/ws/@connections/" + strings.ToUpper(nobody), body: "x", want: "gone"},
		{name: "nil UUID", method: "POST", target: "/ws", user: "00000000-0000-0000-0000-000000000000", want: "gone"},

		// elsewhere
		{name: "another path", method: "POST", target: "/other", user: "ID:", body: "x", want: "not found"},
		{name: "another path, path", method: "POST", target: "/other/@connections/ID", body: "x", want: "not found"},
		{name: "no path", method: "POST", target: "/@connections/ID", body: "x", want: "not found"},
		{name: "below", method: "GET", target: "/ws/below", user: "ID:", want: "not found"},
		{name: "another letter case", method: "GET", target: "/WS", user: "ID:", want: "not found"},
		{name: "neither form", method: "POST", target: "/ws/@connections/ID/x", body: "x", want: "not found"},
		{name: "neither form, no ID", method: "POST", target: "/ws/@connections/", body: "x", want: "not found"},

		// parameters and body
		{name: "type", method: "POST", target: "/ws?type=json", user: "ID:", body: "x", want: "bad type"},
		{name: "type, empty", method: "POST", target: "/ws?type=", user: "ID:", body: "x", want: "bad type"},
		{name: "type, upper case", method: "POST", target: "/ws?type=TEXT", user: "ID:", body: "x", want: "bad type"},
		{name: "type, both", method: "POST", target: "/ws?type=text&type=binary", user: "ID:", body: "x", want: "bad type"},
		{name: "type, twice the same", method: "POST", target: "/ws?type=text&type=text", user: "ID:", body: "x", want: "repeated type"},
		{name: "confirm, empty", method: "POST", target: "/ws?confirm=", user: "ID:", body: "x", want: "bad confirm"},
		{name: "confirm, no value", method: "POST", target: "/ws?confirm", user: "ID:", body: "x", want: "bad confirm"},
		{name: "timeout, empty", method: "POST", target: "/ws?timeout=", user: "ID:", body: "x", want: "bad timeout"},
		{name: "timeout, twice", method: "POST", target: "/ws?timeout=1s&timeout=2s", user: "ID:", body: "x", want: "repeated timeout"},
		{name: "misspelt", method: "POST", target: "/ws?confrim=received", user: "ID:", body: "x", want: "misspelt confirm"},
		{name: "unknown", method: "POST", target: "/ws?x=1", user: "ID:", body: "x", want: "unknown x"},
		{name: "of a DELETE", method: "POST", target: "/ws?reason=x", user: "ID:", body: "x", want: "unknown parameter"},
		{name: "no name", method: "POST", target: "/ws?=1", user: "ID:", body: "x", want: "unknown parameter"},
		{name: "GET with a parameter", method: "GET", target: "/ws?type=text", user: "ID:", want: "unknown parameter"},
		{name: "HEAD with a parameter", method: "HEAD", target: "/ws?x", user: "ID:", want: "unknown parameter"},
		{name: "GET, query malformed", method: "GET", target: "/ws?%zz", user: "ID:", want: "bad query"},
		{name: "GET, presigned", method: "GET", target: "/ws?X-Amz-Date=2", user: "ID:", want: "found"},
		{name: "OPTIONS looks at no query", method: "OPTIONS", target: "/ws?x=1", user: "ID:", want: "options"},
		{name: "query malformed", method: "POST", target: "/ws?type=%zz", user: "ID:", body: "x", want: "bad query"},
		{name: "not UTF-8", method: "POST", target: "/ws", user: "ID:", body: "a\xff", want: "bad UTF-8"},
		{name: "not UTF-8, though it says text", method: "POST", target: "/ws?type=text", user: "ID:", header: http.Header{"Content-Type": {"image/png"}}, body: "\xff", want: "bad UTF-8"},
		{name: "too large", method: "POST", target: "/ws", user: "ID:", body: long, want: "too large"},

		// the order
		{name: "405 first", method: "PUT", target: "/nowhere?type=x", user: "12:", header: no, body: long, want: "method"},
		{name: "AuthorizePush, then no ID", method: "POST", target: "/ws", header: forbidden, body: long, want: "forbidden"},
		{name: "AuthorizePush, then bad ID", method: "POST", target: "/ws", user: "12:", header: no, want: "unauthorized"},
		{name: "AuthorizePush, then unknown", method: "GET", target: "/ws", user: unknownID, header: forbidden, want: "forbidden"},
		{name: "AuthorizePush, then known", method: "HEAD", target: "/ws", user: "ID:", header: no, want: "unauthorized"},
		{name: "AuthorizePush, then deleted", method: "DELETE", target: "/ws", user: "ID:", header: no, want: "unauthorized"},
		{name: "AuthorizePush, then neither form", method: "POST", target: "/@connections/", header: no, want: "unauthorized"},
		{name: "AuthorizePush, then pushed", method: "POST", target: "/ws", user: "ID:", header: no, body: "x", want: "unauthorized"},
		{name: "bad ID, then parameters", method: "POST", target: "/ws?type=x", user: "12:", body: long, want: "bad ID"},
		{name: "no ID, then parameters", method: "POST", target: "/ws?type=x", body: long, want: "no ID"},
		{name: "410, then 404", method: "POST", target: "/other", user: unknownID, body: "x", want: "gone"},
		{name: "410, then parameters", method: "POST", target: "/ws?type=x", user: unknownID, body: long, want: "gone"},
		{name: "410, then code", method: "DELETE", target: "/ws?code=1", user: unknownID, want: "gone"},
		{name: "404, then parameters", method: "POST", target: "/other?type=x", user: "ID:", body: long, want: "not found"},
		{name: "parameters, then 413", method: "POST", target: "/ws?type=x", user: "ID:", body: long, want: "bad type"},
		{name: "413, then UTF-8", method: "POST", target: "/ws", user: "ID:", body: "\xff" + long, want: "too large"},

		// DELETE that closes nothing
		{name: "code 1005", method: "DELETE", target: "/ws?code=1005", user: "ID:", want: "bad code"},
		{name: "code 1004", method: "DELETE", target: "/ws?code=1004", user: "ID:", want: "bad code"},
		{name: "code 1006", method: "DELETE", target: "/ws?code=1006", user: "ID:", want: "bad code"},
		{name: "code 1010", method: "DELETE", target: "/ws?code=1010", user: "ID:", want: "bad code"},
		{name: "code 1015", method: "DELETE", target: "/ws?code=1015", user: "ID:", want: "bad code"},
		{name: "code 2999", method: "DELETE", target: "/ws?code=2999", user: "ID:", want: "bad code"},
		{name: "code 5000", method: "DELETE", target: "/ws?code=5000", user: "ID:", want: "bad code"},
		{name: "code 0", method: "DELETE", target: "/ws?code=0", user: "ID:", want: "bad code"},
		{name: "no code", method: "DELETE", target: "/ws?code=", user: "ID:", want: "bad code"},
		{name: "no number", method: "DELETE", target: "/ws?code=ok", user: "ID:", want: "bad code"},
		{name: "reason of 124 bytes", method: "DELETE", target: "/ws?reason=" + strings.Repeat("%C3%BC", 62), user: "ID:", want: "bad reason"},
		{name: "reason not UTF-8", method: "DELETE", target: "/ws?reason=%ff", user: "ID:", want: "bad reason"},
		{name: "code, twice the same", method: "DELETE", target: "/ws?code=1000&code=1000", user: "ID:", want: "repeated code"},
		{name: "code, misspelt", method: "DELETE", target: "/ws?cod=4000", user: "ID:", want: "misspelt code"},
		{name: "of a push", method: "DELETE", target: "/ws?type=text", user: "ID:", want: "unknown parameter"},
		{name: "DELETE, query malformed", method: "DELETE", target: "/ws?code=%zz", user: "ID:", want: "bad query"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want, ok := answers()[tc.want]
			if !ok {
				t.Fatalf("no answer %q", tc.want)
			}
			for _, chunked := range []bool{false, true} {
				var body io.Reader
				switch {
				case tc.body == "" && chunked:
					continue
				case chunked:
					body = io.MultiReader(strings.NewReader(tc.body[:len(tc.body)/2]), strings.NewReader(tc.body[len(tc.body)/2:]))
				case tc.body != "":
					body = strings.NewReader(tc.body)
				}
				want.check(t, tc.method, do(t, e.request(t, tc.method, tc.target, tc.user, tc.header, body)))
				if tc.message != "" {
					expect(t, e.client, testutil.Text, tc.message)
				}
				e.quiet(t)
			}
		})
	}
	if log := strings.ToLower(e.log.String()); strings.Contains(log, e.conn.ID()[:9]) || strings.Contains(log, e.conn.ID()[9:]) {
		t.Errorf("the log has more of the ID than 8 digits:\n%s", log)
	}
	if log := e.log.String(); !strings.Contains(log, e.conn.ID()[:8]) || !strings.Contains(log, appSecret) {
		t.Errorf("the log names neither the connection nor why AuthorizePush refused:\n%s", log)
	}
}

func TestMessageType(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{})
	aws := "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu/execute-api/aws4_request, SignedHeaders=host, Signature=0"
	for _, tc := range []struct {
		contentType, authorization, query, body string
		want                                    testutil.Opcode
	}{
		{want: testutil.Text},
		{contentType: "text/plain", want: testutil.Text},
		{contentType: "text/html; charset=utf-8", want: testutil.Text},
		{contentType: "application/json", want: testutil.Text},
		{contentType: "application/x-www-form-urlencoded", want: testutil.Text}, // curl -d
		{contentType: "application/vnd.api+json", want: testutil.Text},
		{contentType: "application/zipper", want: testutil.Text},
		{contentType: "application/vnd.google.protobuf", want: testutil.Text},
		{contentType: "model/gltf-binary", want: testutil.Text},
		{contentType: "imagery/png", want: testutil.Text},
		{contentType: "nonsense", want: testutil.Text},
		{contentType: "image", want: testutil.Text}, // no media type
		{contentType: "text/plain; image/png", want: testutil.Text},
		{contentType: "application/octet-stream", want: testutil.Binary},
		{contentType: "APPLICATION/Octet-Stream;x=y", want: testutil.Binary},
		{contentType: "image/png", want: testutil.Binary},
		{contentType: "image/svg+xml", want: testutil.Binary},
		{contentType: " Image/PNG ; x=y", want: testutil.Binary},
		{contentType: "audio/ogg; codecs=opus", want: testutil.Binary},
		{contentType: "video/mp4", want: testutil.Binary},
		{contentType: "font/woff2", want: testutil.Binary},
		{contentType: "application/protobuf", want: testutil.Binary},
		{contentType: "application/x-protobuf", want: testutil.Binary},
		{contentType: "application/msgpack", want: testutil.Binary},
		{contentType: "application/x-msgpack", want: testutil.Binary},
		{contentType: "application/cbor", want: testutil.Binary},
		{contentType: "application/zip", want: testutil.Binary},
		{contentType: "application/gzip", want: testutil.Binary},
		{contentType: "application/pdf", want: testutil.Binary},
		{contentType: "application/wasm", want: testutil.Binary},
		{contentType: "application/octet-stream", body: "\xff\x00", want: testutil.Binary},

		{contentType: "text/plain", query: "?type=binary", body: "\xff", want: testutil.Binary},
		{query: "?type=binary", want: testutil.Binary},
		{contentType: "image/png", query: "?type=text", want: testutil.Text},
		{contentType: "image/png", query: "?X-Amz-Date=&type=text", want: testutil.Text},

		{contentType: "application/octet-stream", authorization: aws, want: testutil.Text},
		{contentType: "application/octet-stream", authorization: aws, body: "ü", want: testutil.Text},
		{contentType: "application/octet-stream", authorization: aws, body: "\xff", want: testutil.Binary},
		{contentType: "text/plain", authorization: aws, body: "\xff", want: testutil.Binary},
		{contentType: "application/octet-stream", authorization: aws, query: "?type=binary", want: testutil.Binary},
		{contentType: "application/octet-stream", authorization: "Bearer AWS4-HMAC-SHA256", want: testutil.Binary},
	} {
		t.Run(tc.contentType+tc.query, func(t *testing.T) {
			if tc.body == "" {
				tc.body = "{}"
			}
			header := http.Header{}
			if tc.contentType != "" {
				header.Set("Content-Type", tc.contentType)
			}
			if tc.authorization != "" {
				header.Set("Authorization", tc.authorization)
			}
			req := e.request(t, "POST", "/ws/@connections/ID"+tc.query, "", header, strings.NewReader(tc.body))
			want{status: 204}.check(t, "POST", do(t, req))
			expect(t, e.client, tc.want, tc.body)
		})
	}
}

// TestBodySizes: whole or 413, chunked or not.
func TestBodySizes(t *testing.T) {
	const limit = 1 << 20 // the default of MaxPushBytes
	e := newPushEnd(t, wspush.WorkerOptions{})
	for _, n := range []int{0, 1, 125, 126, 1 << 10, 10_000, 65_535, 65_536, limit, limit + 1} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes, chunked=%t", n, chunked), func(t *testing.T) {
				data := bytes.Repeat([]byte("0123456789abcde\n"), n/16+1)[:n]
				var body io.Reader = bytes.NewReader(data)
				if chunked {
					body = io.MultiReader(bytes.NewReader(data[:n/3]), bytes.NewReader(data[n/3:]))
				}
				answer := make(chan error, 1)
				req := e.request(t, "POST", "/ws", "ID:", nil, body)
				go func() {
					resp, err := try(req)
					if err == nil && (resp.StatusCode == 204) != (n <= limit) {
						err = errors.New(resp.Status)
					}
					if err == nil && n > limit && resp.StatusCode != 413 {
						err = errors.New(resp.Status)
					}
					answer <- err
				}()
				if n <= limit {
					expect(t, e.client, testutil.Text, string(data))
				}
				if err := <-answer; err != nil {
					t.Fatal(err)
				}
				e.quiet(t)
			})
		}
	}
}

// rawPush sends head and whatever body is given, and returns the connection and a reader for the answer.
func rawPush(t *testing.T, conn net.Conn, request string) *bufio.Reader {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(conn)
}

// answer reads one answer.
func answer(t *testing.T, r *bufio.Reader) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer's body: %v", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// opaque is a middleware's ResponseWriter without Unwrap.
type opaque struct{ http.ResponseWriter }

// TestRefusedBehindOpaqueMiddleware: a refusal does not wait for the body even if no deadline can be set.
func TestRefusedBehindOpaqueMiddleware(t *testing.T) {
	w := newWorker(t, nil)
	server := testutil.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.ServeHTTP(opaque{rw}, r) }))
	c, err := net.Dial("tcp", strings.TrimPrefix(server, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, "POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
	answer := make([]byte, 12)
	if _, err := io.ReadFull(c, answer); err != nil || string(answer) != "HTTP/1.1 401" {
		t.Errorf("answered %q, %v", answer, err)
	}
}

// TestDecidedBeforeTheBody: a request that its header decides is answered without its body, which may never arrive.
func TestDecidedBeforeTheBody(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{MaxPushBytes: 100})
	for _, tc := range []struct{ name, head, want string }{
		{"too large", "POST /ws/@connections/ID HTTP/1.1\nContent-Length: 101\n", "too large"},
		{"gone", "POST /ws/@connections/" + unknownID + " HTTP/1.1\nContent-Length: 10\n", "gone"},
		{"gone, chunked", "POST /ws/@connections/" + unknownID + " HTTP/1.1\nTransfer-Encoding: chunked\n", "gone"},
		{"not found", "POST /other/@connections/ID HTTP/1.1\nContent-Length: 10\n", "not found"},
		{"bad type", "POST /ws/@connections/ID?type=x HTTP/1.1\nContent-Length: 10\n", "bad type"},
		{"no ID", "POST /ws HTTP/1.1\nContent-Length: 10\n", "no ID"},
		{"unauthorized", "POST /ws/@connections/ID HTTP/1.1\nX-Auth: no\nContent-Length: 10\n", "unauthorized"},
		{"method", "PUT /ws/@connections/ID HTTP/1.1\nContent-Length: 10\n", "method"},
	} {
		for _, expect := range []string{"", "Expect: 100-continue\n"} {
			t.Run(tc.name+" "+expect, func(t *testing.T) {
				conn, err := net.Dial("tcp", e.worker.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
					t.Fatal(err)
				}
				head := strings.ReplaceAll(tc.head, "ID ", e.conn.ID()+" ")
				head = strings.ReplaceAll(head, "ID?", e.conn.ID()+"?")
				resp := answer(t, rawPush(t, conn, head+"Host: x\n"+expect+"\n"))
				answers()[tc.want].check(t, "POST", resp)
			})
		}
	}
	e.quiet(t)
}

// TestKeepAlive: a publisher can use its connection again after each answer.
func TestKeepAlive(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{})
	conn, err := net.Dial("tcp", e.worker.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	path := "/ws/@connections/" + e.conn.ID()
	r := rawPush(t, conn, ""+
		"POST "+path+" HTTP/1.1\nHost: x\nContent-Length: 1\n\n1"+
		"POST "+path+" HTTP/1.1\nHost: x\nContent-Length: 1\n\n\xff"+
		"POST /ws/@connections/"+unknownID+" HTTP/1.1\nHost: x\nContent-Length: 1\n\n2"+
		"HEAD "+path+" HTTP/1.1\nHost: x\n\n"+
		"POST "+path+" HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n1\n3\n1\n4\n0\n\n")
	var got []int
	for range 5 {
		method := "POST"
		if len(got) == 3 {
			method = "HEAD"
		}
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("after %v: %v", got, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		got = append(got, resp.StatusCode)
	}
	if fmt.Sprint(got) != "[204 400 410 200 204]" {
		t.Errorf("answers %v", got)
	}
	expect(t, e.client, testutil.Text, "1")
	expect(t, e.client, testutil.Text, "34")
}

// TestBodyBroken: the publisher leaves, or talks nonsense, in the middle of its body.
func TestBodyBroken(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{})
	head := "POST /ws/@connections/" + e.conn.ID() + " HTTP/1.1\nHost: x\n"
	for _, tc := range []struct{ name, request string }{
		{"short", head + "Content-Length: 10\n\n12345"},
		{"chunk", head + "Transfer-Encoding: chunked\n\nz\n12345"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", e.worker.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			r := rawPush(t, conn, tc.request)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if resp := answer(t, r); resp.StatusCode != 400 {
				t.Errorf("got %s", resp.Status)
			}
			e.quiet(t)
		})
	}
}

// TestClientLeavesDuringBody: 410, once the body has arrived.
func TestClientLeavesDuringBody(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{})
	conn, err := net.Dial("tcp", e.worker.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r := rawPush(t, conn, "POST /ws/@connections/"+e.conn.ID()+" HTTP/1.1\nHost: x\nContent-Length: 10\nExpect: 100-continue\n\n")
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 100 {
		t.Fatalf("the body is not asked for: %v %v", resp, err)
	}
	io.WriteString(conn, "12345")
	e.client.Close()
	testutil.Eventually(t, "the end of the connection", func() bool { return e.worker.Len() == 0 })
	io.WriteString(conn, "67890")
	answers()["gone"].check(t, "POST", answer(t, r))
}

// overPipe makes a worker in a testing/synctest bubble, with a client over a pipe, which buffers nothing.
func overPipe(t *testing.T, opts wspush.WorkerOptions, mount *wspush.HandlerOptions) (*wspush.Worker, *testutil.Client, *wspush.Conn) {
	t.Helper()
	opts.NoListen, opts.Advertise = true, []string{"http://push.test"}
	w := newWorker(t, &opts)
	c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, mount)), testutil.Options{Timeout: -1})
	conn, _ := greeted(t, w, c)
	synctest.Wait() // until the server knows that the greeting is out
	return w, c, conn
}

// expect fails the test unless the next message is this one. Unlike Client.Expect it can be used in subtests.
func expect(t *testing.T, c *testutil.Client, op testutil.Opcode, payload string) {
	t.Helper()
	gotOp, got, err := c.Message()
	if err != nil {
		t.Fatalf("waiting for a %v message: %v", op, err)
	}
	if gotOp != op || string(got) != payload {
		t.Fatalf("got a %v message of %.100q, want a %v message of %.100q", gotOp, got, op, payload)
	}
}

// TestSlowBody: the worker gives up a body that does not arrive after 30 s. The answer is 410 if the client has left meanwhile.
func TestSlowBody(t *testing.T) {
	for _, tc := range []struct {
		name   string
		leaves bool
		want   int
	}{{"client stays", false, 408}, {"client leaves", true, 410}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, c, conn := overPipe(t, wspush.WorkerOptions{}, nil)
				start := time.Now()
				r := rawPush(t, testutil.Pipe(t, w), "POST /ws/@connections/"+conn.ID()+" HTTP/1.1\nHost: x\nContent-Length: 10\n\n12345")
				synctest.Wait()
				if tc.leaves {
					c.Close()
				}
				resp := answer(t, r)
				kind := map[int]string{408: "timeout", 410: "gone"}[tc.want]
				amazon := map[int]string{410: "GoneException"}[tc.want]
				want{status: tc.want, kind: kind, amazon: amazon}.check(t, "POST", resp)
				if took := time.Since(start); took > 31*time.Second || !tc.leaves && took < 30*time.Second {
					t.Errorf("answered after %v", took)
				}
				if _, err := r.ReadByte(); err == nil {
					t.Error("the server goes on after a body that it has not read")
				}
			})
		})
	}
}

// TestNotDelivered: the statuses for a client that does not read, and for a worker that shuts down.
func TestNotDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, c, conn := overPipe(t, wspush.WorkerOptions{MaxPending: 2000, WriteTimeout: time.Minute}, nil)
		push := func(n int) <-chan *httptest.ResponseRecorder {
			answered := make(chan *httptest.ResponseRecorder, 1)
			go func() {
				rec := httptest.NewRecorder()
				w.ServeHTTP(rec, httptest.NewRequest("POST", "/ws/@connections/"+conn.ID(), strings.NewReader(strings.Repeat("x", n))))
				answered <- rec
			}()
			synctest.Wait()
			return answered
		}
		start := time.Now()
		check := func(name string, got <-chan *httptest.ResponseRecorder, after time.Duration, want want, connection string) {
			t.Helper()
			resp := (<-got).Result()
			if took := time.Since(start); took != after {
				t.Errorf("%s: answered after %v, want %v", name, took, after)
			}
			var p struct{ Connection string }
			body := text(t, resp)
			if err := json.Unmarshal([]byte(body), &p); err != nil || p.Connection != connection {
				t.Errorf("%s: member connection is %q, want %q (%v)", name, p.Connection, connection, err)
			}
			resp.Body = io.NopCloser(strings.NewReader(body))
			want.check(t, "POST", resp)
		}
		busy := want{status: 429, kind: "busy", amazon: "LimitExceededException", header: http.Header{"Retry-After": {"1"}}}
		unknown := want{status: 504, kind: "unknown"}

		begun := push(5000) // admitted, since nothing waits; under way, as far as anyone can tell
		check("full", push(1), 0, busy, "")
		// The answers of the two come after PushTimeout. The message that has begun still arrives, whole.
		check("begun", begun, 30*time.Second, unknown, "open")
		c.Expect(testutil.Text, strings.Repeat("x", 5000))

		synctest.Wait()
		start = time.Now()
		begun = push(100)
		waits := push(200)
		check("begun", begun, 30*time.Second, unknown, "open")
		check("withdrawn", waits, 30*time.Second, busy, "")
		c.Expect(testutil.Text, strings.Repeat("x", 100))

		synctest.Wait()
		start = time.Now()
		begun, waits = push(300), push(400)
		if _, err := c.Conn().Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		c.Close()
		check("begun", begun, 0, unknown, "gone")
		check("waiting", waits, 0, answers()["gone"], "")
		check("after", push(1), 0, answers()["gone"], "")

		if err := w.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		check("shutdown", push(1), 0, want{status: 503, kind: "shutdown", header: http.Header{"Retry-After": {"1"}}}, "")
	})
}

func TestGet(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{Subprotocols: []string{"chat"}})
	before := time.Now().Add(-time.Millisecond)
	header := http.Header{"User-Agent": {`a "browser"`}, "Sec-WebSocket-Protocol": {"chat"}}
	c, conn, address := dial(t, w, server, testutil.Options{Path: "/ws/a,b?secret=1", Header: header})
	get := func() (info struct {
		ConnectionID              string `json:"connectionId"`
		ConnectedAt, LastActiveAt time.Time
		Identity                  struct{ SourceIP, UserAgent string }
		Path, Subprotocol, State  string
	}) {
		t.Helper()
		body := text(t, do(t, newRequest(t, "GET", address, nil)))
		// A time.Time only takes RFC 3339.
		d := json.NewDecoder(strings.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&info); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		for _, name := range []string{`"connectionId"`, `"connectedAt"`, `"lastActiveAt"`, `"identity"`, `"sourceIp"`, `"userAgent"`, `"path"`, `"subprotocol"`, `"state":"connected"`} {
			if !strings.Contains(body, name) {
				t.Errorf("%s has no member %s", body, name)
			}
		}
		return info
	}
	info := get()
	if info.ConnectionID != conn.ID() || info.Path != "/ws/a%2Cb" || info.Subprotocol != "chat" ||
		info.Identity.SourceIP != "127.0.0.1" || info.Identity.UserAgent != `a "browser"` {
		t.Errorf("got %+v", info)
	}
	if info.ConnectedAt.Before(before) || info.LastActiveAt.Before(info.ConnectedAt) || info.LastActiveAt.After(time.Now().Add(time.Millisecond)) {
		t.Errorf("connected at %v, active at %v, between %v and now", info.ConnectedAt, info.LastActiveAt, before)
	}
	first := info.LastActiveAt
	testutil.Eventually(t, "the next millisecond", func() bool { return time.Since(first) > time.Millisecond })
	post(t, address, "", []byte("x"))
	c.Expect(testutil.Text, "x")
	if info = get(); !info.LastActiveAt.After(first) {
		t.Errorf("after a message, the last activity is still that of %v", first)
	}

	resp := do(t, newRequest(t, "HEAD", conn.PathAddresses()[0], nil))
	want{status: 200, header: http.Header{"Content-Type": {"application/json"}}}.check(t, "HEAD", resp)
	if resp.ContentLength <= 0 {
		t.Errorf("HEAD has Content-Length %d, GET has a body", resp.ContentLength)
	}
}

// TestGetIPv6: an address alone, without the brackets that go with a port.
func TestGetIPv6(t *testing.T) {
	needIPv6(t)
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorker(t, nil)
	server := httptest.NewUnstartedServer(newHandler(t, w, nil))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	defer server.Close()
	_, _, address := dial(t, w, server.URL, testutil.Options{})
	if body := text(t, do(t, newRequest(t, "GET", address, nil))); !strings.Contains(body, `"sourceIp":"::1"`) {
		t.Error(body)
	}
}

func TestDelete(t *testing.T) {
	reasons := make(chan error, 1)
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{OnDisconnect: func(_ *wspush.Conn, reason error) { reasons <- reason }})
	for _, tc := range []struct {
		query  string
		code   int
		reason string
	}{
		{"", 1000, ""},
		{"?reason=bye", 1000, "bye"},
		{"?code=1000", 1000, ""},
		{"?code=1001&reason=see+you%21", 1001, "see you!"},
		{"?code=1002", 1002, ""},
		{"?code=1003&reason=", 1003, ""},
		{"?code=1007&reason", 1007, ""},
		{"?code=1008", 1008, ""},
		{"?code=1009", 1009, ""},
		{"?code=1011", 1011, ""},
		{"?code=1012", 1012, ""},
		{"?code=1013", 1013, ""},
		{"?code=1014", 1014, ""},
		{"?code=3000", 3000, ""},
		{"?code=4999&reason=" + strings.Repeat("x", 123), 4999, strings.Repeat("x", 123)},
	} {
		t.Run(tc.query, func(t *testing.T) {
			c, conn, address := dial(t, w, server, testutil.Options{})
			want{status: 204}.check(t, "DELETE", do(t, newRequest(t, "DELETE", address+tc.query, nil)))
			answers()["gone"].check(t, "POST", post(t, address, "", []byte("too late")))
			if code, reason := c.AwaitClose(); code != tc.code || reason != tc.reason {
				t.Errorf("closed with %d %q", code, reason)
			}
			c.AwaitEOF()
			var closed *wspush.CloseError
			err := <-reasons
			if !errors.As(err, &closed) || closed.Cause != wspush.CauseClosed || closed.Code != tc.code || closed.Reason != tc.reason {
				t.Errorf("OnDisconnect got %v", err)
			}
			if _, err := conn.Push(context.Background(), wspush.Text, nil); !errors.Is(err, wspush.ErrGone) {
				t.Errorf("Push after DELETE: %v", err)
			}
		})
	}
}

// TestMountedWorker: the application serves the push endpoint under a prefix of its own.
func TestMountedWorker(t *testing.T) {
	mux := http.NewServeMux()
	public := testutil.Serve(t, mux)
	w := newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{public + "/push/v1/"}})
	if w.Addr() != nil {
		t.Errorf("Addr is %v with NoListen", w.Addr())
	}
	mux.Handle("/push/v1/", http.StripPrefix("/push/v1", w))
	mux.Handle("/app/", http.StripPrefix("/app", newHandler(t, w, nil)))
	c, conn, address := dial(t, w, public, testutil.Options{Path: "/app/ws/%2F"})
	for _, a := range []string{address, conn.PathAddresses()[0]} {
		if !strings.HasSuffix(strings.TrimSuffix(a, "/@connections/"+conn.ID()), "/push/v1/app/ws/%2F") {
			t.Errorf("address %q", a)
		}
		want{status: 204}.check(t, "POST", post(t, a, "", []byte(a)))
		c.Expect(testutil.Text, a)
	}
	want{status: 404, kind: "not-found"}.check(t, "POST", post(t, strings.Replace(address, "%2F", "/", 1), "", nil))
	// The mount itself takes no pushes.
	id := conn.ID()
	resp := post(t, strings.Replace(public, "://", "://"+id+"@", 1)+"/app/ws", "", nil)
	want{status: 405, kind: "method-not-allowed", header: http.Header{"Allow": {"GET, OPTIONS"}}}.check(t, "POST", resp)
}

// A large push by HTTP that ends as unknown is still written afterwards, as it was sent, whatever is pushed meanwhile.
func TestPostUnknownIsWrittenWhole(t *testing.T) {
	for name, connect := range stages {
		t.Run(name, func(t *testing.T) {
			w := newWorker(t, nil)
			h := newHandler(t, w, nil)
			var clients [2]*testutil.Client
			var conns [2]*wspush.Conn
			for i := range clients {
				clients[i] = testutil.Handshake(t, connect(t, h), testutil.Options{})
				conns[i], _ = greeted(t, w, clients[i])
			}
			address := conns[0].PathAddresses()[0]
			if resp := post(t, address+"?timeout=100ms", "", []byte(big)); resp.StatusCode != http.StatusGatewayTimeout {
				t.Fatalf("%d: %s", resp.StatusCode, text(t, resp))
			}
			for i := range 5 {
				other := numbered(i, len(big))
				written := make(chan int, 1)
				go func() { written <- post(t, conns[1].PathAddresses()[0], "", other).StatusCode }()
				clients[1].Expect(testutil.Text, string(other))
				if status := <-written; status != http.StatusNoContent {
					t.Errorf("push %d: %d", i, status)
				}
			}
			clients[0].Expect(testutil.Text, big)
		})
	}
}
