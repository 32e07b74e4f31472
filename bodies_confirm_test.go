package wspush_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A message that is written and waits for its pong holds nothing of its data, whichever way it came: its client may never answer, and
// it counts nowhere.
func TestConfirmingHoldsNoData(t *testing.T) {
	const size = 1 << 20
	pushes := 50
	if raced { // links take seconds for so much then
		pushes = 12
	}
	text := strings.Repeat("x", size)
	for name, door := range map[string]struct {
		clustered bool
		prepare   func(w, other *wspush.Worker, conn *wspush.Conn) (address, body string)
		push      func(client *http.Client, address, body string) (status string)
	}{
		"a push": {false, func(w, _ *wspush.Worker, conn *wspush.Conn) (string, string) {
			return fmt.Sprintf("http://%s/ws/@connections/%s", w.Addr(), conn.ID()), text
		}, confirmBy},
		"a push by another worker": {true, func(_, other *wspush.Worker, conn *wspush.Conn) (string, string) {
			return sealedURL(other, conn), text
		}, confirmBy},
		"a bulk request": {false, func(w, _ *wspush.Worker, conn *wspush.Conn) (string, string) {
			return bulkURL(w), fmt.Sprintf(`{"to":%q,"confirm":"received","timeout":"30s","text":%q}`, conn.ID(), text)
		}, confirmLine},
		"a bulk request with a list": {false, func(w, _ *wspush.Worker, conn *wspush.Conn) (string, string) {
			return bulkURL(w), fmt.Sprintf(`{"to":[%q],"confirm":"received","timeout":"30s","text":%q}`, conn.ID(), text)
		}, confirmLine},
	} {
		t.Run(name, func(t *testing.T) {
			opts := wspush.WorkerOptions{MaxPending: -1, MaxPushBytesAll: -1, Logger: quiet().Logger}
			var w, other *wspush.Worker
			if door.clustered {
				w, other = newMember(t, opts), newMember(t, opts)
			} else {
				w = newWorker(t, &opts)
			}
			conn, read, answer := mute(t, w)
			publisher := publishing(t)
			address, body := door.prepare(w, other, conn)
			before := heapInUse()
			var pushing sync.WaitGroup
			for range pushes {
				pushing.Go(func() {
					if status := door.push(publisher, address, body); status != "204" {
						t.Error(status)
					}
				})
			}
			testutil.Eventually(t, "the client to read all", func() bool { return read.Load() == int64(pushes) })
			testutil.Eventually(t, "the writes to be noticed", func() bool { return w.Stats().PendingBytes == 0 })
			// The other worker may have to send what it passes on once more, and counts it: its part is not looked at.
			allowed := pushes / 3 * size
			if door.clustered {
				allowed += pushes * size * 5 / 4
			}
			if held := heapInUse() - before; held > allowed {
				t.Errorf("%d MiB are held while %d messages of 1 MiB wait for their pong", held>>20, pushes)
			}
			answer()
			pushing.Wait()
		})
	}
}

// Of a message that waits compressed, only that is held: it is all that counts.
func TestCompressedHoldsNoData(t *testing.T) {
	if raced {
		t.Skip("compressors are made again and again then, and are what is measured")
	}
	const pushes, size = 60, 512 << 10
	w := newWorker(t, &wspush.WorkerOptions{MaxPending: -1, SendBuffer: 32 << 10, Logger: quiet().Logger})
	client, conn, _ := dial(t, w, serve(t, w, &wspush.HandlerOptions{Compression: true}), testutil.Options{Header: deflating})
	random := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(random)
	var pushing sync.WaitGroup
	for range 3 { // the client does not read, so that not even the first is written
		pushing.Go(func() { _, _ = conn.Push(context.Background(), wspush.Binary, random) })
	}
	testutil.Eventually(t, "messages to wait", func() bool { return w.Stats().PendingBytes == 3*(1<<20+512) })
	before, waiting := heapInUse(), w.Stats().PendingBytes
	body, publisher := strings.Repeat("x", size), publishing(t)
	for range pushes {
		pushing.Go(func() {
			_ = confirmBy(publisher, fmt.Sprintf("http://%s/ws/@connections/%s", w.Addr(), conn.ID()), body)
		})
	}
	testutil.Eventually(t, "the pushes to wait", func() bool { return w.Stats().PendingBytes >= waiting+pushes*900 })
	counted := int(w.Stats().PendingBytes - waiting)
	if held := heapInUse() - before; held > pushes/2*size || // compressors take some of it
		counted > pushes*size/10 {
		t.Errorf("%d MiB are held of which %d KiB count", held>>20, counted>>10)
	}
	client.Close()
	pushing.Wait()
}

