package wspush_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// recorded is the answer of a mounted worker.
func recorded(w *wspush.Worker, r *http.Request) *http.Response {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return rec.Result()
}

// door is a worker with a client, and a publisher that keeps its connection to it.
type door struct {
	worker    *wspush.Worker
	conn      *wspush.Conn
	client    *testutil.Client
	server    string // to connect to
	base      string // to push to
	publisher *http.Client
	protocol  string
}

// doors are the ways to reach a worker with what an HTTP client sends.
var doors = []string{"lane", "authorized", "TLS", "HTTP/2", "mounted"}

func newDoor(t *testing.T, name string, opts wspush.WorkerOptions) *door {
	t.Helper()
	d := &door{protocol: "HTTP/1.1"}
	transport := &http.Transport{}
	d.publisher = &http.Client{Transport: transport}
	switch name {
	case "authorized":
		if opts.AuthorizePush == nil {
			opts.AuthorizePush = func(*http.Request) error { return nil }
		}
	case "TLS", "HTTP/2":
		certificate, pool := testutil.NewCertificate(t)
		opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
		if transport.ForceAttemptHTTP2 = name == "HTTP/2"; transport.ForceAttemptHTTP2 {
			d.protocol = "HTTP/2.0"
		}
	case "mounted":
		opts.NoListen, opts.Advertise = true, []string{"push.test"}
	}
	d.worker = newWorker(t, &opts)
	t.Cleanup(transport.CloseIdleConnections) // or Shutdown waits a moment for an HTTP/2 connection
	switch name {
	case "TLS", "HTTP/2":
		d.base = "https://" + d.worker.Addr().String()
	case "mounted":
		d.base = testutil.Serve(t, d.worker)
	default:
		d.base = "http://" + d.worker.Addr().String()
	}
	d.server = serve(t, d.worker, nil)
	d.connect(t)
	return d
}

// connect replaces the client by a new one.
func (d *door) connect(t *testing.T) {
	t.Helper()
	d.client, d.conn, _ = dial(t, d.worker, d.server, testutil.Options{})
}

// ask sends a request in which ID stands for the client's. Host and Authorization may be among the header's fields.
func (d *door) ask(t *testing.T, method, target string, header http.Header, body string) *http.Response {
	t.Helper()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	req := newRequest(t, method, d.base+strings.ReplaceAll(target, "ID", d.conn.ID()), content)
	_, host, _ := strings.Cut(d.base, "://")
	for name, values := range header {
		for _, value := range values {
			req.Header.Add(name, strings.ReplaceAll(value, "HOST", host))
		}
	}
	if other := req.Header.Get("Host"); other != "" {
		req.Host = other
		req.Header.Del("Host")
	}
	resp, err := d.publisher.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(strings.NewReader(string(all)))
	if resp.Proto != d.protocol {
		t.Errorf("%s and not %s", resp.Proto, d.protocol)
	}
	return resp
}

