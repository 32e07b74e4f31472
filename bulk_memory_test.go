//go:build slow

package wspush_test

import (
	"crypto/tls"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

func (r *heldRequest) send(b []byte) {
	r.t.Helper()
	if _, err := r.body.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

// flood sends lines until the request is over. They are more than anybody takes.
func (r *heldRequest) flood(lines []byte) {
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for {
			if _, err := r.body.Write(lines); err != nil {
				return
			}
		}
	}()
	r.t.Cleanup(func() { r.end(); <-sent })
}

// answer reads a line of the answer.
func (r *heldRequest) answer() string {
	r.t.Helper()
	<-r.begun
	if r.answers == nil {
		r.t.Fatal("no answer")
	}
	line, err := r.answers.ReadString('\n')
	if err != nil {
		r.t.Fatalf("%q: %v", line, err)
	}
	return line
}

// liveHeap returns how many bytes are in use, once that does not change any more.
func liveHeap() int64 {
	last, same := int64(-1), 0
	for {
		runtime.GC()
		runtime.GC() // what is in pools goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		now := int64(m.HeapAlloc + m.StackInuse)
		if diff := now - last; last >= 0 && max(diff, -diff) < heapPrecision {
			if same++; same == 2 {
				return now
			}
		} else {
			same = 0
		}
		last = now
		<-time.After(25 * time.Millisecond)
	}
}

// held returns how many bytes are in use beyond before, within the precision of liveHeap. If they are more than most, it looks again for a
// while: on a busy machine the server may still be taking in what it was sent, although nothing seems to change.
func held(before, most int64) int64 {
	for range 20 {
		if now := liveHeap() - heapPrecision - before; now <= most {
			return now
		}
	}
	return liveHeap() - heapPrecision - before
}

// heapPrecision is by how many bytes the heap differs from one look at it to the next, whatever the server does.
const heapPrecision = 32 << 10

// allocated returns how many bytes have been allocated so far.
func allocated() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.TotalAlloc)
}

// filled returns a text of about that size: begin, middle as often as there is room, and end.
func filled(size int, begin, middle, end string) []byte {
	return []byte(begin + strings.Repeat(middle, (size-len(begin)-len(end))/len(middle)) + end)
}

// hostileLines are lines of about that size, each of which means much to a reader that is not careful.
func hostileLines(size int) map[string][]byte {
	to := `{"to":"` + nobody + `",`
	return map[string][]byte{
		"maps":         filled(size, `{"x":[`, `{"":0},`, `0]}`),
		"maps in to":   filled(size, `{"to":[`, `{"":0},`, `0]}`),
		"lists":        filled(size, `{"text":`, `[`, `]}`),
		"numbers":      filled(size, `{"ref":[`, `1,`, `0]}`),
		"long name":    filled(size, `{"`, `\u0000`, `":0}`),
		"duplicates":   filled(size, to, `"text":null,`, `"text":""}`),
		"escapes":      filled(size, to+`"text":"`, `\u0000`, `"}`),
		"pairs":        filled(size, to+`"text":"`, `\ud83d\ude00`, `"}`),
		"text":         filled(size, to+`"text":"`, `a`, `"}`),
		"binary":       filled(size, to+`"binary":"`, `AAAA`, `"}`),
		"long ref":     filled(size, to+`"text":"","ref":"`, `\u0000`, `"}`),
		"long timeout": filled(size, to+`"text":"","timeout":"`, `9`, `h"}`),
		"long target":  filled(size, `{"text":"","to":"`, `\u0061`, `"}`),
		"targets":      filled(size, `{"text":"","to":[`, `"a",`, `"b"]}`),
	}
}

// bulkProtocols runs a test with bulk requests over HTTP/1.1, without and with TLS, and over HTTP/2. extra is what the protocol may
// take in addition.
func bulkProtocols(t *testing.T, opts wspush.WorkerOptions, test func(t *testing.T, w *wspush.Worker, hold func(media string) *heldRequest, extra int64)) {
	certificate, pool := testutil.NewCertificate(t)
	for name, protocols := range map[string][]string{"HTTP/1.1": nil, "TLS": {"http/1.1"}, "HTTP/2": {"h2"}} {
		t.Run(name, func(t *testing.T) {
			opts := opts
			opts.Logger = noLog
			transport := &http.Transport{DisableCompression: true}
			if protocols != nil {
				opts.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: protocols}
				transport.TLSClientConfig = &tls.Config{RootCAs: pool, NextProtos: protocols}
				transport.ForceAttemptHTTP2 = protocols[0] == "h2"
				transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerConnection: 64 << 10, MaxReceiveBufferPerStream: 64 << 10} // what the publisher holds is little
			}
			w := newWorker(t, &opts)
			t.Cleanup(transport.CloseIdleConnections)
			extra := int64(0)
			if protocols != nil {
				extra = 2 << 20 // the window of HTTP/2 and buffers of TLS, and what the publisher needs for them
			}
			test(t, w, func(media string) *heldRequest {
				return hold(t, w, &http.Client{Transport: transport}, protocols != nil, media)
			}, extra)
		})
	}
}

// A bulk line costs its length and no multiple of that, whatever is in it; and a request that has had its answer holds nothing of it.
func TestBulkMemoryOfLine(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	const size = 2 << 20
	lines := hostileLines(size)
	bulkProtocols(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, hold func(string) *heldRequest, extra int64) {
		r := hold("application/x-ndjson")
		r.send([]byte(textLine(nobody, "") + "\n"))
		r.answer() // by now the connection and its buffers are there
		before := liveHeap()
		for name, line := range lines {
			cost := allocated()
			r.send(line)
			r.send([]byte("\n"))
			answer := r.answer()
			if cost = allocated() - cost; cost > 6*size { // it comes in pieces, for which there is twice as much room each time
				t.Errorf("%s: %d bytes were allocated for a line of %d", name, cost, size)
			}
			if len(answer) > 2<<10 {
				t.Errorf("%s: an answer of %d bytes", name, len(answer))
			}
		}
		if n := held(before, wspush.BulkIdle+extra); n > wspush.BulkIdle+extra {
			t.Errorf("%d bytes are held after the answers", n)
		}
		runtime.KeepAlive(lines)
	})
}

