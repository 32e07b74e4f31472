package wspush_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

const (
	nobody = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed" // an ID that no connection has
	gone   = `"status":410,"type":"urn:wspush:gone","detail":"there is no such connection: it has closed, or never was"}`
)

// bulkRequest is a bulk request under way, over HTTP/1.1 on a connection of its own.
type bulkRequest struct {
	t       testing.TB
	conn    net.Conn
	answers *bufio.Reader
}

// openBulk begins a bulk request, and reads the head of its answer.
func openBulk(t testing.TB, conn net.Conn) *bulkRequest {
	t.Helper()
	b := beginBulk(t, conn, "")
	b.head()
	return b
}

// beginBulk sends the head of a bulk request, with more lines in it.
func beginBulk(t testing.TB, conn net.Conn, header string) *bulkRequest {
	t.Helper()
	b := &bulkRequest{t: t, conn: conn}
	b.write("POST /ws/@connections HTTP/1.1\r\nHost: worker\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n" + header + "\r\n")
	return b
}

// head reads the head of the answer, which must be 200.
func (b *bulkRequest) head() {
	b.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(b.conn), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if kind := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || kind != "application/x-ndjson" {
		b.t.Fatalf("%s, %q", resp.Status, kind)
	}
	b.answers = bufio.NewReader(resp.Body)
}

func (b *bulkRequest) write(s string) {
	b.t.Helper()
	if _, err := io.WriteString(b.conn, s); err != nil {
		b.t.Fatal(err)
	}
}

// send sends lines, in one chunk.
func (b *bulkRequest) send(lines ...string) {
	b.t.Helper()
	body := strings.Join(lines, "\n") + "\n"
	b.write(fmt.Sprintf("%x\r\n%s\r\n", len(body), body))
}

// end ends the request's body.
func (b *bulkRequest) end() { b.t.Helper(); b.write("0\r\n\r\n") }

