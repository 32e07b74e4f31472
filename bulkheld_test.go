package wspush_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// heldRequest is a bulk request to the push port that stays open. Nothing that is sent is copied, so that what is measured is the
// worker's.
type heldRequest struct {
	t       testing.TB
	body    *io.PipeWriter
	cancel  context.CancelFunc
	begun   chan struct{} // closed when the header of the answer has come, or the request has failed
	answers *bufio.Reader // nil if it has failed
}

// hold begins a bulk request.
func hold(t testing.TB, w *wspush.Worker, client *http.Client, isTLS bool, media string) *heldRequest {
	t.Helper()
	scheme := "http"
	if isTLS {
		scheme = "https"
	}
	body, write := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+w.Addr().String()+"/ws/@connections", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", media)
	r := &heldRequest{t: t, body: write, cancel: cancel, begun: make(chan struct{})}
	over := make(chan struct{})
	go func() {
		defer close(over)
		resp, err := client.Do(req)
		if err == nil {
			defer resp.Body.Close()
			r.answers = bufio.NewReader(resp.Body)
		}
		close(r.begun)
		<-ctx.Done()
	}()
	t.Cleanup(func() { r.end(); <-over })
	return r
}

// end cuts the request off.
func (r *heldRequest) end() {
	r.cancel()
	_ = r.body.CloseWithError(io.ErrUnexpectedEOF)
}

// What many requests with long answers are in these tests.
const (
	heldRequests = 12
	heldLines    = 300 // of each
	heldLimit    = 256 << 10
)

// heldLine is a line that has a long answer, of which heldAnswer is the length.
var (
	heldLine   = fmt.Sprintf(`{"to":%q,"text":"","ref":"%s"}`, nobody, strings.Repeat(`\u0001`, 256))
	heldAnswer = len(fmt.Sprintf(`{"line":1,"ref":"%s",%s}`, strings.Repeat(`\u0001`, 256), gone)) + 1
)

// checkHeld tells whether the answers that there are, and that nobody has read, are few enough. read are as many bytes as may be on their
// way.
func checkHeld(t *testing.T, w *wspush.Worker, read int) {
	t.Helper()
	held := int(w.Stats().RefusedBy.Gone) * heldAnswer
	if most := heldLimit + heldRequests*(wspush.BulkFree+heldAnswer) + read; held > most {
		t.Errorf("%d bytes of answers are held, of at most %d", held, most)
	}
	if least := heldRequests * (wspush.BulkFree - 2*heldAnswer); held < least {
		t.Errorf("%d bytes of answers are held: each request may hold its share, %d together", held, least)
	}
	if sum := wspush.BulkRoomHeld(w); sum > heldLimit || sum < heldLimit/2 {
		t.Errorf("the worker counts %d bytes, of %d", sum, heldLimit)
	}
}

// checkAnswers reads the answers to one such request, in order.
func checkAnswers(t *testing.T, answers *bufio.Reader) {
	for i := 1; ; i++ {
		text, err := answers.ReadString('\n')
		if err != nil {
			t.Errorf("after %d answers: %v", i-1, err)
			return
		}
		var a struct{ Line, Status, Lines int }
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Error(err)
			return
		}
		if i > heldLines {
			if a.Lines != heldLines {
				t.Errorf("the last line is %s", text)
			}
			if rest, err := answers.ReadString('\n'); err != io.EOF || rest != "" { // until then the worker may still be writing
				t.Errorf("after the last line: %q, %v", rest, err)
			}
			return
		}
		if a.Line != i || a.Status != 410 {
			t.Errorf("line %d: %s", i, text)
			return
		}
	}
}

