//go:build slow

package wspush_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// The tests with this tag take longer than the others may. They wait for deadlines of real connections, which fake time does not
// reach, or repeat what goes wrong only once in many attempts. Run them with: go test -race -tags slow -run '^TestSlow' .

// pause lets real time pass.
func pause(d time.Duration) { <-time.After(d) }

// A bulk request may be silent for up to 2 minutes, over HTTP/2 as over HTTP/1.
func TestSlowBulkSilentHTTP2(t *testing.T) {
	certificate, _ := testutil.NewCertificate(t)
	w := newWorker(t, &wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	client := publishing(t)
	client.Timeout = 0
	r, body := io.Pipe()
	req, _ := http.NewRequest("POST", "https://"+w.Addr().String()+"/ws/@connections", r)
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for range 2 {
		fmt.Fprintln(body, textLine(nobody, "a"))
		line, err := in.ReadString('\n')
		t.Logf("%q %v", line, err)
		if err != nil {
			t.Fatal(err)
		}
		pause(11 * time.Second)
	}
	body.Close()
	rest, err := io.ReadAll(in)
	t.Logf("%q %v", rest, err)
	if err != nil || !strings.Contains(string(rest), `{"lines":2}`) {
		t.Errorf("%q %v", rest, err)
	}
}

// A publisher that is still sending when the worker shuts down gets the last line of the answer.
func TestSlowBulkShutdownWhileSending(t *testing.T) {
	for i := range 5 {
		w := newWorker(t, &wspush.WorkerOptions{Logger: noLog})
		push := dialPush(t, w)
		b := openBulk(t, push)
		var running sync.WaitGroup
		running.Go(func() {
			body := strings.Repeat(textLine(nobody, "a")+"\n", 100)
			for {
				if _, err := fmt.Fprintf(push, "%x\r\n%s\r\n", len(body), body); err != nil {
					return
				}
			}
		})
		time.AfterFunc(200*time.Millisecond, func() {
			ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
			defer cancel()
			_ = w.Shutdown(ctx)
		})
		last := ""
		s := bufio.NewScanner(b.answers)
		for s.Scan() {
			last = s.Text()
		}
		if !strings.HasPrefix(last, `{"lines":`) {
			t.Errorf("attempt %d: last line %.100q, %v", i, last, s.Err())
		}
		push.Close()
		running.Wait()
	}
}

// When a publisher leaves while its pushes are being started, all of them are withdrawn.
func TestSlowBulkLeavesEarly(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{Logger: noLog})
	server := serve(t, w, nil)
	var to []string
	for range 400 {
		_, conn, _ := dial(t, w, server, testutil.Options{Silent: true})
		to = append(to, fmt.Sprintf("%q", conn.ID()))
	}
	list := "[" + strings.Join(to, ",") + "]"
	left := 0
	for i := range 150 {
		push := dialPush(t, w)
		before := w.Stats()
		body := fmt.Sprintf(`{"to":%s,"text":"a","confirm":"received","timeout":"30s"}`, list)
		fmt.Fprintf(push, "POST /ws/@connections HTTP/1.1\r\nHost: w\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		pause(time.Duration(i%50) * 200 * time.Microsecond)
		_ = push.(*net.TCPConn).SetLinger(0)
		push.Close()
		ended := 0
		for range 20 { // up to 2 s
			pause(100 * time.Millisecond)
			s := w.Stats()
			if ended = int(s.Unknown - before.Unknown + s.Refused - before.Refused); ended == 0 || ended == 400 {
				break
			}
		}
		if ended > 0 && ended < 400 {
			left++
			t.Logf("attempt %d: of 400 pushes, %d go on", i, 400-ended)
		}
		if left > 1 {
			break
		}
	}
	if left > 0 {
		t.Errorf("in %d attempts, pushes went on without their publisher", left)
	}
}

// heap returns how many bytes are in use now.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// takes sends bodies until the worker has taken no more for a second. It returns how many bytes the worker has taken, and how much
// memory it holds for them.
func takes(t *testing.T, push net.Conn, most int, body func(i int) string) (sent, held int) {
	before := heap()
	var taken atomic.Int64
	go func() {
		for i := 0; int(taken.Load()) < most; i++ {
			b := body(i)
			if _, err := fmt.Fprintf(push, "%x\r\n%s\r\n", len(b), b); err != nil {
				return
			}
			taken.Add(int64(len(b)))
		}
	}()
	for last := int64(-1); last != taken.Load(); pause(time.Second) {
		last = taken.Load()
	}
	return int(taken.Load()), heap() - before
}

// The worker holds no more than the documented 4 MiB for a publisher that sends lines with long unknown members and reads no
// answers.
func TestSlowBulkLongNames(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{Logger: noLog})
	b := openBulk(t, dialPush(t, w))
	line := `{"` + strings.Repeat("<", 1<<20) + `":1}` + "\n"
	sent, held := takes(t, b.conn, 64<<20, func(int) string { return line })
	t.Logf("%d MiB taken, %d MiB held", sent>>20, held>>20)
	if held > 16<<20 {
		t.Errorf("%d MiB are held of one request", held>>20)
	}
}

// What waits of a message to many connections is bounded, even if the first of them is gone or has received it already.
func TestSlowBulkListMemory(t *testing.T) {
	for name, list := range map[string]bool{"alone": false, "behind one that is gone": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorker(t, &wspush.WorkerOptions{Logger: noLog, WriteTimeout: -1})
			h := newHandler(t, w, nil)
			var ids []string
			for range 60 { // none of which reads
				_, conn := pipeClient(t, w, h)
				ids = append(ids, conn.ID())
			}
			fill := strings.Repeat("x", 1<<20)
			b := openBulk(t, dialPush(t, w))
			go func() { _, _ = io.Copy(io.Discard, b.answers) }()
			sent, held := takes(t, b.conn, 60<<20, func(i int) string {
				to := fmt.Sprintf("%q", ids[i%len(ids)])
				if list {
					to = fmt.Sprintf("[%q,%s]", nobody, to)
				}
				return fmt.Sprintf(`{"to":%s,"text":%q,"timeout":"30s"}`+"\n", to, fill)
			})
			t.Logf("%d MiB taken, %d MiB held", sent>>20, held>>20)
			if held > 16<<20 {
				t.Errorf("%d MiB are held of one request", held>>20)
			}
			b.conn.Close()
		})
	}
}

func pipeClient(t *testing.T, w *wspush.Worker, h http.Handler) (*testutil.Client, *wspush.Conn) {
	client := testutil.Handshake(t, testutil.Pipe(t, h), testutil.Options{Timeout: -1})
	conn, _ := greeted(t, w, client)
	return client, conn
}