// Of half a line no more is held than twice its length, or as much as a line may have.
func TestBulkMemoryOfHalfLine(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	const limit = 6<<20 + 64<<10 // of a line
	type half struct {
		text []byte
		most int64
	}
	halves := map[string]half{}
	for name, size := range map[string]int{"of 2 MiB": 2<<20 - 100, "as long as can be": limit, "too long": limit + 1, "far too long": 2 * limit} {
		most := int64(min(2*size, limit))
		if size > limit {
			most = 0
		}
		halves[name] = half{filled(size, `{"text":"`, "0", ""), most}
	}
	for name, begin := range map[string]string{"lists": `{"x":[[`, "targets": `{"to":["`} {
		halves[name] = half{filled(2<<20-100, begin, "0", ""), 4 << 20}
	}
	bulkProtocols(t, wspush.WorkerOptions{}, func(t *testing.T, w *wspush.Worker, hold func(string) *heldRequest, extra int64) {
		r := hold("application/x-ndjson")
		r.send([]byte(textLine(nobody, "") + "\n"))
		r.answer()
		before := liveHeap()
		for name, half := range halves {
			r.send(half.text)
			most := half.most + wspush.BulkIdle + extra
			if n := held(before, most); n > most {
				t.Errorf("%s: %d bytes are held", name, n)
			}
			r.send([]byte("\n"))
			r.answer()
		}
		runtime.KeepAlive(halves)
	})
}

// However a request is filled whose answers nobody reads, it holds no more than is documented.
func TestBulkMemoryOfRequest(t *testing.T) {
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	const (
		started  = 4<<20 + 1<<20 // and its answers, with what Go's memory takes in addition
		gathered = 2 << 20
		ahead    = 384 << 10
		whole    = 6<<20 + 128<<10 // read ahead of a request that is read whole
	)
	ref := strings.Repeat(`\u0001`, 256)
	var live []string
	to := func(id, rest string) string { return `{"to":"` + id + `",` + rest + "}\n" }
	each := func(rest string) (all string) { // a connection may hold a quarter of a request's room
		for _, id := range live {
			all += to(id, rest)
		}
		return all
	}
	const confirmed = `"confirm":"received","timeout":"30s",`
	for name, test := range map[string]struct {
		lines func() string
		isAll bool // it is tried in every way
	}{
		"refs":             {func() string { return strings.Repeat(to(nobody, `"text":"","ref":"`+ref+`"`), 100) }, true},
		"unconfirmed refs": {func() string { return strings.Repeat(each(confirmed+`"text":"","ref":"`+ref+`"`), 100) }, true},
		"no refs":          {func() string { return strings.Repeat(to(nobody, `"text":""`), 1000) }, false},
		"wrong members":    {func() string { return strings.Repeat(`{"ref":"a","`+strings.Repeat(`\u0000`, 64)+`":1}`+"\n", 100) }, false},
		"no JSON":          {func() string { return strings.Repeat("{\n", 10_000) }, false},
		"many targets": {func() string {
			return `{"text":"","ref":"` + ref + `","to":[` + strings.Repeat(`"`+nobody+`",`, 1000) + `"` + nobody + `"]}` + "\n"
		}, false},
		"unconfirmed":        {func() string { return strings.Repeat(each(confirmed+`"text":""`), 100) }, false},
		"unconfirmed 33 KiB": {func() string { return each(confirmed + `"text":"` + strings.Repeat("a", 33<<10) + `"`) }, false},
		"unconfirmed, shared": {func() string {
			return `{"text":"","confirm":"received","to":["` + strings.Join(live, `","`) + `"]}` + "\n"
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			bulkProtocols(t, wspush.WorkerOptions{PushTimeout: -1, WriteTimeout: -1}, func(t *testing.T, w *wspush.Worker, hold func(string) *heldRequest, extra int64) {
				isPlain := strings.HasSuffix(t.Name(), "HTTP/1.1")
				if !isPlain && !test.isAll {
					t.Skip("tried over HTTP/1.1")
				}
				server := serve(t, w, nil)
				live = nil
				for range 6 {
					_, conn, _ := dial(t, w, server, testutil.Options{Silent: true})
					live = append(live, conn.ID())
				}
				lines := []byte(test.lines())
				for media, most := range map[string]int64{
					"application/x-ndjson":               started + gathered + ahead + wspush.BulkIdle,
					"application/x-ndjson; answer=after": started + gathered + whole + wspush.BulkIdle,
				} {
					if media != "application/x-ndjson" && !test.isAll {
						continue
					}
					most += extra
					before := liveHeap()
					r := hold(media)
					r.flood(lines)
					held := liveHeap() - before
					t.Logf("%s: %d bytes are held, of at most %d", media, held, most)
					if held > most {
						t.Errorf("%s: %d bytes are held", media, held)
					}
					r.end()
					testutil.Eventually(t, "the request to be forgotten", func() bool { return liveHeap()-before < 1<<20+extra })
				}
				runtime.KeepAlive(lines)
			})
		})
	}
	if all := int64(started + gathered + ahead + 6<<20 + 64<<10 + 1<<20 + wspush.BulkIdle); all != wspush.BulkMost(1<<20, false) {
		t.Errorf("the whole is %d and not %d bytes", wspush.BulkMost(1<<20, false), all)
	}
}