// Many requests whose answers nobody reads hold no more together than MaxPushBytesAll, and a little each. When they are read, all of them
// go on, and each line has its answer.
func TestBulkHoldsTogether(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{MaxPushBytesAll: heldLimit, Logger: noLog}, func(t *testing.T, w *wspush.Worker, _ net.Conn, _ *wspush.Conn, _ *testutil.Client) {
		var all []*bulkRequest
		sent := make(chan error, heldRequests)
		for range heldRequests {
			b := openBulk(t, testutil.Pipe(t, w))
			all = append(all, b)
			go func() {
				for range heldLines {
					if _, err := fmt.Fprintf(b.conn, "%x\r\n%s\n\r\n", len(heldLine)+1, heldLine); err != nil {
						sent <- err
						return
					}
				}
				_, err := io.WriteString(b.conn, "0\r\n\r\n")
				sent <- err
			}()
		}
		synctest.Wait()
		checkHeld(t, w, heldRequests*4<<10) // what net/http has of them
		read := make(chan bool, heldRequests)
		for _, b := range all {
			go func() { checkAnswers(t, b.answers); read <- true }()
		}
		for range all {
			<-read
			if err := <-sent; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if sum := wspush.BulkRoomHeld(w); sum != 0 {
			t.Errorf("%d bytes count for ever", sum)
		}
	})
}

// The same over HTTP/2.
func TestBulkHoldsTogetherHTTP2(t *testing.T) {
	const window = 64 << 10
	certificate, pool := testutil.NewCertificate(t)
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytesAll: heldLimit, Logger: noLog, TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerConnection: window, MaxReceiveBufferPerStream: window},
	}
	defer transport.CloseIdleConnections()
	var all []*heldRequest
	for range heldRequests {
		r := hold(t, w, &http.Client{Transport: transport}, true, "application/x-ndjson")
		all = append(all, r)
		sent := make(chan bool)
		t.Cleanup(func() { r.end(); <-sent })
		go func() {
			defer close(sent)
			for range heldLines {
				if _, err := io.WriteString(r.body, heldLine+"\n"); err != nil {
					return
				}
			}
			_ = r.body.Close()
		}()
	}
	last, since := uint64(0), time.Now()
	testutil.Eventually(t, "the requests to stall", func() bool {
		if now := w.Stats().RefusedBy.Gone; now != last {
			last, since = now, time.Now()
		}
		return wspush.BulkRoomHeld(w) >= heldLimit/2 && time.Since(since) > 200*time.Millisecond // a pause before that is the machine's
	})
	checkHeld(t, w, heldRequests*window)
	read := make(chan bool, heldRequests)
	for _, r := range all {
		<-r.begun
		go func() {
			defer func() { read <- true }()
			if r.answers == nil {
				t.Error("no answer")
				return
			}
			checkAnswers(t, r.answers)
		}()
	}
	for range all {
		<-read
	}
	testutil.Eventually(t, "nothing to count", func() bool { return wspush.BulkRoomHeld(w) == 0 })
}

// While others hold everything, a request goes on with what is small, and what is large waits for them. Nothing of it is late because of
// what waits behind it. A publisher that leaves gives everything back.
func TestBulkHoldsLarge(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprint(leaves), func(t *testing.T) {
			bubbleBulk(t, wspush.WorkerOptions{MaxPushBytesAll: heldLimit, Logger: noLog}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
				filling := openBulk(t, push)
				stop := make(chan bool)
				go func() {
					defer close(stop)
					for range heldLines {
						if _, err := fmt.Fprintf(filling.conn, "%x\r\n%s\n\r\n", len(heldLine)+1, heldLine); err != nil {
							return
						}
					}
				}()
				synctest.Wait()
				good := openBulk(t, testutil.Pipe(t, w))
				large := textLine(conn.ID(), big[:100_000])
				for i := range 20 {
					good.send(textLine(conn.ID(), fmt.Sprint(i)))
					client.Expect(testutil.Text, fmt.Sprint(i))
					good.expect(text204(i + 1))
				}
				go good.send(textLine(conn.ID(), "before"), large, textLine(conn.ID(), "after"))
				client.Expect(testutil.Text, "before")
				good.expect(text204(21))
				synctest.Wait()
				if s := w.Stats(); s.Written != 21 {
					t.Errorf("%d pushes are written although there is no room", s.Written)
				}
				if leaves {
					filling.conn.Close()
				} else {
					go func() { _, _ = io.Copy(io.Discard, filling.answers) }()
				}
				client.Expect(testutil.Text, big[:100_000])
				client.Expect(testutil.Text, "after")
				good.expect(text204(22), text204(23))
				if !leaves {
					<-stop
					filling.end()
				}
				good.end()
				good.expect(`{"lines":23}`, "")
				synctest.Wait()
				if sum := wspush.BulkRoomHeld(w); sum != 0 {
					t.Errorf("%d bytes count for ever", sum)
				}
			})
		})
	}
}