// answer reads the next line of the answer, or "" at its end.
func (b *bulkRequest) answer() string {
	b.t.Helper()
	line, err := b.answers.ReadString('\n')
	if err != nil && (err != io.EOF || line != "") {
		b.t.Fatalf("%q: %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// expect reads the next lines of the answer, in any order.
func (b *bulkRequest) expect(want ...string) {
	b.t.Helper()
	left := map[string]int{}
	for _, line := range want {
		left[line]++
	}
	for range want {
		if got := b.answer(); left[got] > 0 {
			left[got]--
		} else {
			b.t.Errorf("answer %s\nwant one of %v", got, left)
		}
	}
}

// dialPush connects to the worker's push listener.
func dialPush(t testing.TB, w *wspush.Worker) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", w.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

func text204(line int) string { return fmt.Sprintf(`{"line":%d,"status":204}`, line) }

func textLine(id, text string) string { return fmt.Sprintf(`{"to":%q,"text":%q}`, id, text) }

// publishing is a client over HTTP/1.1 or HTTP/2, whose connections are closed when the test ends.
func publishing(t testing.TB) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// postLines sends a whole bulk request, and returns the protocol and the lines of the answer.
func postLines(client *http.Client, address string, lines ...string) (proto string, answers []string, err error) {
	resp, err := client.Post(address, "application/x-ndjson", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		return "", nil, fmt.Errorf("%s: %s %w", resp.Status, body, err)
	}
	return resp.Proto, strings.Split(strings.TrimSuffix(string(body), "\n"), "\n"), nil
}

// Every kind of line, over HTTP/1.1 and over HTTP/2.
func TestBulk(t *testing.T) {
	certificate, _ := testutil.NewCertificate(t)
	for proto, opts := range map[string]*wspush.WorkerOptions{
		"HTTP/1.1": nil, "HTTP/2.0": {TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}},
	} {
		t.Run(proto, func(t *testing.T) {
			w := newWorker(t, opts)
			server := serve(t, w, nil)
			a, connA, address := dial(t, w, server, testutil.Options{})
			b, connB, _ := dial(t, w, server, testutil.Options{})
			scheme, _, _ := strings.Cut(address, "://")
			var answers []string
			client := publishing(t)
			done := make(chan error, 1)
			go func() {
				got, lines, err := postLines(client, scheme+"://"+w.Addr().String()+"/ws/@connections",
					textLine(connA.ID(), "one"),
					`{"to":"`+connA.ID()+`","binary":"AAEC","ref":"a \"ref\""}`,
					"",
					`{"to":["`+connA.ID()+`","`+nobody+`","`+connB.ID()+`"],"text":"all","ref":"r"}`,
					`{ "to" : "`+connA.ID()+`" , "text" : "gr\u00fc\u00dfe \ud83d\ude00", "confirm" : "received" }`,
					textLine(connA.ID(), ""))
				if answers = lines; err == nil && got != proto {
					err = errors.New(got)
				}
				done <- err
			}()
			a.Expect(testutil.Text, "one")
			a.Expect(testutil.Binary, "\x00\x01\x02")
			a.Expect(testutil.Text, "all")
			b.Expect(testutil.Text, "all")
			a.Expect(testutil.Text, "grüße 😀")
			a.Expect(testutil.Text, "") // and on the way the ping that confirms the one before
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			expect := map[string]bool{
				text204(1): true, `{"line":2,"ref":"a \"ref\"","status":204}`: true, `{"line":4,"index":0,"ref":"r","status":204}`: true,
				`{"line":4,"index":1,"ref":"r",` + gone: true, `{"line":4,"index":2,"ref":"r","status":204}`: true, text204(6): true,
			}
			for _, line := range answers[:len(answers)-1] {
				var confirmed struct{ RttMs float64 }
				if strings.HasPrefix(line, `{"line":5,"status":204,"rttMs":`) && json.Unmarshal([]byte(line), &confirmed) == nil && confirmed.RttMs > 0 {
					continue
				}
				if !expect[line] {
					t.Errorf("answer %s", line)
				}
				delete(expect, line)
			}
			if len(expect) > 0 || answers[len(answers)-1] != `{"lines":6}` {
				t.Errorf("answers %q\nlack %v, or the end", answers, expect)
			}
		})
	}
}

// What is wrong with a line is said in its answer, and concerns no other line.
func TestBulkBadLines(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytes: 1000})
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	id := conn.ID()
	bad := func(detail string) string {
		return `"status":400,"type":"urn:wspush:bad-request","detail":"` + detail + `"}`
	}
	const noObject, noText = "the line is not one JSON object", "a line has either text or binary"
	const lone = "the line has half of a surrogate pair, which is not valid UTF-8"
	const noTimeout = `timeout must be a positive duration, such as \"5s\" or \"1500ms\"`
	const badTo = "to must be a string, or an array of strings"
	tests := []struct{ line, want string }{
		{`hello`, bad(noObject)},
		{`{`, bad(noObject)},
		{`5`, bad(noObject)},
		{`"x"`, bad(noObject)},
		{`null`, bad(noObject)},
		{`{"To":"` + id + `","text":"a"}`, bad(`there is no member \"To\"`)},
		{`{"to":"` + id + `","text":"a","text":"b"}`, bad("there is more than one text")},
		{`{"to":"` + id + `","text":"a","` + strings.Repeat("x", 100) + `":1}`, bad(`there is no member \"` + strings.Repeat("x", 64) + `\"`)},
		{`[]`, bad(noObject)},
		{`{}`, bad("the line is for nobody: it has none of to, user and group")},
		{`{"to":"` + id + `","text":"a"} {"to":"` + id + `","text":"b"}`, bad(noObject)},
		{`{"to":"` + id + `","text":"a"},`, bad(noObject)},
		{`{"to":"` + id + `"}`, bad(noText)},
		{`{"to":"` + id + `","text":"a","binary":"AA=="}`, bad(noText)},
		{`{"to":"` + id + `","text":null}`, bad(noText)},
		{`{"to":"` + id + `","text":5}`, bad("text must be a string")},
		{`{"to":"` + id + `","binary":"A"}`, bad("binary is not base64 (RFC 4648 section 4)")},
		{`{"to":"` + id + `","binary":"_-8="}`, bad("binary is not base64 (RFC 4648 section 4)")},
		{`{"text":"a","ref":"r"}`, `"ref":"r",` + bad("the line is for nobody: it has none of to, user and group")},
		{`{"to":[],"text":"a"}`, bad("to is an empty array")},
		{`{"to":5,"text":"a"}`, bad(badTo)},
		{`{"to":["` + id + `",5],"text":"a"}`, bad(badTo)},
		{`{"to":{"a":"` + id + `"},"text":"a"}`, bad(badTo)},
		{`{"to":"","text":"a"}`, bad("the ID is neither a UUID nor a sealed ID")},
		{`{"to":"http://` + id + `@127.0.0.1/ws","text":"a"}`, bad("the ID is neither a UUID nor a sealed ID")},
		{`{"to":["` + id + `","x"],"text":"a"}`, bad("the ID is neither a UUID nor a sealed ID")},
		{`{"to":"` + id + `","text":"a","confrm":"received"}`, bad(`there is no member \"confrm\"`)},
		{`{"to":"` + id + `","text":"a","confirm":"read"}`, bad("confirm must be received")},
		{`{"to":"` + id + `","text":"a","confirm":true}`, bad("confirm must be a string")},
		{`{"to":"` + id + `","text":"a","timeout":"soon"}`, bad(noTimeout)},
		{`{"to":"` + id + `","text":"a","timeout":"-1s"}`, bad(noTimeout)},
		{`{"to":"` + id + `","text":"a","ref":"` + strings.Repeat("r", 257) + `"}`, bad("ref has more than 256 bytes")},
		{"{\"to\":\"" + id + "\",\"text\":\"\xff\"}", bad("the line is not valid UTF-8")},
		{`{"to":"` + id + `","text":"\ud800"}`, bad(lone)},
		{`{"to":"` + id + `","text":"\ud83d\ud83d\ude00"}`, bad(lone)},
		{`{"to":"` + id + `","text":"\uDE00"}`, bad(lone)},
		{`{"to":"` + id + `","text":"` + strings.Repeat("x", 6000+64<<10) + `"}`, bad("the line is too long: it may have 71536 bytes")},
		{`{"to":"` + id + `","text":"` + strings.Repeat("x", 1001) + `"}`,
			`"status":413,"type":"urn:wspush:too-large","detail":"the message exceeds the 1000 bytes that the worker takes (MaxPushBytes)"}`},
		{`{"to":"` + nobody + `","text":"a"}`, gone},
		{`{"to":"` + strings.ToUpper(nobody) + `","text":"a"}`, gone},
		{`{"to":"{` + strings.ToUpper(id) + `}","text":"a"}`, bad("the ID is neither a UUID nor a sealed ID")},
	}
	b := openBulk(t, dialPush(t, w))
	for i, tt := range tests {
		good := fmt.Sprint("good ", i)
		b.send(tt.line, textLine(id, good))
		b.expect(fmt.Sprintf(`{"line":%d,%s`, 2*i+1, tt.want), text204(2*i+2))
		client.Expect(testutil.Text, good)
	}
	b.send(`{"to":"`+id+`","text":"\\ud800 \u0000\ud83d\ude00"}`, "{\"to\":\""+id+"\",\t\"text\":\"\"}\r")
	b.expect(text204(2*len(tests)+1), text204(2*len(tests)+2))
	client.Expect(testutil.Text, "\\ud800 \x00😀")
	client.Expect(testutil.Text, "")
	b.end()
	b.expect(fmt.Sprintf(`{"lines":%d}`, 2*len(tests)+2), "")
}

