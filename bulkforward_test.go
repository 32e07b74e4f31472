package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/stats"
)

// The lines of one request go to the workers that hold their connections, by whichever worker it comes in.
func TestBulkForwarded(t *testing.T) {
	authorize := wspush.BearerTokens("secret")
	var workers []*wspush.Worker
	var clients []*testutil.Client
	var conns []*wspush.Conn
	for range 3 {
		w := newMember(t, wspush.WorkerOptions{AuthorizePush: authorize, MaxPushBytes: 1000})
		conn, client := connectTo(t, w)
		workers, clients, conns = append(workers, w), append(clients, client), append(conns, conn)
	}
	ended, _ := connectTo(t, workers[1])
	endedID := ended.SealedID()
	ended.Close(1000, "")
	foreign, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: [][]byte{testutil.Key("foreign")}}}))
	unreachable, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: "http://" + deadAddress(t)}}))
	var read []<-chan struct{}
	for i, c := range clients {
		want := []string{"all", fmt.Sprint("for ", i), "confirmed"}
		if i == 1 {
			want = append(want, "", "last")
		}
		read = append(read, expecting(c, append(want, "end")...))
	}

	b := beginBulk(t, dialPush(t, workers[0]), "Authorization: Bearer secret\r\n")
	b.head()
	b.send(fmt.Sprintf(`{"to":[%q,%q,%q],"text":"all","ref":"r"}`, conns[0].SealedID(), conns[1].SealedID(), conns[2].SealedID()))
	b.expect(`{"line":1,"index":0,"ref":"r","status":204}`, `{"line":1,"index":1,"ref":"r","status":204}`, `{"line":1,"index":2,"ref":"r","status":204}`)
	for i, c := range conns {
		b.send(textLine(c.SealedID(), fmt.Sprint("for ", i)))
		b.expect(text204(2 + i))
	}
	for i, c := range conns {
		b.send(fmt.Sprintf(`{"to":%q,"text":"confirmed","confirm":"received"}`, c.SealedID()))
		if i == 1 { // a client confirms when it reads on
			b.send(textLine(c.SealedID(), ""), textLine(c.SealedID(), "last"))
		}
	}
	for _, c := range conns {
		b.send(textLine(c.SealedID(), "end"))
	}
	confirmed, others := 0, map[string]bool{}
	for range 8 {
		if line := b.answer(); strings.Contains(line, `"status":204,"rttMs":`) {
			confirmed++
		} else {
			others[line] = true
		}
	}
	for _, n := range []int{7, 8, 10, 11, 12} {
		if !others[text204(n)] {
			t.Errorf("line %d is not among %v", n, others)
		}
	}
	if confirmed != 3 {
		t.Errorf("%d of 3 are confirmed, and %v", confirmed, others)
	}
	for _, r := range read {
		<-r
	}

	b.send(textLine(endedID, "a"), textLine(foreign.SealedID(), "a"), textLine(unreachable.SealedID(), "a"), textLine(conns[2].SealedID(), big[:1001]))
	b.expect(`{"line":13,`+gone,
		`{"line":14,"status":403,"type":"urn:wspush:forbidden","detail":"none of this worker's keys opens the sealed ID"}`,
		`{"line":15,"status":502,"type":"urn:wspush:unreachable","detail":"the worker that holds the connection cannot be reached from here; nothing was written"}`,
		`{"line":16,"status":413,"type":"urn:wspush:too-large","detail":"the message exceeds the 1000 bytes that the worker takes (MaxPushBytes)"}`)
	b.end()
	b.expect(`{"lines":16}`, "")
	for i, want := range []uint64{0, 5, 3} {
		if s := workers[i].Stats(); i > 0 && s.Written < want {
			t.Errorf("worker %d: %+v", i, s)
		}
	}
}

// deadAddress is one at which nobody listens.
func deadAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Forwarded lines keep their order, many at a time, and each is answered once.
func TestBulkForwardedOrder(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	const n = 5000
	var running sync.WaitGroup
	running.Go(func() {
		for i := range n {
			client.Expect(testutil.Text, fmt.Sprint(i))
		}
	})
	b := openBulk(t, dialPush(t, other))
	running.Go(func() {
		for i := 0; i < n; i += 50 {
			var lines []string
			for j := range 50 {
				lines = append(lines, textLine(conn.SealedID(), fmt.Sprint(i+j)))
			}
			b.send(lines...)
		}
		b.end()
	})
	for i := range n {
		b.expect(text204(i + 1))
	}
	b.expect(fmt.Sprintf(`{"lines":%d}`, n), "")
	running.Wait()
}

