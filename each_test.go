package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A slow client never blocks others: of 1,000 clients 10 do not read, and the others have their message before any of the 10
// has an outcome.
func TestPushEachStalled(t *testing.T) {
	t.Parallel()
	const clients, stalled = 200, 10
	const limit = 2 * time.Minute // as good as none, on however busy a machine
	w := newWorker(t, &wspush.WorkerOptions{WriteTimeout: limit})
	address := serveSmall(t, newHandler(t, w, nil), nil)
	message := []byte(big[:200<<10])
	slow := map[string]bool{}
	var reading []*testutil.Client
	for i := range clients {
		c := testutil.Handshake(t, dialSmall(t, address), testutil.Options{Timeout: limit})
		conn, _ := greeted(t, w, c)
		if i%(clients/stalled) == 0 {
			slow[conn.ID()] = true
		} else {
			reading = append(reading, c)
		}
	}
	var readers sync.WaitGroup
	for _, c := range reading {
		readers.Go(func() {
			if _, data, err := c.Message(); err != nil || !bytes.Equal(data, message) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	written, unknown := 0, 0
	for conn, err := range w.PushEach(ctx, w.Conns(), wspush.Text, message) {
		switch {
		case err == nil && !slow[conn.ID()]:
			if written++; written == clients-stalled {
				cancel() // the rest would wait for WriteTimeout
			}
		case errors.Is(err, wspush.ErrUnknown) && slow[conn.ID()] && written == clients-stalled:
			unknown++
		default:
			t.Errorf("slow: %v, written: %d, error: %v", slow[conn.ID()], written, err)
		}
	}
	if written != clients-stalled || unknown != stalled {
		t.Errorf("%d written, %d unknown", written, unknown)
	}
	readers.Wait()
}

// PushEach gives each target one outcome, whatever becomes of it.
func TestPushEach(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		go func() {
			for _, _, err := client.Message(); err == nil; _, _, err = client.Message() {
			}
		}()
		push := func(ctx context.Context, to ...*wspush.Conn) (errs []error) {
			for c, err := range w.PushEach(ctx, slices.Values(to), wspush.Text, []byte("x")) {
				if c != conn {
					t.Error("another connection")
				}
				errs = append(errs, err)
			}
			return errs
		}
		cancelled, cancel := context.WithCancel(context.Background())
		cancel()
		if errs := push(context.Background()); len(errs) != 0 {
			t.Error(errs)
		}
		if errs := push(context.Background(), conn, conn, conn); len(errs) != 3 || errors.Join(errs...) != nil {
			t.Error(errs)
		}
		if errs := push(cancelled, conn, conn); len(errs) != 2 || errs[0] != context.Canceled || errs[1] != context.Canceled {
			t.Error(errs)
		}
		conn.Close(1000, "")
		if errs := push(context.Background(), conn); len(errs) != 1 || errs[0] != wspush.ErrGone {
			t.Error(errs)
		}
	})
}

// Leaving the range, or a panic in it, withdraws what has not begun, and leaves nothing of data in use.
func TestPushEachLeft(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		first := start(context.Background(), conn, "first")
		data := []byte("never")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		for leave := range 2 {
			func() {
				defer func() {
					if r := recover(); (r != nil) != (leave == 1) {
						t.Errorf("recovered %v", r)
					}
				}()
				to := func(yield func(*wspush.Conn) bool) {
					for yield(conn) {
						cancel() // so that the second target has an outcome, while the first waits
					}
				}
				for range w.PushEach(ctx, to, wspush.Text, data) {
					if leave == 1 {
						panic("leaving")
					}
					break
				}
			}()
		}
		clear(data)
		client.Expect(testutil.Text, "first")
		if err := returned(t, first); err != nil {
			t.Error(err)
		}
		next := start(context.Background(), conn, "next")
		client.Expect(testutil.Text, "next")
		if err := returned(t, next); err != nil {
			t.Error(err)
		}
	})
}