// Lines are read right wherever the network cuts them, and the last one needs no line break.
func TestBulkSplit(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{MaxPushBytes: 1000}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
		body := "\n" + textLine(conn.ID(), "first") + "\r\n \t\n" + strings.Repeat("x", 75_000) + "\n" + textLine(conn.ID(), "last")
		read := expecting(client, "first", "last")
		b := beginBulk(t, push, "")
		go func() {
			for i := 0; i < len(body); {
				n := min(1+i*7%5000, len(body)-i)
				b.write(fmt.Sprintf("%x\r\n%s\r\n", n, body[i:i+n]))
				i += n
			}
			b.end()
		}()
		b.head()
		b.expect(text204(2), `{"line":4,"status":400,"type":"urn:wspush:bad-request","detail":"the line is too long: it may have 71536 bytes"}`, text204(5))
		b.expect(`{"lines":5}`)
		<-read
	})
}

// bubbleBulk runs a test in a bubble of fake time: a client, and a connection to the push endpoint, both over net.Pipe.
func bubbleBulk(t *testing.T, opts wspush.WorkerOptions, test func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client)) {
	bubble(t, opts, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		// As on the Worker's own listener, which cannot be in a bubble.
		test(t, w, testutil.Pipe(t, w), conn, client)
	})
}

