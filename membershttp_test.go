package wspush_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// anybody lets everybody push.
func anybody(*http.Request) error { return nil }

// membersAnswer is what an answer about a user or a group may say.
type membersAnswer struct {
	Type, Detail   string
	Status         int
	Written        int
	Received       int
	Refused        map[string]int
	Unknown        int
	Excepted       int
	Closed         int
	Total          int
	Members        []struct{ ID, User, Since string }
	Workers        int
	Answered       int
	Complete       bool
	ID             string
	RttMs          float64
	RetryAfter     int
	Title, Message string
	Connection     string
}

// ask sends a request, and returns the status and the answer. A target is METHOD URL.
func ask(t testing.TB, base, target, body string, header ...string) (int, membersAnswer) {
	t.Helper()
	method, url, _ := strings.Cut(target, " ")
	req := newRequest(t, method, base+url, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	resp := do(t, req)
	var a membersAnswer
	if text := text(t, resp); text != "" {
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Errorf("%s: %v in %s", target, err, text)
		}
		want := "application/json"
		if resp.StatusCode >= 400 {
			want = "application/problem+json"
		}
		if got := resp.Header.Get("Content-Type"); got != want {
			t.Errorf("%s: %s", target, got)
		}
	}
	return resp.StatusCode, a
}

// The same requests have the same answers on the lane, by net/http, over HTTP/2, and where the Worker is mounted.
func TestMembersHTTP(t *testing.T) {
	certificate, _ := testutil.NewCertificate(t)
	for _, server := range []string{"lane", "net/http", "HTTP/2", "mounted"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			opts := quiet()
			opts.AuthorizePush = anybody
			var header []string
			if server == "HTTP/2" {
				opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
			}
			w := newWorker(t, opts)
			base := "http://" + w.Addr().String()
			switch server {
			case "net/http":
				header = append(header, "Pragma", "x") // which is not for the lane
			case "HTTP/2":
				base = "https://" + w.Addr().String()
			case "mounted":
				base = testutil.Serve(t, http.StripPrefix("/internal", w)) + "/internal"
			}
			testMembersHTTP(t, w, base, header, server == "HTTP/2")
		})
	}
}

