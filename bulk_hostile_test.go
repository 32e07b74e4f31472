package wspush_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

var noLog = slog.New(slog.DiscardHandler)

// What is left of the body of a bulk request that the worker has ended is not the next request.
func TestBulkRestOfBodyIsNoRequest(t *testing.T) {
	for name, framing := range map[string][2]string{
		"Content-Length": {"Content-Length: 1000", `{"to"`},
		"chunked":        {"Transfer-Encoding: chunked", "400\r\n" + `{"to"`}, // in the midst of a chunk
		"malformed":      {"Transfer-Encoding: chunked", "no chunk\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
				fmt.Fprintf(push, "POST /ws/@connections HTTP/1.1\r\nHost: w\r\nContent-Type: application/x-ndjson\r\n%s\r\n\r\n%s", framing[0], framing[1])
				in := bufio.NewReader(push)
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body) // for 30 s
				t.Logf("first answer: %s close=%v %q %v", resp.Status, resp.Close, body, err)
				synctest.Wait()
				read := make(chan struct{})
				go func() { defer close(read); client.Message() }()
				go fmt.Fprintf(push, "POST /ws/@connections/%s HTTP/1.1\r\nHost: w\r\nContent-Length: 8\r\n\r\nsmuggled", conn.ID())
				if resp, err := http.ReadResponse(in, nil); err == nil {
					t.Errorf("what belongs to the body is answered as a request: %s", resp.Status)
				}
				conn.Close(1000, "")
				<-read
			})
		})
	}
}

// A connection on which there was a bulk request serves the next one as any other does, in an application's own server, too.
func TestBulkThenAnother(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
		in := bufio.NewReader(push)
		ask := func(request string) error {
			go fmt.Fprint(push, request)
			resp, err := http.ReadResponse(in, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			return err
		}
		if err := ask("POST /ws/@connections HTTP/1.1\r\nHost: w\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1\r\n\r\n\n"); err != nil {
			t.Fatal(err)
		}
		<-time.After(11 * time.Second)
		if err := ask("GET /ws/@connections/" + conn.ID() + " HTTP/1.1\r\nHost: w\r\n\r\n"); err != nil {
			t.Errorf("11 s later: %v", err)
		}
	})
}

// A publisher that takes its answers, though slowly, is not cut off.
func TestBulkSlowReader(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{Logger: noLog}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
		const lines = 12_000
		body := strings.Repeat(textLine(nobody, "a")+"\n", lines)
		go func() {
			fmt.Fprintf(push, "POST /ws/@connections HTTP/1.1\r\nHost: w\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}()
		in := bufio.NewReaderSize(push, 4096)
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		for buf := make([]byte, 4096); ; {
			n, err := resp.Body.Read(buf)
			total += n
			if err != nil {
				if err != io.EOF || !bytes.HasSuffix(buf[:n], []byte(`{"lines":12000}`+"\n")) && total < lines*100 {
					t.Errorf("cut off after %d bytes: %v", total, err)
				}
				return
			}
			<-time.After(100 * time.Millisecond) // 40 KB a second
		}
	})
}

// HTTP/1.0 knows no 100.
func TestBulkContinueOld(t *testing.T) {
	w := newWorker(t, nil)
	push := dialPush(t, w)
	fmt.Fprintf(push, "POST /ws/@connections HTTP/1.0\r\nContent-Type: application/x-ndjson\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n\n")
	if answer, _ := io.ReadAll(push); !bytes.HasPrefix(answer, []byte("HTTP/1.0 200")) && !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
		t.Errorf("%.100q", answer)
	}
}

// The last line of an answer is the last, also when pushes have just failed.
func TestBulkLastLine(t *testing.T) {
	bubbleBulk(t, wspush.WorkerOptions{WriteTimeout: -1, MaxPending: 1000}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, client *testutil.Client) {
		ctx, cancel := context.WithCancel(context.Background())
		stalled := start(ctx, conn, big[:2000]) // the client does not read
		for range 100 {
			b := openBulk(t, testutil.Pipe(t, w))
			line := textLine(conn.ID(), "a")
			body := fmt.Sprintf("%x\r\n%s\n%s\n\r\n0\r\n\r\n", 2*len(line)+2, line, line)
			b.write(body)
			for i := range 2 {
				if answer := b.answer(); !strings.HasPrefix(answer, fmt.Sprintf(`{"line":%d,"status":429,`, i+1)) {
					t.Fatal(answer)
				}
			}
			b.expect(`{"lines":2}`, "")
			b.conn.Close()
		}
		cancel()
		<-stalled
	})
}