// Answers come while the request is being sent: each of many lines waits for the answer to the one before.
func TestBulkFullDuplex(t *testing.T) {
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	b := openBulk(t, dialPush(t, w))
	for i := range 300 {
		b.send(textLine(conn.ID(), fmt.Sprint(i)))
		b.expect(text204(i + 1))
		client.Expect(testutil.Text, fmt.Sprint(i))
	}
	b.end()
	b.expect(`{"lines":300}`, "")
}

// What cannot be served at all is answered as any other request.
func TestBulkRefused(t *testing.T) {
	w := newWorker(t, nil)
	url := "http://" + w.Addr().String() + "/ws/@connections"
	for _, tt := range []struct {
		method, url, header, value string
		status                     int
		detail                     string
	}{
		{"POST", url, "", "", 415, "many messages in one request"},
		{"POST", url, "Content-Type", "application/json", 415, "many messages in one request"},
		{"POST", url, "Content-Type", "application/x-ndjson; check", 415, "malformed"},
		{"POST", url, "Content-Type", "application/x-ndjson; check=crc32; check=md5", 415, "a parameter twice"},
		{"POST", url, "Content-Type", "application/x-ndjson; chekc=crc32", 415, `did you mean \"check\"?`},
		{"POST", url, "Content-Type", "application/x-ndjson; check=crc32; answr=after", 415, `did you mean \"answer\"?`},
		{"POST", url, "Content-Type", "application/x-ndjson; q=1", 415, "this request takes check, answer"},
		{"POST", url, "Content-Encoding", "gzip", 415, "compressed"},
		{"POST", url, "Content-Type", "application/x-ndjson; check=md5", 415, "crc32"},
		{"POST", url, "Content-Type", "application/x-ndjson; answer=before", 415, "after"},
		{"POST", url + "?confirm=received", "", "", 400, "stands in its line"},
		{"POST", url + "?type=text", "", "", 400, "stands in its line"},
		{"POST", url + "?timeout=5s", "", "", 400, "stands in its line"},
		{"POST", url + "?x", "", "", 400, "unknown query parameter"},
		{"POST", url + "?%zz", "", "", 400, "malformed"},
		{"GET", url, "", "", 405, "OPTIONS, POST"},
		{"DELETE", url, "", "", 405, "OPTIONS, POST"},
		{"PUT", url, "", "", 405, "OPTIONS, POST"},
		{"OPTIONS", url, "", "", 204, ""},
		{"POST", strings.Replace(url, "@", "%40", 1), "", "", 415, ""},
		{"POST", "http://" + w.Addr().String() + "/@connections", "", "", 415, ""},
	} {
		req := newRequest(t, tt.method, tt.url, strings.NewReader(textLine(nobody, "a")))
		if tt.header != "Content-Type" && tt.status != 415 || tt.value == "gzip" {
			req.Header.Set("Content-Type", "application/x-ndjson; charset=utf-8")
		}
		if tt.header != "" {
			req.Header.Set(tt.header, tt.value)
		}
		resp := do(t, req)
		if body := text(t, resp); resp.StatusCode != tt.status || !strings.Contains(body, tt.detail) {
			t.Errorf("%s %s %s: %s %s", tt.method, tt.url, tt.value, resp.Status, body)
		}
		if allow := resp.Header.Get("Allow"); (tt.status == 405 || tt.status == 204) && allow != "OPTIONS, POST" {
			t.Errorf("%s: Allow: %s", tt.method, allow)
		}
	}
	recorder := httptest.NewRecorder() // cannot answer before the request has ended
	r := httptest.NewRequest("POST", "/ws/@connections", strings.NewReader(textLine(nobody, "a")))
	r.Header.Set("Content-Type", "application/x-ndjson")
	if w.ServeHTTP(recorder, r); recorder.Code != 500 || !strings.Contains(recorder.Body.String(), "Unwrap") {
		t.Errorf("behind a ResponseWriter that hides the server's: %d %s", recorder.Code, recorder.Body)
	}
}