func testMembersHTTP(t *testing.T, w *wspush.Worker, base string, header []string, isHTTP2 bool) {
	clients := serve(t, w, asQuery())
	phone, phoneConn := as(t, w, clients, "a%20b%252F", "room")
	laptop, laptopConn := as(t, w, clients, "a%20b%252F")
	bob, bobConn := as(t, w, clients, "bob", "room")
	send := func(target, body string, extra ...string) (int, membersAnswer) {
		t.Helper()
		if isHTTP2 {
			req := newRequest(t, strings.Fields(target)[0], base+strings.SplitN(target, " ", 2)[1], strings.NewReader(body))
			transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			defer transport.CloseIdleConnections()
			resp, err := transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.ProtoMajor != 2 {
				t.Errorf("it is %s", resp.Proto)
			}
			var a membersAnswer
			if all, _ := io.ReadAll(resp.Body); len(all) > 0 {
				if err := json.Unmarshal(all, &a); err != nil {
					t.Errorf("%s: %v in %s", target, err, all)
				}
			}
			return resp.StatusCode, a
		}
		return ask(t, base, target, body, append(header, extra...)...)
	}
	status, a := send("POST /@users/a%20b%252F", "1")
	if status != 200 || a.Written != 2 || a.Received+a.Unknown+a.Excepted+len(a.Refused) != 0 || a.Workers != 1 || a.Answered != 1 || !a.Complete {
		t.Errorf("%d %+v", status, a)
	}
	phone.Expect(testutil.Text, "1")
	laptop.Expect(testutil.Text, "1")
	if status, a := send("POST /some/where/@users?name=bob&type=binary", "2"); status != 200 || a.Written != 1 {
		t.Errorf("%d %+v", status, a)
	}
	bob.Expect(testutil.Binary, "2")
	if status, a := send("POST /@groups/room?except="+strings.ToUpper(phoneConn.ID())+"&except="+laptopConn.ID(), "3"); status != 200 || a.Written != 1 || a.Excepted != 1 {
		t.Errorf("%d %+v", status, a)
	}
	bob.Expect(testutil.Text, "3")
	if status, a := send("POST /@groups/room?except="+phoneConn.ID()+"&except="+bobConn.ID(), "x"); status != 200 || a.Written != 0 || a.Excepted != 2 {
		t.Errorf("%d %+v", status, a)
	}
	for _, target := range []string{"/@users/carl", "/@groups/bob", "/@groups/a%20b%252f", "/@users?name=a+b"} {
		status, a := send("POST "+target, "x")
		if status != 410 || a.Type != "urn:wspush:gone" || a.Status != 410 || a.Detail == "" || a.Message != a.Detail || !a.Complete || a.Refused == nil {
			t.Errorf("%s: %d %+v", target, status, a)
		}
	}
	// Who is there.
	status, a = send("GET /@groups/room", "")
	ids := []string{phoneConn.ID() + " a b%2F", bobConn.ID() + " bob"}
	slices.Sort(ids)
	var got []string
	for _, m := range a.Members {
		got = append(got, m.ID+" "+m.User)
		if since, err := time.Parse(time.RFC3339Nano, m.Since); err != nil || time.Since(since) > time.Minute || time.Since(since) < 0 {
			t.Error(m, err)
		}
	}
	slices.Sort(got)
	if status != 200 || a.Total != 2 || !a.Complete || !slices.Equal(got, ids) {
		t.Errorf("%d %+v", status, a)
	}
	for limit, want := range map[string]int{"0": 0, "1": 1, "2": 2, "1000": 2} {
		if status, a := send("GET /@groups/room?limit="+limit, ""); status != 200 || a.Total != 2 || len(a.Members) != want || a.Members == nil {
			t.Errorf("%s: %d %+v", limit, status, a)
		}
	}
	if status, a := send("GET /@groups/nobody", ""); status != 200 || a.Total != 0 || a.Members == nil || len(a.Members) != 0 {
		t.Errorf("%d %+v", status, a)
	}
	for target, want := range map[string]int{"/@groups/room": 200, "/@users?name=bob": 200, "/@users/room": 410} {
		if status, _ := send("HEAD "+target, ""); status != want {
			t.Errorf("HEAD %s: %d", target, status)
		}
	}
	// Joining and leaving.
	for _, target := range []string{"PUT /ws/@connections/" + laptopConn.ID() + "/@groups/room", "PUT /ws/@connections/" + laptopConn.ID() + "/@groups?name=room"} {
		if status, a := send(target, ""); status != 204 {
			t.Errorf("%s: %d %+v", target, status, a)
		}
	}
	if got := laptopConn.Groups(); !slices.Equal(got, []string{"room"}) {
		t.Error(got)
	}
	for range 2 {
		if status, a := send("DELETE /ws/@connections/"+bobConn.ID()+"/@groups/room", ""); status != 204 {
			t.Errorf("%d %+v", status, a)
		}
	}
	if status, a := send("POST /@groups/room", "4"); status != 200 || a.Written != 2 {
		t.Errorf("%d %+v", status, a)
	}
	phone.Expect(testutil.Text, "4")
	laptop.Expect(testutil.Text, "4")
	// What is wrong.
	for target, want := range map[string]struct {
		status int
		detail string
	}{
		"POST /@users/":                                                       {400, "name is missing"},
		"POST /@users":                                                        {400, "name is missing"},
		"POST /@users?name=":                                                  {400, "it is empty"},
		"POST /@users/a%2Fb":                                                  {400, "slash"},
		"POST /@users?name=a%2Fb":                                             {400, "slash"},
		"POST /@users/a%0Ab":                                                  {400, "control character"},
		"GET /@groups?name=a%0Ab":                                             {400, "control character"},
		"POST /@users/%FF":                                                    {400, "not valid UTF-8"},
		"HEAD /@users/%FF":                                                    {400, ""},
		"POST /@users?name=%FF":                                               {400, "not valid UTF-8"},
		"POST /@users/" + strings.Repeat("x", 257):                            {400, "257 bytes"},
		"POST /@users?name=" + strings.Repeat("x", 257):                       {400, "257 bytes"},
		"POST /@users/bob?name=carl":                                          {400, "more than one name"},
		"POST /@users/bob?nam=carl":                                           {400, "did you mean"},
		"POST /@users/bob?confrim=received":                                   {400, "did you mean"},
		"POST /@users/bob?confirm=yes":                                        {400, "confirm must be"},
		"POST /@users/bob?type=text&type=text":                                {400, "more than one type"},
		"POST /@users/bob?except=bob":                                         {400, "except: the ID is neither"},
		"POST /@users/bob?except=":                                            {400, "except: the ID is neither"},
		"POST /@users/bob?except=v1.abc":                                      {421, "no keys"},
		"GET /@users/bob?except=" + bobConn.ID():                              {400, "unknown query parameter"},
		"GET /@users/bob?limit=1001":                                          {400, "limit must be"},
		"GET /@users/bob?limit=-1":                                            {400, "limit must be"},
		"GET /@users/bob?limit=":                                              {400, "limit must be"},
		"GET /@users/bob?limit=1&limit=2":                                     {400, "more than one limit"},
		"DELETE /@users/bob":                                                  {400, "close=all"},
		"DELETE /@users/bob?close=al":                                         {400, "close=all"},
		"DELETE /@users/bob?close=all&code=999":                               {400, "999"},
		"DELETE /@users/bob?close=all&cod=1000":                               {400, "did you mean"},
		"DELETE /@users/bob?close=all&except=x":                               {400, "except"},
		"PUT /@users/bob":                                                     {405, "POST"},
		"PUT /ws/@groups/room":                                                {405, "POST"},
		"PATCH /@groups/room":                                                 {405, "POST"},
		"POST /ws/@connections/" + bobConn.ID() + "/@groups/room":             {405, "PUT"},
		"GET /ws/@connections//@groups/room":                                  {405, "PUT"},
		"PUT /ws/@connections//@groups/room":                                  {400, "ID is missing"},
		"DELETE /ws/@connections//@groups/room?close=all":                     {400, "ID is missing"},
		"PUT /ws/@connections/@groups/room":                                   {400, "ID is missing"},
		"PUT /ws/@connections/x/@groups/room":                                 {400, "neither a UUID"},
		"PUT /ws/@connections/" + bobConn.ID() + "/@groups/":                  {400, "name is missing"},
		"PUT /ws/@connections/" + bobConn.ID() + "/@groups/a%2fb":             {400, "slash"},
		"PUT /ws/@connections/" + bobConn.ID() + "/@groups/a?b=c":             {400, "unknown query parameter"},
		"PUT /other/@connections/" + bobConn.ID() + "/@groups/a":              {404, "another path"},
		"PUT /ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed/@groups/a": {410, "no such connection"},
		"PUT /ws/@connections/v1.abc/@groups/a":                               {421, "no keys"},
		"POST /@users/bob/@groups/a":                                          {404, "none of"},
		"POST /@users/bob/x":                                                  {404, "none of"},
	} {
		if status, a := send(target, ""); status != want.status || !strings.Contains(a.Detail, want.detail) {
			t.Errorf("%s: %d %+v", target, status, a)
		}
	}
	// A limit of groups.
	for i := range 999 {
		_ = phoneConn.Join(context.Background(), fmt.Sprint(i))
	}
	status, a = send("PUT /ws/@connections/"+phoneConn.ID()+"/@groups/more", "")
	if status != 409 || a.Type != "urn:wspush:too-many-groups" || !strings.Contains(a.Detail, "MaxGroups") {
		t.Errorf("%d %+v", status, a)
	}
	// Closing.
	if status, a := send("DELETE /@users?close=all&code=4001&reason=bye&name=a+b%252F&except="+phoneConn.ID(), ""); status != 200 || a.Closed != 1 || !a.Complete {
		t.Errorf("%d %+v", status, a)
	}
	if code, reason := laptop.AwaitClose(); code != 4001 || reason != "bye" {
		t.Error(code, reason)
	}
	if status, a := send("DELETE /@groups/room?close=all", ""); status != 200 || a.Closed != 1 {
		t.Errorf("%d %+v", status, a)
	}
	phone.AwaitClose()
	if status, a := send("DELETE /@groups/room?close=all", ""); status != 200 || a.Closed != 0 {
		t.Errorf("%d %+v", status, a)
	}
	if s := w.Stats(); s.Problems[410] == 0 || s.Problems[400] == 0 || s.Problems[200] != 0 {
		t.Errorf("%v", s.Problems)
	}
}