// dump returns everything in a response that could tell something.
func dump(t *testing.T, resp *http.Response) string {
	t.Helper()
	length := fmt.Sprint(resp.ContentLength, resp.Close, resp.TransferEncoding, resp.Trailer)
	lines := []string{resp.Status, length, text(t, resp)}
	for name, values := range resp.Header {
		if name != "Date" {
			lines = append(lines, fmt.Sprintf("%s: %q", name, values))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestPushOrigins: no page pushes across origins by accident.
func TestPushOrigins(t *testing.T) {
	const admin = "https://admin.example.com"
	allowed := []string{admin, "http://localhost:3000", "http://[::1]:3000"}
	field := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	two := map[bool]map[string]*door{false: {}, true: {}} // without and with PushOrigins
	for _, name := range doors {
		two[false][name] = newDoor(t, name, wspush.WorkerOptions{})
		two[true][name] = newDoor(t, name, wspush.WorkerOptions{PushOrigins: allowed})
	}
	for _, tc := range []struct {
		name    string
		header  http.Header
		allowed []string
		may     bool
		cors    string // Access-Control-Allow-Origin
	}{
		{"a program", nil, nil, true, ""},
		{"a program, with PushOrigins", nil, allowed, true, ""},
		{"the same origin", field("Origin", "http://HOST"), nil, true, ""},
		{"the same origin, by another name", field("Origin", "http://push.test:8080", "Host", "push.test:8080"), nil, true, ""},
		{"the same origin, says the browser", field("Origin", "http://x.test", "Sec-Fetch-Site", "same-origin"), nil, true, ""},
		{"the same origin, with the scheme's port", field("Origin", "https://push.test", "Host", "push.test:443"), nil, true, ""},
		{"the same origin, in another case", field("Origin", "http://push.test", "Host", "Push.Test:80"), nil, true, ""},
		{"the same name, with the port of another scheme", field("Origin", "https://push.test", "Host", "push.test:80"), nil, false, ""},
		{"by hand", field("Sec-Fetch-Site", "none"), nil, true, ""},
		{"foreign", field("Origin", "http://evil.test"), nil, false, ""},
		{"foreign, with PushOrigins", field("Origin", "http://evil.test"), allowed, false, ""},
		{"foreign, says the browser", field("Sec-Fetch-Site", "cross-site"), nil, false, ""},
		{"foreign, says the browser, whatever the origin", field("Sec-Fetch-Site", "cross-site", "Origin", "http://HOST"), nil, false, ""},
		{"another host of the same site", field("Sec-Fetch-Site", "same-site", "Origin", "http://evil.push.test"), nil, false, ""},
		{"another port", field("Origin", "http://push.test:8080", "Host", "push.test:8081"), nil, false, ""},
		{"no port", field("Origin", "http://push.test", "Host", "push.test:8081"), nil, false, ""},
		{"null", field("Origin", "null"), nil, false, ""},
		{"null, with PushOrigins", field("Origin", "null"), allowed, false, ""},
		{"nonsense", field("Origin", "http://["), nil, false, ""},
		{"a list", field("Origin", admin+" http://evil.test"), allowed, false, ""},
		{"allowed", field("Origin", admin), allowed, true, admin},
		{"allowed, cross-site", field("Origin", admin, "Sec-Fetch-Site", "cross-site"), allowed, true, admin},
		{"allowed, with a port", field("Origin", "http://localhost:3000"), allowed, true, "http://localhost:3000"},
		{"allowed, IPv6", field("Origin", "http://[::1]:3000"), allowed, true, "http://[::1]:3000"},
		{"almost allowed: scheme", field("Origin", "http://admin.example.com"), allowed, false, ""},
		{"almost allowed: port", field("Origin", "http://localhost:3001"), allowed, false, ""},
		{"almost allowed: longer", field("Origin", admin+".evil.test"), allowed, false, ""},
		{"almost allowed: below", field("Origin", "https://x.admin.example.com"), allowed, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, d := range two[tc.allowed != nil] {
				d.connect(t)
				resp := d.ask(t, "POST", "/ws/@connections/ID", tc.header, "pushed")
				if got := resp.Header.Get("Access-Control-Allow-Origin"); got != tc.cors {
					t.Errorf("%s: Access-Control-Allow-Origin is %q, want %q", name, got, tc.cors)
				}
				if vary := slices.Contains(resp.Header.Values("Vary"), "Origin"); tc.cors != "" && !vary {
					t.Errorf("%s: the answer does not say that it depends on the origin", name)
				}
				if resp.Header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s: a browser may send what it has stored", name)
				}
				if tc.may {
					if resp.StatusCode != 204 {
						t.Fatalf("%s: %s %s", name, resp.Status, text(t, resp))
					}
					expect(t, d.client, testutil.Text, "pushed")
					if got := d.ask(t, "DELETE", "/ws/@connections/ID", tc.header, "").StatusCode; got != 204 {
						t.Errorf("%s: DELETE: %d", name, got)
					}
					continue
				}
				// The answer does not even tell whether the connection exists.
				want := dump(t, resp)
				unknown := "/ws/@connections/" + unknownID
				for _, target := range []string{unknown, "/ws/@connections/12", "/other/@connections/ID", "/ws"} {
					if got := dump(t, d.ask(t, "POST", target, tc.header, "pushed")); got != want {
						t.Errorf("%s: for %s\n%s\nbut for a connection\n%s", name, target, got, want)
					}
				}
				if got := dump(t, d.ask(t, "DELETE", "/ws/@connections/ID", tc.header, "")); got != want {
					t.Errorf("%s: to DELETE\n%s\nbut to POST\n%s", name, got, want)
				}
				if !strings.Contains(want, "403 Forbidden") || !strings.Contains(want, "urn:wspush:forbidden") {
					t.Errorf("%s: %s", name, want)
				}
				// Requests that change nothing are not refused: the page cannot read the answer.
				resp = d.ask(t, "GET", "/ws/@connections/ID", tc.header, "")
				if resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s: GET: %v", name, resp)
				}
				if _, err := d.conn.Push(t.Context(), wspush.Text, []byte("nothing before")); err != nil {
					t.Fatal(err)
				}
				expect(t, d.client, testutil.Text, "nothing before")
			}
		})
	}
}