// AuthorizePush is asked once for all lines. Connections that live elsewhere are not reached.
func TestBulkAuthorized(t *testing.T) {
	var asked atomic.Int64
	w := newWorker(t, &wspush.WorkerOptions{AuthorizePush: func(r *http.Request) error {
		asked.Add(1)
		return wspush.BearerTokens("secret")(r)
	}})
	server := serve(t, w, nil)
	client, conn, _ := dial(t, w, server, testutil.Options{})
	_, elsewhere, _ := dial(t, w, server, testutil.Options{Path: "/ws/elsewhere"})
	b := beginBulk(t, dialPush(t, w), "Authorization: Bearer secret\r\n")
	b.head()
	b.send(textLine(conn.ID(), "a"), textLine(elsewhere.ID(), "b"), textLine(conn.ID(), "c"))
	b.expect(text204(1), text204(3), `{"line":2,"status":404,"type":"urn:wspush:not-found","detail":"the connection lives at another path than that of the request: send it to the address as it is"}`)
	b.end()
	b.expect(`{"lines":3}`)
	client.Expect(testutil.Text, "a")
	client.Expect(testutil.Text, "c")
	resp := post(t, "http://"+w.Addr().String()+"/ws/@connections", "application/x-ndjson", []byte(textLine(conn.ID(), "d")))
	if resp.StatusCode != 401 {
		t.Errorf("without a token: %s", resp.Status)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("AuthorizePush was asked %d times", n)
	}
}

// expecting has the client read messages, and closes the channel when it has.
func expecting(client *testutil.Client, messages ...string) <-chan struct{} {
	read := make(chan struct{})
	go func() {
		defer close(read)
		for _, m := range messages {
			client.Expect(testutil.Text, m)
		}
	}()
	return read
}

// A client that does not read gets what one connection may hold of a request, and 429 beyond. It delays nobody.
func TestBulkStalled(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{MaxPending: -1, WriteTimeout: -1}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
		other := testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, nil)), testutil.Options{Timeout: -1})
		otherConn, _ := greeted(t, w, other)
		b := openBulk(t, push)
		const size = 100_000 // ten of which fit into a quarter of 4 MiB
		for i := range 15 {
			b.send(fmt.Sprintf(`{"to":%q,"text":%q,"timeout":"20s"}`, conn.ID(), big[:size]))
			if i >= 10 {
				b.expect(fmt.Sprintf(`{"line":%d,"status":429,"type":"urn:wspush:busy","detail":"the client cannot take the message now: too much is waiting for it, or its greeting is not ready","retryAfter":1}`, 2*i+1))
			}
			read := expecting(other, "meanwhile")
			b.send(textLine(otherConn.ID(), "meanwhile"))
			b.expect(text204(2*i + 2))
			<-read
		}
		// What waits has a timeout. The first has begun.
		begun := time.Now()
		busy := `"status":429,"type":"urn:wspush:busy","detail":"the client did not take the message in time; it was withdrawn","retryAfter":1}`
		want := []string{`{"line":1,"status":504,"type":"urn:wspush:unknown","detail":"the wait ended when part of the message may have been written; ` +
			`the connection is open and will write the rest","connection":"open"}`}
		for i := 1; i < 10; i++ {
			want = append(want, fmt.Sprintf(`{"line":%d,%s`, 2*i+1, busy))
		}
		b.expect(want...)
		if waited := time.Since(begun); waited != 20*time.Second {
			t.Errorf("they were given up after %v", waited)
		}
		read := expecting(client, big[:size])
		b.send(textLine(otherConn.ID(), "after"))
		other.Expect(testutil.Text, "after")
		b.expect(text204(31))
		<-read
		b.end()
		b.expect(`{"lines":31}`)
		if s := w.Stats(); s.Written != 16 || s.Refused != 14 || s.Unknown != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// Reading pauses when too much is unanswered: a publisher that reads no answers cannot make the worker hold more and more.
// One that takes none for 10 s is cut off.
func TestBulkUnread(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
		b := openBulk(t, push)
		line := textLine(nobody, "a")
		body := strings.Repeat(line+"\n", 100)
		begun := time.Now()
		sent := 0
		for {
			if _, err := fmt.Fprintf(push, "%x\r\n%s\r\n", len(body), body); err != nil {
				break
			}
			sent += 100
		}
		// 256 bytes for each answer, in 4 MiB; and what is read ahead.
		if most := 4<<20/256 + (1<<20)/len(line); sent < 100 || sent > most {
			t.Errorf("%d lines were taken, of %d that may be", sent, most)
		}
		if waited := time.Since(begun); waited < 10*time.Second || waited > 11*time.Second { // net/http closes slowly
			t.Errorf("it was cut off after %v", waited)
		}
		_ = b
		_, _ = conn, client
	})
}