// Without AuthorizePush nothing is served that names a user or a group, whoever asks. With it, it is asked about each.
func TestMembersAuthorize(t *testing.T) {
	w := newWorker(t, quiet())
	_, conn := as(t, w, serve(t, w, asQuery()), "ann", "room")
	base := "http://" + w.Addr().String()
	member := "/ws/@connections/" + conn.ID() + "/@groups/other"
	for _, target := range []string{
		"POST /@users/ann", "GET /@users/ann", "HEAD /@users/ann", "DELETE /@users/ann?close=all", "POST /@groups/room", "POST /@users/",
		"GET /@users/@ready", "PUT " + member, "DELETE " + member, "POST /@users/@connections", "GET /@users?name=x",
	} {
		status, a := ask(t, base, target, "x")
		if status != 403 || !strings.HasPrefix(target, "HEAD") && !strings.Contains(a.Detail, "WorkerOptions.AuthorizePush") {
			t.Errorf("%s: %d %+v", target, status, a)
		}
	}
	if s := w.Stats(); s.Written != 0 || len(conn.Groups()) != 1 || s.UserPushes != 0 {
		t.Errorf("%+v", s)
	}

	type asked struct {
		method string
		target wspush.Target
		err    bool
	}
	var mu sync.Mutex // guards seen
	var seen []asked
	opts := quiet()
	opts.AuthorizePush = func(r *http.Request) error {
		target, err := wspush.TargetOf(r)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, asked{r.Method, target, err != nil})
		switch {
		case target.User == "ann":
			return nil
		case target.Group == "room":
			return wspush.ErrUnauthorized
		}
		return wspush.ErrForbidden
	}
	w = newWorker(t, opts)
	client, conn := as(t, w, serve(t, w, asQuery()), "ann", "room")
	base = "http://" + w.Addr().String()
	member = "/ws/@connections/" + conn.ID() + "/@groups/"
	for _, tt := range []struct {
		target string
		status int
		asked  wspush.Target
		err    bool
	}{
		{"POST /@users/ann", 200, wspush.Target{User: "ann"}, false},
		{"POST /@users?name=ann", 200, wspush.Target{User: "ann"}, false},
		{"POST /%40users/%61nn", 200, wspush.Target{User: "ann"}, false},
		{"POST /@users/bob?name=ann", 403, wspush.Target{}, true},
		{"POST /@users/ann/@users/bob", 403, wspush.Target{}, true},
		{"POST /@users/bob", 403, wspush.Target{User: "bob"}, false},
		{"GET /@users/bob", 403, wspush.Target{User: "bob"}, false},
		{"POST /@groups/ann", 403, wspush.Target{Group: "ann"}, false},
		{"DELETE /@groups/room?close=all", 401, wspush.Target{Group: "room"}, false},
		{"PUT " + member + "room", 401, wspush.Target{ID: conn.ID(), Group: "room"}, false},
		{"DELETE " + member + "x", 403, wspush.Target{ID: conn.ID(), Group: "x"}, false},
		{"GET /@users/@ready", 403, wspush.Target{User: "@ready"}, false},
		{"GET /ws/@connections/" + conn.ID(), 403, wspush.Target{ID: conn.ID()}, false},
		{"POST /ws/@connections", 403, wspush.Target{}, false},
		{"POST /ws", 403, wspush.Target{}, true},
	} {
		mu.Lock()
		seen = nil
		mu.Unlock()
		status, _ := ask(t, base, tt.target, "x")
		mu.Lock()
		if method, _, _ := strings.Cut(tt.target, " "); status != tt.status || len(seen) != 1 || seen[0] != (asked{method, tt.asked, tt.err}) {
			t.Errorf("%s: %d, asked %+v", tt.target, status, seen)
		}
		mu.Unlock()
	}
	for range 3 {
		client.Expect(testutil.Text, "x")
	}
	if s := w.Stats(); s.Written != 3 {
		t.Errorf("%d written", s.Written)
	}
}