// A worker that goes away in the middle leaves the outcome of its lines unknown, or says that nothing was written; lines for
// others go on, and its own find it again when it is back.
func TestBulkForwardedWorkerGone(t *testing.T) {
	t.Parallel()
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	conn, client := connectTo(t, holder)
	own, ownClient := connectTo(t, other)
	closed := make(chan struct{})
	go func() { client.Expect(testutil.Text, "before"); client.AwaitClose(); close(closed) }()
	b := openBulk(t, dialPush(t, other))
	b.send(textLine(conn.SealedID(), "before"))
	b.expect(text204(1))
	shutDown(t, holder)
	<-closed
	b.send(textLine(conn.SealedID(), "after"))
	if line := b.answer(); !strings.HasPrefix(line, `{"line":2,"status":50`) {
		t.Error(line)
	}
	b.send(textLine(own.SealedID(), "own"))
	b.expect(text204(3))
	ownClient.Expect(testutil.Text, "own")
	again := newMember(t, wspush.WorkerOptions{Listen: holder.Addr().String()})
	line := 3
	testutil.Eventually(t, "the worker to be asked again", func() bool { // for a second after it could not be reached, it is not
		line++
		b.send(textLine(conn.SealedID(), "late"))
		return b.answer() == fmt.Sprintf(`{"line":%d,%s`, line, gone)
	})
	conn, client = connectTo(t, again)
	b.send(textLine(conn.SealedID(), "again"))
	b.expect(text204(line + 1))
	client.Expect(testutil.Text, "again")
	b.end()
	b.expect(fmt.Sprintf(`{"lines":%d}`, line+1), "")
}

// A publisher that leaves takes what it has sent through another worker with it.
func TestBulkForwardedLeaves(t *testing.T) {
	t.Parallel()
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	client, silent, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{Silent: true})
	push := dialPush(t, other)
	b := openBulk(t, push)
	b.send(fmt.Sprintf(`{"to":%q,"text":"a","confirm":"received","timeout":"30s"}`, silent.SealedID()))
	client.Expect(testutil.Text, "a")
	push.Close()
	testutil.Eventually(t, "the push to be given up", func() bool { return holder.Stats().Unknown == 1 })
}

// What a request forwards is not forwarded again.
func TestBulkForwardedOnce(t *testing.T) {
	first, second := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	wrong := strings.Replace("http://"+second.Addr().String(), "127.0.0.1", "localhost", 1) // which is not what second calls itself
	conn, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: wrong}}))
	b := openBulk(t, dialPush(t, first))
	b.send(textLine(conn.SealedID(), "a"))
	if line := b.answer(); !strings.HasPrefix(line, `{"line":1,"status":508,"type":"urn:wspush:loop"`) {
		t.Error(line)
	}
	b.end()
	b.expect(`{"lines":1}`, "")
	if resp := post(t, sealedURL(first, conn), "", []byte("a")); resp.StatusCode != 508 {
		t.Error(resp.Status)
	}
	if _, err := first.Push(context.Background(), conn.SealedID(), wspush.Text, nil); !errors.Is(err, wspush.ErrUnreachable) {
		t.Error(err)
	}
}

// Something that is no worker does not get to answer for one, nor to see a message.
func TestBulkForwardedToStranger(t *testing.T) {
	t.Parallel()
	stranger := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		if strings.HasPrefix(r.URL.Path, "/refused/") {
			w.WriteHeader(http.StatusNotFound)
		}
		_ = http.NewResponseController(w).EnableFullDuplex()
		_ = http.NewResponseController(w).Flush()
		if got, _ := io.ReadAll(r.Body); len(bytes.TrimSpace(got)) > 0 {
			t.Errorf("a stranger got %s", got)
		}
	}))
	records := &recorder{}
	w := newMember(t, wspush.WorkerOptions{Logger: slog.New(warnings{records})})
	b := openBulk(t, dialPush(t, w))
	for i, address := range []string{stranger + "/refused", stranger} {
		conn, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: address}}))
		b.send(textLine(conn.SealedID(), "a"))
		if line := b.answer(); !strings.HasPrefix(line, fmt.Sprintf(`{"line":%d,"status":502,`, i+1)) {
			t.Error(line)
		}
	}
	testutil.Eventually(t, "a warning", func() bool { return records.has("no worker with the same keys") })
	if s := w.Stats(); s.Forwarded != 2 || s.Written+s.Unknown+s.Refused != 0 || s.ForwardsFailed != (stats.Forwards{Unreachable: 2}) {
		t.Errorf("%+v", s)
	}
}

// A message is accepted as a line, however its text is escaped, wherever it would be as a push of its own: here and by another
// worker.
func TestBulkForwardedEscapes(t *testing.T) {
	const limit = 100_000
	holder, other := newMember(t, wspush.WorkerOptions{MaxPushBytes: limit}), newMember(t, wspush.WorkerOptions{MaxPushBytes: limit})
	conn, client := connectTo(t, holder)
	var want []string
	var lines []string
	for escaped, text := range map[string]string{`\f`: "\f", `\b`: "\b", `\n`: "\n", `\"`: `"`, `\u0001`: "\x01", `\u0078`: "x", "x": "x"} {
		want = append(want, strings.Repeat(text, limit))
		lines = append(lines, fmt.Sprintf(`{"to":%q,"text":"%s"}`, conn.SealedID(), strings.Repeat(escaped, limit)))
	}
	read := expecting(client, append(want, want...)...)
	for _, w := range []*wspush.Worker{holder, other} {
		b := openBulk(t, dialPush(t, w))
		for i, line := range lines {
			b.send(line)
			b.expect(text204(1 + i))
		}
		b.end()
		b.expect(fmt.Sprintf(`{"lines":%d}`, len(lines)), "")
	}
	<-read
}