// A panic in the range while several outcomes have come in at the same time, of which it has seen the first, leaves nothing behind.
func TestPushEachPanic(t *testing.T) {
	bubble(t, wspush.WorkerOptions{}, nil, func(t *testing.T, w *wspush.Worker, conn *wspush.Conn, client *testutil.Client) {
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			to := func(yield func(*wspush.Conn) bool) {
				for range 3 {
					yield(conn)
				}
				client.Expect(testutil.Text, "x")
				client.Expect(testutil.Text, "x")
				client.Expect(testutil.Text, "x")
				synctest.Wait()
			}
			for range w.PushEach(context.Background(), to, wspush.Text, []byte("x")) {
				panic("leaving")
			}
		}()
		if r := <-ended; r != "leaving" {
			t.Error(r)
		}
		if got := w.Stats().Written; got != 3 {
			t.Errorf("%d are counted as written", got)
		}
	})
}

// PushEachID takes whatever Push takes, gives each its outcome, and lets nobody wait for another worker.
func TestPushEachID(t *testing.T) {
	t.Parallel()
	here, there := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	foreignKeys := &wspush.Cluster{Keys: [][]byte{testutil.Key("foreign")}}
	foreign, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: foreignKeys}))
	connHere, clientHere := connectTo(t, here)
	connThere, clientThere := connectTo(t, there)
	ended, _ := connectTo(t, there)
	ended.Close(1000, "")
	nowhere, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: "http://127.0.0.1:1"}}))
	want := map[string]error{
		connHere.ID():        nil,
		connHere.SealedID():  nil,
		connThere.SealedID(): nil,
		connThere.ID():       wspush.ErrGone,
		ended.SealedID():     wspush.ErrGone,
		foreign.SealedID():   wspush.ErrForbidden,
		nowhere.SealedID():   wspush.ErrUnreachable,
		"http://127.0.0.1/":  wspush.ErrInvalidID,
		"":                   wspush.ErrInvalidID,
	}
	for id, err := range here.PushEachID(context.Background(), maps.Keys(want), wspush.Text, []byte("x")) {
		expected, ok := want[id]
		if !ok || !errors.Is(err, expected) {
			t.Errorf("%.50q: %v, want %v", id, err, expected)
		}
		delete(want, id)
	}
	if len(want) > 0 {
		t.Errorf("no outcome for %v", want)
	}
	clientHere.Expect(testutil.Text, "x")
	clientHere.Expect(testutil.Text, "x")
	clientThere.Expect(testutil.Text, "x")
	if s := here.Stats(); s.Written != 2 || s.Forwarded != 3 {
		t.Errorf("%d written, %d forwarded", s.Written, s.Forwarded)
	}
	for _, err := range here.PushEachID(context.Background(), slices.Values([]string{connThere.SealedID()}), wspush.Text, []byte{0xff}) {
		if err != wspush.ErrInvalidUTF8 {
			t.Error(err)
		}
	}
	for _, err := range newWorker(t, nil).PushEachID(context.Background(), slices.Values([]string{connThere.SealedID()}), wspush.Text, []byte("x")) {
		if err == nil || errors.Is(err, wspush.ErrGone) {
			t.Error(err)
		}
	}
}

// Many IDs of two workers: each client gets the message once.
func TestPushEachIDMany(t *testing.T) {
	here, there := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	var ids []string
	var clients []*testutil.Client
	for _, w := range []*wspush.Worker{here, there} {
		server := serve(t, w, nil)
		for range 100 {
			client, conn, _ := dial(t, w, server, testutil.Options{})
			ids, clients = append(ids, conn.SealedID()), append(clients, client)
		}
	}
	seen := make(map[string]bool)
	for id, err := range here.PushEachID(context.Background(), slices.Values(ids), wspush.Text, []byte("x")) {
		if err != nil || seen[id] {
			t.Errorf("%v, or a second outcome", err)
		}
		seen[id] = true
	}
	if len(seen) != len(ids) {
		t.Errorf("%d outcomes", len(seen))
	}
	for _, c := range clients {
		c.Expect(testutil.Text, "x")
	}
}