// Pages of foreign origins are let in, and told of the methods, by the same rules as for connections.
func TestMembersOrigin(t *testing.T) {
	opts := quiet()
	opts.AuthorizePush, opts.PushOrigins = anybody, []string{"https://friend.test"}
	w := newWorker(t, opts)
	_, conn := as(t, w, serve(t, w, asQuery()), "ann", "room")
	base := "http://" + w.Addr().String()
	member := "/ws/@connections/" + conn.ID() + "/@groups/other"
	for _, target := range []string{"POST /@users/ann", "DELETE /@users/ann?close=all", "POST /@groups?name=room", "PUT " + member, "DELETE " + member} {
		if status, a := ask(t, base, target, "x", "Origin", "https://foe.test"); status != 403 || !strings.Contains(a.Detail, "PushOrigins") {
			t.Errorf("%s: %d %+v", target, status, a)
		}
		method, url, _ := strings.Cut(target, " ")
		req := newRequest(t, "OPTIONS", base+url, nil)
		req.Header.Set("Origin", "https://friend.test")
		req.Header.Set("Access-Control-Request-Method", method)
		resp := do(t, req)
		if resp.StatusCode != 204 || !lists(resp, "Access-Control-Allow-Methods", method) || !strings.Contains(resp.Header.Get("Allow"), method) {
			t.Errorf("%s: %v %v", target, resp.Status, resp.Header)
		}
	}
	for _, target := range []string{"PUT " + member, "POST /@users/ann"} {
		if status, a := ask(t, base, target, "x", "Origin", "https://friend.test"); status >= 300 {
			t.Errorf("%s: %d %+v", target, status, a)
		}
	}
}