// TestPreflight: the page of an allowed origin can use fetch with a Content-Type and an Authorization, and read the answers.
func TestPreflight(t *testing.T) {
	const admin = "https://admin.example.com"
	for _, name := range doors {
		t.Run(name, func(t *testing.T) {
			asked := 0
			opts := wspush.WorkerOptions{PushOrigins: []string{admin}}
			if name != "lane" {
				opts.AuthorizePush = func(*http.Request) error { asked++; return nil }
			}
			d := newDoor(t, name, opts)
			preflight := func(origin, method string) *http.Response {
				return d.ask(t, "OPTIONS", "/ws/@connections/ID", http.Header{
					"Origin": {origin}, "Access-Control-Request-Method": {method},
					"Access-Control-Request-Headers": {"authorization,content-type"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"cors"},
				}, "")
			}
			for _, method := range []string{"POST", "DELETE", "GET"} {
				resp := preflight(admin, method)
				if resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != admin ||
					!lists(resp, "Access-Control-Allow-Methods", method) || !lists(resp, "Access-Control-Allow-Headers", "content-type") ||
					!lists(resp, "Access-Control-Allow-Headers", "authorization") || !lists(resp, "Vary", "Origin") {
					t.Errorf("%s: %v", method, resp)
				}
			}
			for _, origin := range []string{"https://evil.test", "null"} {
				if resp := preflight(origin, "POST"); resp.Header.Get("Access-Control-Allow-Origin") != "" || resp.StatusCode != 204 {
					t.Errorf("%s: %v", origin, resp)
				}
			}
			if asked != 0 {
				t.Errorf("AuthorizePush is asked %d times for what is no push", asked)
			}
			json := http.Header{"Origin": {admin}, "Content-Type": {"application/json"}, "Sec-Fetch-Site": {"cross-site"}}
			if resp := d.ask(t, "POST", "/ws/@connections/ID", json, `{"a":1}`); resp.StatusCode != 204 {
				t.Errorf("got %v", resp)
			}
			expect(t, d.client, testutil.Text, `{"a":1}`)
			for target, want := range map[string]int{"/ws/@connections/ID": 200, "/ws/@connections/" + unknownID: 410, "/ws": 401} {
				resp := d.ask(t, "GET", target, json, "")
				if resp.StatusCode != want || resp.Header.Get("Access-Control-Allow-Origin") != admin {
					t.Errorf("%s: %v", target, resp)
				}
			}
			resp := d.ask(t, "POST", "/ws/@connections/"+unknownID, json, "x")
			if !lists(resp, "Access-Control-Expose-Headers", "Retry-After") {
				t.Errorf("a page cannot see when to come again: %v", resp)
			}
		})
	}
}

// AWS's SDK for JavaScript sends headers of its own, also from a page, and reads x-amzn-errortype. A page may send what a program
// may, and read what answers have, if its origin is allowed, and only then.
func TestPreflightOfSDK(t *testing.T) {
	const admin = "https://admin.example.com"
	const asked = "amz-sdk-invocation-id,amz-sdk-request,authorization,content-type, X-Amz-Content-Sha256 ,x-amz-date,x-amz-security-token,x-amz-user-agent,,b@d,x-amz-date"
	for _, name := range doors {
		t.Run(name, func(t *testing.T) {
			opts := wspush.WorkerOptions{PushOrigins: []string{admin}}
			if name == "mounted" {
				opts.AuthorizePush = func(r *http.Request) error { return wspush.ErrUnauthorized }
			}
			d := newDoor(t, name, opts)
			for origin, allowed := range map[string]bool{admin: true, "https://evil.test": false, "null": false} {
				resp := d.ask(t, "OPTIONS", "/ws/%40connections/ID", http.Header{
					"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {asked}, "Sec-Fetch-Site": {"cross-site"},
				}, "")
				want := ""
				if allowed {
					want = "authorization, content-type, amz-sdk-invocation-id, amz-sdk-request, x-amz-content-sha256, x-amz-date, x-amz-security-token, x-amz-user-agent"
				}
				if got := resp.Header.Get("Access-Control-Allow-Headers"); got != want || resp.StatusCode != 204 {
					t.Errorf("%s may send %q, want %q", origin, got, want)
				}
			}
			read := make(chan struct{})
			go func() { // until DELETE
				defer close(read)
				for f, err := d.client.ReadFrame(); err == nil && f.Op != testutil.Close; f, err = d.client.ReadFrame() {
					if f.Op == testutil.Ping {
						_ = d.client.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: f.Payload})
					}
				}
			}()
			// Whatever an answer has, the page can read.
			plain := []string{"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Vary", "Date", "Connection", // not for pages
				"Cache-Control", "Content-Length", "Content-Type"} // which any page can read
			for _, request := range [][2]string{
				{"POST", "/ws/@connections/ID?confirm=received"}, {"POST", "/ws/@connections/" + unknownID}, {"POST", "/ws"}, {"PUT", "/ws"}, {"GET", "/ws/@connections/ID"},
				{"POST", "/ws/@connections/ID?type=x"}, {"DELETE", "/ws/@connections/ID"}, {"OPTIONS", "/ws"},
			} {
				resp := d.ask(t, request[0], request[1], http.Header{"Origin": {admin}, "Sec-Fetch-Site": {"cross-site"}}, "")
				for name := range resp.Header {
					if !slices.Contains(plain, name) && !lists(resp, "Access-Control-Expose-Headers", name) {
						t.Errorf("%s: a page cannot read %s", request, name)
					}
				}
				if confirmed := resp.Header.Get("Wspush-Rtt") != ""; confirmed != (strings.Contains(request[1], "confirm") && name != "mounted") {
					t.Errorf("%s: %v", request, resp)
				}
			}
			if name == "mounted" { // where DELETE is 401
				d.client.Close()
			}
			<-read
		})
	}
}