// The messages of one connection are written in the order of the lines, whoever else pushes meanwhile.
func TestBulkOrder(t *testing.T) {
	t.Parallel()
	w := newWorker(t, nil)
	server := serve(t, w, nil)
	const count, each = 20, 500
	b := openBulk(t, dialPush(t, w))
	var running, pushing sync.WaitGroup
	var conns []*wspush.Conn
	var ids []string
	for range count {
		client, conn, _ := dial(t, w, server, testutil.Options{})
		conns, ids = append(conns, conn), append(ids, conn.ID())
		running.Go(func() {
			next, others := 0, 0
			for {
				_, data, err := client.Message()
				if err != nil { // it reads on until it is closed, so that it can confirm
					break
				}
				switch string(data) {
				case "other":
					others++
				case fmt.Sprint(next):
					next++
				default:
					t.Errorf("%q in place of %d", data, next)
				}
			}
			if next != each || others != 50 {
				t.Errorf("%d and %d messages came", next, others)
			}
		})
		pushing.Go(func() {
			for range 50 {
				if _, err := conn.Push(context.Background(), wspush.Text, []byte("other")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Go(func() {
		for i := range each {
			var lines []string
			for j, id := range ids {
				line := textLine(id, fmt.Sprint(i))
				if (i+j)%7 == 0 {
					line = `{"confirm":"received",` + line[1:]
				}
				lines = append(lines, line)
			}
			b.send(lines...)
		}
		b.end()
	})
	for range count * each {
		if line := b.answer(); !strings.Contains(line, `"status":204`) {
			t.Fatal(line)
		}
	}
	b.expect(fmt.Sprintf(`{"lines":%d}`, count*each), "")
	pushing.Wait()
	for _, conn := range conns {
		conn.Close(1000, "")
	}
	running.Wait()
}

// A publisher that leaves withdraws what has not begun, whether or not it had sent everything.
func TestBulkLeaves(t *testing.T) {
	for _, ended := range []bool{false, true} {
		t.Run(fmt.Sprint("ended=", ended), func(t *testing.T) {
			bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
				b := openBulk(t, push)
				b.send(textLine(conn.ID(), "begun"), textLine(conn.ID(), "withdrawn"), textLine(conn.ID(), "withdrawn"))
				if ended {
					b.end()
				} else {
					b.send(textLine(conn.ID(), "withdrawn")[:20])
				}
				synctest.Wait()
				push.Close()
				synctest.Wait()
				if s := w.Stats(); s.Refused != 2 || s.Unknown != 1 || s.Written != 0 {
					t.Errorf("%+v", s)
				}
				client.Expect(testutil.Text, "begun")
				read := expecting(client, "next")
				if _, err := conn.Push(context.Background(), wspush.Text, []byte("next")); err != nil {
					t.Error(err)
				}
				<-read
			})
		})
	}
}

// A request that says nothing for 2 minutes is ended, in the midst of a line after 30 s. What has been read is answered.
func TestBulkIdle(t *testing.T) {
	for within, timeout := range map[bool]time.Duration{false: 2 * time.Minute, true: 30 * time.Second} {
		bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
			b := openBulk(t, push)
			begun := time.Now()
			b.send(textLine(nobody, "a"))
			if within {
				b.write("5\r\n{\"to\"\r\n")
			}
			b.expect(`{"line":1,`+gone, `{"lines":1,"type":"urn:wspush:timeout","detail":"nothing more of the request came in time; what is sent now is not read, so begin another request"}`, "")
			if waited := time.Since(begun); waited != timeout {
				t.Errorf("ended after %v, not %v", waited, timeout)
			}
		})
	}
}

// Shutdown ends bulk requests once their clients are gone. They are told how far they have been read.
func TestBulkShutdown(t *testing.T) {
	t.Parallel()
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	b, idle := openBulk(t, dialPush(t, w)), openBulk(t, dialPush(t, w))
	b.send(textLine(conn.ID(), "a"))
	b.expect(text204(1))
	client.Expect(testutil.Text, "a")
	go client.AwaitClose()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	shutdown := make(chan error, 1)
	go func() { shutdown <- w.Shutdown(ctx) }()
	const why = `"type":"urn:wspush:shutdown","detail":"the worker is shutting down"}`
	b.expect(`{"lines":1,` + why)
	idle.expect(`{"lines":0,` + why)
	if err := <-shutdown; err != nil {
		t.Error(err)
	}
}

// When Shutdown's context ends, so do bulk requests: also those that a client holds up.
func TestBulkShutdownCut(t *testing.T) {
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{Silent: true})
	b := openBulk(t, dialPush(t, w))
	b.send(`{"to":"` + conn.ID() + `","text":"a","confirm":"received"}`)
	client.Expect(testutil.Text, "a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Shutdown(ctx); err != context.Canceled {
		t.Error(err)
	}
}