// The status of a push is the first that applies, and the answer has the counts.
func TestMembersStatus(t *testing.T) {
	opts := wspush.WorkerOptions{AuthorizePush: anybody, WriteTimeout: -1, MaxPending: 2000, Logger: quiet().Logger}
	bubble(t, opts, asQuery(), func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, _ *testutil.Client) {
		bg := context.Background()
		connect := func(query string) (*testutil.Client, *wspush.Conn) {
			c := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, asQuery())), testutil.Options{Timeout: -1, Path: "/ws?" + query})
			conn, _ := greeted(t, w, c)
			return c, conn
		}
		reader, readerConn := connect("group=reading")
		var all sync.WaitGroup
		all.Go(func() {
			for {
				if _, _, err := reader.Message(); err != nil {
					return
				}
			}
		})
		send := func(target string) (int, membersAnswer) {
			t.Helper()
			push := testutil.Pipe(t, w)
			req, err := http.NewRequest("POST", "http://h.test"+target, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			if err := req.Write(push); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(bufio.NewReader(push), req)
			if err != nil {
				t.Fatal(err)
			}
			defer push.Close()
			var a membersAnswer
			if err := json.NewDecoder(resp.Body).Decode(&a); err != nil || a.Status != 0 && a.Status != resp.StatusCode {
				t.Errorf("%v, %+v", err, a)
			}
			return resp.StatusCode, a
		}
		_ = conn.Join(bg, "slow")
		_ = conn.Join(bg, "mixed")
		_ = readerConn.Join(bg, "mixed")
		// A pipe has no buffer, so the first message is begun.
		if status, a := send("/@groups/slow?timeout=1s"); status != 504 || a.Unknown != 1 || a.Type != "urn:wspush:unknown" || !strings.Contains(a.Detail, "1 may have it") {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := send("/@groups/slow?timeout=1s"); status != 429 || a.Refused["busy"] != 1 || !strings.Contains(a.Detail, "withdrawn") {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := send("/@groups/mixed?timeout=1s"); status != 200 || a.Refused["busy"] != 1 || a.Written != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := send("/@groups/mixed?timeout=1s&except=" + readerConn.ID()); status != 429 || a.Refused["busy"] != 1 || a.Excepted != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := send("/@groups/mixed?timeout=1s&confirm=received"); status != 200 || a.Refused["busy"] != 1 || a.Received != 1 || a.Written != 0 {
			t.Errorf("%d %+v", status, a)
		}
		_, other := connect("group=slow2")
		_ = conn.Join(bg, "slow2")
		fill := start(bg, conn, strings.Repeat("x", 1000))
		if status, a := send("/@groups/slow2?timeout=1s"); status != 504 || a.Refused["busy"] != 1 || a.Unknown != 1 {
			t.Errorf("%d %+v", status, a)
		}
		if status, a := send("/@groups/slow2?timeout=1s&confirm=received"); status != 429 || a.Refused["busy"] != 2 {
			t.Errorf("%d %+v", status, a)
		}
		_ = other.Close(1000, "")
		_ = conn.Close(1000, "")
		<-fill
		reader.Close()
		all.Wait()
	})
}