// lists reports whether a header that is a list has an element, whatever its letter case.
func lists(resp *http.Response, name, element string) bool {
	return slices.ContainsFunc(strings.Split(strings.Join(resp.Header.Values(name), ","), ","), func(s string) bool {
		return strings.EqualFold(strings.TrimSpace(s), element)
	})
}

// NewWorker refuses an origin that no browser ever sends: it would allow nobody.
func TestPushOriginsRefused(t *testing.T) {
	for _, origin := range []string{
		"", "*", "null", "admin.example.com", "//admin.example.com", "https://", "https:admin", "https://[", "https://%zz", "https://a b",
		"https://admin.example.com/", "https://admin.example.com/x", "https://admin.example.com?x", "https://admin.example.com?",
		"https://admin.example.com#x", "https://admin.example.com#", "https://*.example.com", "https://user@admin.example.com",
		"https://Admin.example.com", "HTTPS://admin.example.com", "https://admin.example.com:443", "http://admin.example.com:80",
		"https://admin.example.com:", "https://bücher.example", "wss://admin.example.com", "http://[0:0::1]:3000", "http://localhost:99999", "http://127.1", " https://admin.example.com", "https://admin.example.com,https://b.test",
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w, err := wspush.NewWorker(&wspush.WorkerOptions{Listener: l, PushOrigins: []string{"https://fine.test", origin}})
		if err == nil || !strings.HasPrefix(err.Error(), "wspush: PushOrigins: ") {
			t.Errorf("%q: %v", origin, err)
		}
		if w != nil {
			w.Shutdown(t.Context())
		}
		if l.Close() != nil && err != nil {
			t.Errorf("%q: the listener has been closed", origin)
		}
	}
	for _, origin := range []string{
		"https://admin.example.com", "http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443", "https://xn--bcher-kva.example",
		"http://admin.example.com:443", "chrome-extension://abcdefghijklmnop", "https://a_b.example",
	} {
		newWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.test"}, PushOrigins: []string{origin}})
	}
}

// A page can read what an answer says of a session: whether its client is there, for how long it waits, and where it is now.
func TestPageReadsOfSessions(t *testing.T) {
	const admin = "https://admin.example.com"
	inFleet(t, 0, nil, func(t *testing.T, f *fleet) {
		opts := wspush.WorkerOptions{PushOrigins: []string{admin}}
		a, b := f.add(opts), f.add(opts)
		p := a.visitAs("", "")
		conn := a.conns[0]
		ask := func(method string, want ...string) {
			t.Helper()
			r := httptest.NewRequest(method, conn.PathAddresses()[0], strings.NewReader("x"))
			r.Header = http.Header{"Origin": {admin}, "Sec-Fetch-Site": {"cross-site"}}
			resp := recorded(a.Worker, r)
			for _, name := range want {
				if resp.Header.Get(name) == "" || !lists(resp, "Access-Control-Expose-Headers", name) {
					t.Errorf("%s: a page cannot read %s: %d %v", method, name, resp.StatusCode, resp.Header)
				}
			}
		}
		p.Close()
		synctest.Wait()
		ask("POST", "Wspush-Buffered")
		ask("HEAD", "Wspush-State", "Wspush-Buffered")
		b.visitAs("", p.Ticket()).Want("x")
		ask("GET", "Wspush-Address", "Wspush-State")
	})
}