// A publisher that leaves while its request holds as much as it may is noticed at once: whether the worker still reads, or has
// stopped reading because it has enough.
func TestBulkLeavesAtBound(t *testing.T) {
	for _, most := range []int{42, 1 << 30} { // lines; there is room for 41
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			bubbleBulk(t, wspush.WorkerOptions{MaxPending: -1, WriteTimeout: -1, Logger: noLog}, func(t *testing.T, w *wspush.Worker, push net.Conn, conn *wspush.Conn, _ *testutil.Client) {
				ids := []string{conn.ID()}
				for range 5 { // six of these may hold more than a request may
					c, _ := greeted(t, w, testutil.Handshake(t, testutil.Pipe(t, newHandler(t, w, nil)), testutil.Options{Timeout: -1}))
					ids = append(ids, c.ID())
				}
				openBulk(t, push)
				sent := make(chan int, 1)
				go func() {
					n := 0
					for ; n < most; n++ {
						line := textLine(ids[n%len(ids)], big[:100_000])
						if _, err := fmt.Fprintf(push, "%x\r\n%s\n\r\n", len(line)+1, line); err != nil {
							break
						}
					}
					sent <- n
				}()
				synctest.Wait()
				if s := w.Stats(); s.Refused+s.Unknown != 0 {
					t.Fatalf("before it leaves: %+v", s)
				}
				left := time.Now()
				push.Close()
				begun := uint64(len(ids)) // a message to each client
				for s := w.Stats(); s.Unknown != begun || s.Refused < 30; s = w.Stats() {
					if time.Since(left) > time.Second {
						t.Fatalf("a second later: %+v", s)
					}
					<-time.After(50 * time.Millisecond)
				}
				if n := <-sent; n < 42 {
					t.Errorf("only %d lines were sent: not as many as a request may hold", n)
				}
			})
		})
	}
}

// The same over TCP, with and without TLS, where the publisher's own system has more of the request to send.
func TestBulkLeavesAtBoundTCP(t *testing.T) {
	certificate, pool := testutil.NewCertificate(t)
	for name, opts := range map[string]wspush.WorkerOptions{
		"plain": {}, "TLS": {TLS: &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"http/1.1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts.MaxPending, opts.WriteTimeout, opts.PushTimeout, opts.Logger = -1, -1, -1, noLog
			w := newWorker(t, &opts)
			server := serve(t, w, nil)
			var ids []string
			for range 6 {
				_, conn, _ := dial(t, w, server, testutil.Options{Silent: true})
				ids = append(ids, conn.ID())
			}
			push := dialPush(t, w)
			if opts.TLS != nil {
				push = tls.Client(push, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
			}
			openBulk(t, push)
			for n := 0; ; n++ {
				// To be confirmed, so that they wait however much the sockets take.
				line := fmt.Sprintf(`{"to":%q,"text":%q,"confirm":"received","timeout":"30s"}`, ids[n%len(ids)], big[:100_000])
				_ = push.SetWriteDeadline(time.Now().Add(time.Second))
				if _, err := fmt.Fprintf(push, "%x\r\n%s\n\r\n", len(line)+1, line); err != nil {
					break
				}
			}
			push.Close()
			testutil.Eventually(t, "its pushes to be withdrawn", func() bool { s := w.Stats(); return s.Unknown+s.Refused >= 40 })
		})
	}
}

// Lines that never end give way to others, and their requests say so. What a request has read ahead is given back.
func TestBulkMaxPushBytesAll(t *testing.T) {
	const limit = 1 << 20
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytesAll: limit})
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	var all []*bufio.Reader
	for range 8 {
		push := dialPush(t, w)
		fmt.Fprintf(push, "POST /ws/@connections HTTP/1.1\r\nHost: w\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99000000\r\n\r\n"+
			"{\"to\":%q,\"text\":\"whole\"}\n{\"to\":\"", conn.ID())
		go io.WriteString(push, strings.Repeat("x", 200_000))
		client.Expect(testutil.Text, "whole")
		all = append(all, bufio.NewReader(push))
	}
	long := strings.Repeat("y", 400_000)
	began := time.Now()
	if resp := post(t, conn.PathAddresses()[0], "", []byte(long)); resp.StatusCode != 204 {
		t.Errorf("a good publisher: %s, after %v", resp.Status, time.Since(began))
	}
	client.Expect(testutil.Text, long)
	ended := 0
	for _, in := range all {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewReader(resp.Body)
		line, _ := answers.ReadString('\n')
		if !strings.Contains(line, `"line":1`) {
			t.Errorf("the whole line is answered %q", line)
		}
		if answers.Buffered() > 0 || ended == 0 {
			if line, _ := answers.ReadString('\n'); !strings.Contains(line, `"lines":1`) || !strings.Contains(line, "urn:wspush:full") {
				t.Errorf("the last line is %q", line)
			}
			ended++
			break
		}
	}
	if ended == 0 {
		t.Error("no request has ended")
	}
}

// However much a request brings at once, it keeps nothing of the room when it pauses.
func TestBulkGivesBack(t *testing.T) {
	const limit = 400_000
	w := newWorker(t, &wspush.WorkerOptions{MaxPushBytesAll: limit})
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	for i := range 10 {
		push := dialPush(t, w)
		line := fmt.Sprintf("{\"to\":%q,\"text\":%q}\n", conn.ID(), strings.Repeat("z", 100_000))
		framing := []string{"Content-Length: 99000000", fmt.Sprintf("Content-Length: %d", 3*len(line)+1)}[i%2] // which is read ahead
		fmt.Fprintf(push, "POST /ws/@connections HTTP/1.1\r\nHost: w\r\nContent-Type: application/x-ndjson\r\n%s\r\n\r\n%s", framing, line+line+line)
		for range 3 {
			client.Expect(testutil.Text, strings.Repeat("z", 100_000))
		}
	}
	for range 3 {
		long := strings.Repeat("y", limit/2)
		began := time.Now()
		if resp := post(t, conn.PathAddresses()[0], "", []byte(long)); resp.StatusCode != 204 || time.Since(began) > 900*time.Millisecond {
			t.Errorf("%s, after %v", resp.Status, time.Since(began))
		}
		client.Expect(testutil.Text, long)
	}
}