// A publisher that asks for lines gets one for each member, as outcomes come, and a last one that counts.
func TestMembersLines(t *testing.T) {
	opts := wspush.WorkerOptions{AuthorizePush: anybody, WriteTimeout: -1, Logger: quiet().Logger}
	bubble(t, opts, asQuery(), func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, _ *testutil.Client) {
		_ = conn.Join(context.Background(), "room") // does not read
		reader := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, asQuery())), testutil.Options{Timeout: -1, Path: "/ws?group=room&user=ann"})
		readerConn, _ := greeted(t, w, reader)
		var all sync.WaitGroup
		all.Go(func() {
			for {
				if _, _, err := reader.Message(); err != nil {
					return
				}
			}
		})
		defer all.Wait()
		defer reader.Close()
		synctest.Wait()
		open := func(target string) *bufio.Reader {
			push := testutil.Pipe(t, w)
			if _, err := fmt.Fprintf(push, "POST %s HTTP/1.1\r\nHost: h.test\r\nAccept: application/x-ndjson, */*\r\nContent-Length: 1\r\n\r\nx", target); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(push)
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/x-ndjson" {
				t.Fatal(resp, err)
			}
			return bufio.NewReader(resp.Body)
		}
		line := func(in *bufio.Reader) (a membersAnswer) {
			t.Helper()
			text, err := in.ReadBytes('\n')
			if err == nil {
				err = json.Unmarshal(text, &a)
			}
			if err != nil {
				t.Fatalf("%v in %q", err, text)
			}
			return a
		}
		end := func(in *bufio.Reader) {
			t.Helper()
			if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
		}
		in := open("/@groups/room?timeout=10s")
		begin := time.Now()
		if a := line(in); a.ID != readerConn.ID() || a.Status != 204 || time.Since(begin) != 0 {
			t.Errorf("%+v", a)
		}
		if a := line(in); a.ID != conn.ID() || a.Status != 504 || a.Type != "urn:wspush:unknown" || a.Detail == "" || a.Connection != "open" || time.Since(begin) != 10*time.Second {
			t.Errorf("%+v", a)
		}
		if a := line(in); a.Status != 200 || a.Type != "" || a.Written != 1 || a.Unknown != 1 || !a.Complete {
			t.Errorf("%+v", a)
		}
		end(in)
		in = open("/@users/ann?confirm=received") // the only one
		if a := line(in); a.ID != readerConn.ID() || a.Status != 204 {
			t.Errorf("%+v", a)
		}
		if a := line(in); a.Status != 200 || a.Received != 1 || !a.Complete {
			t.Errorf("%+v", a)
		}
		end(in)
		in = open("/@users/bob")
		if a := line(in); a.Status != 410 || a.Type != "urn:wspush:gone" || !strings.Contains(a.Detail, "nobody is there") || !a.Complete {
			t.Errorf("%+v", a)
		}
		end(in)
	})
}

