package wspush_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// The endpoint says in statuses what Push says in errors: 429 for a message that was withdrawn or not admitted, 504 for an unknown outcome.
func TestPushStatuses(t *testing.T) {
	t.Run("withdrawn and unknown", func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{PushTimeout: 200 * time.Millisecond})
		client := testutil.Handshake(t, stages["tcp"](t, newHandler(t, w, nil)), testutil.Options{})
		conn, address := greeted(t, w, client)
		problem(t, post(t, address, "", []byte(big)), 504, "unknown", `"connection":"open"`)
		problem(t, post(t, address, "", []byte("behind it")), 429, "busy", "withdrawn")
		client.Expect(testutil.Text, big)
		go conn.Push(context.Background(), wspush.Text, []byte("next"))
		client.Expect(testutil.Text, "next")
	})
	t.Run("not admitted", func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{MaxPending: 1000})
		client := testutil.Handshake(t, stages["tcp"](t, newHandler(t, w, nil)), testutil.Options{})
		conn, address := greeted(t, w, client)
		standStill(t, conn)
		problem(t, post(t, address, "", []byte("x")), 429, "busy", "")
		client.Close()
	})
	t.Run("gone", func(t *testing.T) {
		w := newWorker(t, &wspush.WorkerOptions{WriteTimeout: 200 * time.Millisecond})
		client := testutil.Handshake(t, stages["tcp"](t, newHandler(t, w, nil)), testutil.Options{})
		_, address := greeted(t, w, client)
		problem(t, post(t, address, "", []byte(big)), 504, "unknown", `"connection":"gone"`)
		problem(t, post(t, address, "", []byte("x")), 410, "gone", "")
	})
}

func problem(t *testing.T, resp *http.Response, status int, kind, contains string) {
	t.Helper()
	body := text(t, resp)
	if resp.StatusCode != status || !strings.Contains(body, `"urn:wspush:`+kind+`"`) || !strings.Contains(body, contains) {
		t.Errorf("got %d %s; want %d, %s, %s", resp.StatusCode, body, status, kind, contains)
	}
	if strings.Contains(body, `"wspush: `) {
		t.Errorf("%s has the text of a Go error", body)
	}
	if retry := resp.Header.Get("Retry-After") != ""; retry != (status == 429 || status == 503) {
		t.Errorf("%d with Retry-After: %v", status, retry)
	}
}

// TestProblemsHideIDs: nobody can push with what is in an error or a log.
func TestProblemsHideIDs(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{MaxPushBytes: 100})
	id := e.conn.ID()
	for _, target := range []string{
		"POST /ws?type=" + id, "POST /other/@connections/" + id, "POST /ws/@connections/" + id + "/x", "POST /ws/@connections/x" + id,
		"POST /ws/@connections/" + strings.ToUpper(id), "PUT /ws/@connections/" + id, "DELETE /ws/@connections/" + id + "?code=" + id, "POST /ws/@connections/" + id + "?" + id,
		"DELETE /ws/@connections/" + id + "?code=4000", "GET /ws/@connections/" + id, "POST /ws/@connections/" + id,
	} {
		method, target, _ := strings.Cut(target, " ")
		resp := do(t, e.request(t, method, target, "", nil, nil))
		if body := strings.ToLower(text(t, resp)); resp.StatusCode >= 400 && strings.Contains(body, id[9:]) {
			t.Errorf("%s %s: the ID is in the body: %s", method, target, body)
		}
	}
	if code, _ := e.client.AwaitClose(); code != 4000 {
		t.Errorf("closed with %d", code)
	}
	testutil.Eventually(t, "the end in the log", func() bool { return strings.Contains(e.log.String(), "disconnected") })
	if log := strings.ToLower(e.log.String()); strings.Contains(log, id[9:]) || strings.Contains(log, id[:9]) {
		t.Errorf("more than 8 digits of the ID are in the log:\n%s", log)
	}
}

// A user may paste a whole greeting, which lists several addresses, where one belongs.
func TestGreetingAsURL(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{})
	for target, user := range map[string]string{
		"/ws,http://ID@192.0.2.1:48775/ws":                                 "ID",
		"/ws,https://ID@192.0.2.1:48775/ws":                                "ID",
		"/ws,http:/ID@192.0.2.1:48775/ws":                                  "ID", // a proxy has merged slashes
		"/ws%2Chttp://ID@192.0.2.1:48775/ws":                               "ID",
		"/ws/@connections/ID,http://192.0.2.1:48775/ws/@connections/ID":    "",
		"/ws/@connections/ID,http://192.0.2.1:48775/ws/@connections/ID/":   "",
		"/ws/@connections/ID,http://192.0.2.1:48775/ws/@connections/ID/ws": "",
	} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			resp := do(t, e.request(t, method, target, user, nil, strings.NewReader("x")))
			problem(t, resp, 400, "bad-request", "several addresses, separated by commas")
		}
	}
	problem(t, do(t, e.request(t, "POST", "/ws,2", "ID", nil, nil)), 404, "not-found", "another path")
}

// A refusal in the log says whose request it was and about what, and the answer to a message that is too large names the limit.
func TestRefusalsSayToWhat(t *testing.T) {
	e := newPushEnd(t, wspush.WorkerOptions{MaxPushBytes: 100, Cluster: &wspush.Cluster{Keys: [][]byte{testutil.Key("k")}, Address: "http://127.0.0.1:1"}})
	before := ""
	for _, tt := range []struct {
		method, target string
		status         int
		kind, detail   string
		logged         string
	}{
		{"POST", "/ws/@connections/ID", 413, "too-large", "the message exceeds the 100 bytes that the worker takes (MaxPushBytes)", "conn=" + e.conn.ID()[:8]},
		{"POST", "/ws/@connections/" + e.conn.SealedID(), 413, "too-large", "100 bytes", "conn=" + e.conn.ID()[:8]},
		{"POST", "/other/@connections/ID", 404, "not-found", "another path", "conn=" + e.conn.ID()[:8]},
		{"POST", "/@users/ann", 413, "too-large", "100 bytes", "user=ann"},
		{"PATCH", "/@groups/room", 405, "method-not-allowed", "the methods here are", "group=room"},
		{"PUT", "/ws/@connections/ID/@groups/" + strings.Repeat("x", 257), 400, "bad-request", "256", "method=PUT status=400"},
	} {
		problem(t, do(t, e.request(t, tt.method, tt.target, "", nil, strings.NewReader(strings.Repeat("x", 101)))), tt.status, tt.kind, tt.detail)
		var record string
		testutil.Eventually(t, "the refusal in the log", func() bool {
			record = strings.TrimPrefix(e.log.String(), before)
			return strings.Contains(record, "push request refused")
		})
		before += record
		if !strings.Contains(record, "remote=127.0.0.1:") || !strings.Contains(record, tt.logged) || strings.Contains(record, e.conn.ID()[:9]) {
			t.Errorf("%s %s is logged without %s: %s", tt.method, tt.target, tt.logged, record)
		}
	}
	if _, err := e.worker.Push(t.Context(), e.conn.ID(), wspush.Text, make([]byte, 101)); !errors.Is(err, wspush.ErrTooLarge) || !strings.Contains(err.Error(), "MaxPushBytes is 100") {
		t.Errorf("in the same process: %v", err)
	}
}