// confirmBy pushes, and returns the status.
func confirmBy(client *http.Client, address, body string) string {
	resp, err := client.Post(address+"?confirm=received&timeout=30s", "text/plain", strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return fmt.Sprint(resp.StatusCode)
}

// bulkURL is where bulk requests for connections of /ws go.
func bulkURL(w *wspush.Worker) string { return fmt.Sprintf("http://%s/ws/@connections", w.Addr()) }

// confirmLine pushes by a bulk request of one line, and returns the status of that.
func confirmLine(client *http.Client, address, line string) string {
	_, answers, err := postLines(client, address, line)
	if err != nil || len(answers) == 0 || !strings.Contains(answers[0], `"status":204`) {
		return fmt.Sprint(answers, err)
	}
	return "204"
}

// mute connects a client that reads, and counts the messages, and answers no ping before answer is called.
func mute(t *testing.T, w *wspush.Worker) (conn *wspush.Conn, read *atomic.Int64, answer func()) {
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{Timeout: -1, Silent: true})
	read = new(atomic.Int64)
	var mu sync.Mutex // guards what follows
	var last []byte
	answering := false
	pongLast := func() {
		if answering && last != nil {
			_ = client.WriteFrame(testutil.Frame{Fin: true, Op: testutil.Pong, Masked: true, Payload: last})
			last = nil
		}
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			f, err := client.ReadFrame()
			if err != nil {
				return
			}
			switch f.Op {
			case testutil.Ping:
				mu.Lock()
				last = f.Payload
				pongLast()
				mu.Unlock()
			case testutil.Text, testutil.Binary:
				read.Add(1)
			}
		}
	})
	t.Cleanup(reading.Wait)
	t.Cleanup(client.Close)
	return conn, read, func() {
		mu.Lock()
		defer mu.Unlock()
		answering = true
		pongLast()
	}
}

// A buffer that is lent again while messages wait for their pong is never one that is still being read: what clients get is what was
// pushed, byte for byte, although some clients read slowly, some pushes are given up in the middle of their message, and some
// connections end.
func TestConfirmedBodiesAreWhole(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{Logger: quiet().Logger, MaxPending: 8 << 20, SendBuffer: 32 << 10})
	for name, opts := range map[string]*wspush.HandlerOptions{"plain": nil, "compressed": {Compression: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clients sync.WaitGroup
			for c := range 4 {
				clients.Go(func() { confirmWhole(t, w, opts, c) })
			}
			clients.Wait()
		})
	}
}

// confirmWhole pushes to one client by several publishers at once.
func confirmWhole(t *testing.T, w *wspush.Worker, opts *wspush.HandlerOptions, number int) {
	client, conn, _ := dial(t, w, serve(t, w, opts), testutil.Options{Header: deflating})
	defer client.Close()
	read := make(chan int)
	go func() {
		n := 0
		for {
			_, data, err := client.Message()
			if err != nil {
				read <- n
				return
			}
			if !isWhole(data) {
				t.Errorf("the client got %d bytes that are no message", len(data))
			}
			if n++; number%2 == 1 && n%4 == 0 {
				testutil.Pass(5 * time.Millisecond)
			}
		}
	}()
	publisher := publishing(t)
	address := fmt.Sprintf("http://%s/ws/@connections/%s?type=binary", w.Addr(), conn.ID())
	var pushing sync.WaitGroup
	var confirmed atomic.Int64
	for p := range 6 {
		pushing.Go(func() {
			random := rand.New(rand.NewPCG(uint64(number), uint64(p)))
			for range 25 {
				query := ""
				switch random.IntN(4) {
				case 0:
					query = "&timeout=5ms&confirm=received"
				case 1:
				default:
					query = "&timeout=30s&confirm=received"
				}
				body := wholeMessage(random, 1+random.IntN(300<<10))
				resp, err := publisher.Post(address+query, "", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				if resp.StatusCode == 204 {
					confirmed.Add(1)
				} else if s := resp.StatusCode; s != 429 && s != 504 && s != 503 {
					t.Error(resp.Status)
				}
				resp.Body.Close()
			}
		})
	}
	pushing.Wait()
	_ = conn.Close(1000, "")
	if n := int64(<-read); n < confirmed.Load() || n == 0 {
		t.Errorf("the client has read %d messages, of which %d were written or confirmed", n, confirmed.Load())
	}
}

// wholeMessage makes a message of about so many bytes that differs from others everywhere, and of which isWhole can tell.
func wholeMessage(random *rand.Rand, size int) []byte {
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], random.Uint64())
	return bytes.Repeat(seed[:], size/8+1)
}

// isWhole reports whether data is of one piece.
func isWhole(data []byte) bool {
	return len(data) >= 8 && len(data)%8 == 0 && bytes.Equal(data[8:], data[:len(data)-8])
}