// Many lines are written while the push goes on; a publisher that does not read them ends it, and holds up nothing else.
func TestMembersManyLines(t *testing.T) {
	opts := quiet()
	opts.AuthorizePush = anybody
	w := newWorker(t, opts)
	server := serve(t, w, asQuery())
	const members = 500
	for range members {
		c, _ := as(t, w, server, "", "room")
		go func() { _, _ = io.Copy(io.Discard, c.Conn()) }()
	}
	req := newRequest(t, "POST", "http://"+w.Addr().String()+"/@groups/room", strings.NewReader("x"))
	req.Header.Set("Accept", "application/x-ndjson;q=0.9")
	resp := do(t, req)
	lines := strings.Split(strings.TrimSpace(text(t, resp)), "\n")
	if len(lines) != members+1 || resp.ContentLength >= 0 || !strings.Contains(lines[members], `"written":500,`) {
		t.Errorf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
	ids := make(map[string]bool)
	for _, line := range lines[:members] {
		var a membersAnswer
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.Status != 204 {
			t.Error(line, err)
		}
		ids[a.ID] = true
	}
	if len(ids) != members {
		t.Errorf("%d IDs", len(ids))
	}
}

// A publisher that leaves while a member does not read has its message withdrawn; one that only closes its side gets its answer.
func TestMembersPublisherLeaves(t *testing.T) {
	for _, accept := range []string{"*/*", "application/x-ndjson"} {
		t.Run(accept, func(t *testing.T) {
			opts := quiet()
			opts.AuthorizePush = anybody
			w := newWorker(t, opts)
			address := serveSmall(t, newHandler(t, w, asQuery()), nil)
			var clients []*testutil.Client
			var conns []*wspush.Conn
			for range 2 {
				c := testutil.Handshake(t, dialSmall(t, address), testutil.Options{Path: "/ws?group=room"})
				conn, _ := greeted(t, w, c)
				clients, conns = append(clients, c), append(conns, conn)
			}
			for _, conn := range conns {
				standStill(t, conn)
			}
			for timeout, leaves := range map[string]bool{"20s": true, "1s": false} {
				push, err := net.Dial("tcp", w.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer push.Close()
				before, pending := w.Stats().RefusedBy.Withdrawn, conns[0].Info().Pending+conns[1].Info().Pending
				fmt.Fprintf(push, "POST /@groups/room?timeout=%s HTTP/1.1\r\nHost: h.test\r\nAccept: %s\r\nContent-Length: 1\r\n\r\nx", timeout, accept)
				testutil.Eventually(t, "both to wait", func() bool {
					return conns[0].Info().Pending+conns[1].Info().Pending > pending+2*512
				})
				if leaves {
					push.Close()
					testutil.Eventually(t, "both to be withdrawn", func() bool { return w.Stats().RefusedBy.Withdrawn == before+2 })
					continue
				}
				_ = push.(*net.TCPConn).CloseWrite()
				all, err := io.ReadAll(push)
				if err != nil || !bytes.Contains(all, []byte(`"busy":2`)) {
					t.Errorf("%s, %v", all, err)
				}
			}
			for _, c := range clients {
				c.Close()
			}
		})
	}
}

// No client may connect where an address could be taken for a user's or a group's.
func TestMembersPaths(t *testing.T) {
	w := newWorker(t, quiet())
	h := newHandler(t, w, nil)
	server := testutil.Serve(t, h)
	for _, path := range []string{"/@users/42", "/ws/@groups", "/%40users/ws", "/a/@groups/b/c"} {
		if _, resp, _ := testutil.TryDial(t, server, testutil.Options{Path: path}); resp == nil || resp.StatusCode != 404 {
			t.Errorf("%s: %+v", path, resp)
		}
	}
	for _, base := range []string{"http://h.test/@users", "http://h.test/a/@groups/b"} {
		if _, err := wspush.NewWorker(&wspush.WorkerOptions{Advertise: []string{base}}); err == nil || !strings.Contains(err.Error(), "@groups") {
			t.Errorf("%s: %v", base, err)
		}
	}
}

// A connection of another worker joins and leaves there. Pushes to users and groups are for the members of the worker that is asked.
func TestMembershipElsewhere(t *testing.T) {
	opts := *quiet()
	opts.AuthorizePush, opts.MaxGroups = anybody, 2
	holder, other := newMember(t, opts), newMember(t, opts)
	_, conn := as(t, holder, serve(t, holder, asQuery()), "ann", "room")
	base := "http://" + other.Addr().String()
	member := "/ws/@connections/" + conn.SealedID() + "/@groups"
	for _, tt := range []struct {
		target, detail string
		status         int
		groups         []string
	}{
		{"PUT " + member + "/a%20b", "", 204, []string{"a b", "room"}},
		{"PUT " + member + "?name=a+b", "", 204, []string{"a b", "room"}},
		{"PUT " + member + "/c", "MaxGroups", 409, []string{"a b", "room"}},
		{"PUT " + member + "/a%2Fb", "slash", 400, []string{"a b", "room"}},
		{"PUT " + member + "/c?d=e", "unknown query parameter", 400, []string{"a b", "room"}},
		{"DELETE " + member + "/room", "", 204, []string{"a b"}},
		{"DELETE " + member + "/room", "", 204, []string{"a b"}},
		{"DELETE /other" + strings.TrimPrefix(member, "/ws") + "/a%20b", "another path", 404, []string{"a b"}},
		{"POST /@groups/room?except=" + conn.SealedID(), "nobody is there", 410, []string{"a b"}},
		{"POST /@groups/room?except=" + conn.SealedID()[:60] + "aaaa", "none of this worker's keys", 403, []string{"a b"}},
	} {
		status, a := ask(t, base, tt.target, "")
		if status != tt.status || !strings.Contains(a.Detail, tt.detail) || !slices.Equal(conn.Groups(), tt.groups) {
			t.Errorf("%s: %d %+v, in %q", tt.target, status, a, conn.Groups())
		}
	}
	_ = conn.Close(1000, "")
	if status, a := ask(t, base, "PUT "+member+"/c", ""); status != 410 {
		t.Errorf("%d %+v", status, a)
	}
}