// A request that asks before it sends is told to go on; one over HTTP/1.0 is served as well.
func TestBulkOldAndCareful(t *testing.T) {
	w := newWorker(t, nil)
	_, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	push := dialPush(t, w)
	b := beginBulk(t, push, "Expect: 100-continue\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(push, int64(len("HTTP/1.1 100 Continue\r\n\r\n")))), nil)
	if err != nil || resp.StatusCode != 100 {
		t.Fatal(resp, err)
	}
	b.head()
	b.send(textLine(conn.ID(), "a"))
	b.expect(text204(1))
	b.end()
	b.expect(`{"lines":1}`, "")

	push = dialPush(t, w)
	body := textLine(conn.ID(), "a")
	fmt.Fprintf(push, "POST /ws/@connections HTTP/1.0\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	answer, err := io.ReadAll(push)
	if want := "\r\n\r\n" + text204(1) + "\n" + `{"lines":1}` + "\n"; err != nil || !bytes.HasSuffix(answer, []byte(want)) {
		t.Errorf("over HTTP/1.0: %q %v", answer, err)
	}
}

// A small MaxPending is for clients that do not read: it refuses nothing only because lines come together. It may refuse some
// while somebody else is writing to the client, such as the goroutine of the greeting, which may not be done when the client has
// it. So the test tries again.
func TestBulkSmallMaxPending(t *testing.T) {
	t.Parallel()
	w := newWorker(t, &wspush.WorkerOptions{MaxPending: 2000})
	server := serve(t, w, nil)
	for range 20 {
		client, conn, _ := dial(t, w, server, testutil.Options{})
		b := openBulk(t, dialPush(t, w))
		var lines []string
		for i := range 100 {
			lines = append(lines, textLine(conn.ID(), fmt.Sprint(i)))
		}
		b.send(lines...)
		refused := 0
		for range lines {
			if answer := b.answer(); strings.Contains(answer, `"status":429`) {
				refused++
			} else if !strings.Contains(answer, `"status":204`) {
				t.Errorf("answer %s", answer)
			}
		}
		if refused > 0 {
			continue
		}
		for i := range lines {
			client.Expect(testutil.Text, fmt.Sprint(i))
		}
		return
	}
	t.Error("each time, lines were refused because they came together")
}

// Bytes of every kind and size arrive as they were sent.
func TestBulkSizes(t *testing.T) {
	t.Parallel()
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	b := openBulk(t, dialPush(t, w))
	for i, size := range []int{0, 1, 125, 126, 65_535, 65_536, 1 << 20} {
		data := []byte(strings.Repeat("x", size))
		if size > 10 {
			copy(data, "\x00\xff\n\r\"\\")
		}
		go b.send(fmt.Sprintf(`{"to":%q,"binary":%q}`, conn.ID(), base64.StdEncoding.EncodeToString(data)))
		client.Expect(testutil.Binary, string(data))
		b.expect(text204(i + 1))
	}
}

// The answer to a request of known length, or to one that asks for it, begins when the request has been read; the pushes do not
// wait for that.
func TestBulkAnswerAfter(t *testing.T) {
	for name, head := range map[string]string{
		"length": "Content-Type: application/x-ndjson\r\nContent-Length: %d\r\n",
		"asked":  "Content-Type: application/x-ndjson; answer=after\r\nTransfer-Encoding: chunked\r\nX: %d\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
				b := &bulkRequest{t: t, conn: push}
				first, second := textLine(conn.ID(), "first")+"\n", textLine(conn.ID(), "second")+"\n"
				write := func(s string) {
					if name == "asked" {
						s = fmt.Sprintf("%x\r\n%s\r\n", len(s), s)
					}
					b.write(s)
				}
				b.write(fmt.Sprintf("POST /ws/@connections HTTP/1.1\r\nHost: worker\r\n"+head+"\r\n", len(first)+len(second)))
				begun := make(chan struct{})
				in := bufio.NewReader(push)
				go func() { _, _ = in.Peek(1); close(begun) }()
				write(first)
				client.Expect(testutil.Text, "first")
				<-time.After(10 * time.Second)
				select {
				case <-begun:
					t.Fatal("the answer begins before the request has ended")
				default:
				}
				read := expecting(client, "second")
				write(second)
				if name == "asked" {
					b.end()
				}
				<-read
				<-begun
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				b.answers = bufio.NewReader(resp.Body)
				b.expect(text204(1), text204(2))
				b.expect(`{"lines":2}`, "")
			})
		})
	}
}