// Those of this worker have their outcome while another worker does not answer. When ctx ends, or the range is left, so does the
// wait for it.
func TestPushEachIDHung(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // where nothing is ever accepted
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	here := newMember(t, wspush.WorkerOptions{})
	lost, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: "http://" + l.Addr().String()}}))
	own, client := connectTo(t, here)
	ids := []string{lost.SealedID(), own.ID()}
	for _, leave := range []bool{false, true} {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		n := 0
		for id, err := range here.PushEachID(ctx, slices.Values(ids), wspush.Text, []byte("x")) {
			n++
			switch {
			case id == own.ID() && err == nil && n == 1:
				cancel()
			case id == lost.SealedID() && n == 2 && (errors.Is(err, wspush.ErrUnknown) || err == context.Canceled):
			default:
				t.Errorf("outcome %d: %v", n, err)
			}
			if leave {
				break
			}
		}
		client.Expect(testutil.Text, "x")
		if want := 2; !leave && n != want {
			t.Errorf("%d outcomes", n)
		}
	}
}

// However many clients have to wait for a message, its bytes are in memory once, and none of them holds a buffer: also once the range has
// been left, and the caller's data is gone.
func TestPushEachMemory(t *testing.T) {
	if raced {
		t.Skip("the race detector allocates")
	}
	const clients, size, overhead = 60, 400 << 10, 512
	w := newWorker(t, quiet())
	address := serveSmall(t, newHandler(t, w, nil), nil)
	for range clients {
		greeted(t, w, testutil.Handshake(t, dialSmall(t, address), testutil.Options{}))
	}
	heap := func() int64 {
		var m runtime.MemStats
		for range 3 { // a sync.Pool is empty after the second
			runtime.GC()
		}
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	waiting := make(chan int64, 1)
	go func() {
		testutil.Eventually(t, "all to wait", func() bool { return w.Stats().PendingBytes >= size+clients*overhead })
		waiting <- heap()
		cancel()
	}()
	unknown := 0
	for _, err := range w.PushEach(ctx, w.Conns(), wspush.Binary, make([]byte, size)) {
		if !errors.Is(err, wspush.ErrUnknown) {
			t.Errorf("%v: the client does not wait in the middle of the message", err)
		}
		unknown++
	}
	during, after := <-waiting-before, heap()-before
	if unknown != clients {
		t.Errorf("%d outcomes", unknown)
	}
	// Less than 3 KB for each, beside the message, and its copy once the caller has left.
	if most := int64(size + clients*3<<10); during > most || after > most+size {
		t.Errorf("%d clients wait for a message of %d bytes: %d bytes of memory while they do, %d once the caller has left", clients, size, during, after)
	}
}

// Clients that take compressed messages and clients that do not are sent the same message.
func TestPushEachCompressed(t *testing.T) {
	w := newWorker(t, nil)
	server := serve(t, w, &wspush.HandlerOptions{Compression: true})
	text := strings.Repeat("to whom it may concern ", 100)
	var clients []*testutil.Client
	for i := range 150 {
		opts := testutil.Options{}
		if i%3 > 0 {
			opts.Header = deflating
		}
		client, _, _ := dial(t, w, server, opts)
		clients = append(clients, client)
	}
	for _, err := range w.PushEach(context.Background(), w.Conns(), wspush.Text, []byte(text)) {
		if err != nil {
			t.Error(err)
		}
	}
	for i, c := range clients {
		f := c.NextFrame()
		payload, rsv := f.Payload, byte(0)
		if i%3 > 0 {
			rsv = 4
			var err error
			if payload, err = testutil.Inflate(payload); err != nil {
				t.Fatal(err)
			}
		}
		if f.Rsv != rsv || string(payload) != text {
			t.Errorf("client %d: RSV %03b, %d bytes", i, f.Rsv, len(payload))
		}
	}
}