// A request of more than 4 MiB is answered while it is read: so much, and no more, is read ahead of what is answered.
func TestBulkAnswerAfterTooMuch(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, _ *wspush.Conn, _ *testutil.Client) {
		for _, head := range []string{
			"Content-Type: application/x-ndjson\r\nContent-Length: 4194305\r\n", "Content-Type: application/x-ndjson; answer=after\r\nTransfer-Encoding: chunked\r\n",
		} {
			b := &bulkRequest{t: t, conn: testutil.Pipe(t, w)}
			b.write("POST /ws/@connections HTTP/1.1\r\nHost: worker\r\n" + head + "\r\n")
			go func() { // until the answer is no longer read
				body := strings.Repeat(textLine(nobody, "a")+"\n", 100)
				if strings.Contains(head, "chunked") {
					body = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
				}
				for {
					if _, err := io.WriteString(b.conn, body); err != nil {
						return
					}
				}
			}()
			b.head()
			b.conn.Close()
		}
	})
}

// A checked request ends at the first line that is not whole or not the next one. What comes before is answered, and nothing
// after it is begun.
func TestBulkChecked(t *testing.T) {
	checked := func(number int, line string) string {
		return fmt.Sprintf(`{"seq":%d,"crc":"%08x",%s`, number, crc32.ChecksumIEEE(fmt.Append([]byte(line[1:]), number)), line[1:])
	}
	for name, test := range map[string]struct {
		lines func(id string) []string
		want  []string // texts that are written
		last  string
	}{
		"whole": {func(id string) []string {
			return []string{checked(1, textLine(id, "one")), "", checked(2, textLine(id, "two")), checked(3, `{ "text" : "\u0033", "to":["`+id+`"]}`)}
		}, []string{"one", "two", "3"}, `{"lines":3}`},
		"missing": {func(id string) []string {
			return []string{checked(1, textLine(id, "one")), checked(3, textLine(id, "three")), checked(4, textLine(id, "four"))}
		}, []string{"one"}, `{"lines":1,"type":"urn:wspush:damaged","detail":"parts of the request were lost on the way: a line is missing, or is not whole; of what follows nothing was written, so send it again"}`},
		"joined": {func(id string) []string {
			return []string{checked(1, textLine(id, "one")), checked(2, textLine(id, "two"))[:60] + checked(3, textLine(nobody, "three"))[60:]}
		}, []string{"one"}, `{"lines":1,"type":"urn:wspush:damaged","detail":"parts of the request were lost on the way: a line is missing, or is not whole; of what follows nothing was written, so send it again"}`},
		"unchecked": {func(id string) []string { return []string{textLine(id, "one")} },
			nil, `{"lines":0,"type":"urn:wspush:damaged","detail":"parts of the request were lost on the way: a line is missing, or is not whole; of what follows nothing was written, so send it again"}`},
	} {
		t.Run(name, func(t *testing.T) {
			bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
				b := &bulkRequest{t: t, conn: push}
				b.write("POST /ws/@connections HTTP/1.1\r\nHost: worker\r\nContent-Type: application/x-ndjson; check=crc32\r\nTransfer-Encoding: chunked\r\n\r\n")
				b.head()
				read := expecting(client, test.want...)
				b.send(test.lines(conn.ID())...)
				if name == "whole" {
					b.end()
				}
				for range test.want {
					if line := b.answer(); !strings.Contains(line, `"status":204`) {
						t.Error(line)
					}
				}
				b.expect(test.last, "")
				<-read
				if s := w.Stats(); s.Written != uint64(len(test.want)) || s.Refused+s.Unknown != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}
