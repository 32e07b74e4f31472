//go:build slow

package wspush_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// heap is what is in use now.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// takes sends bodies until the worker takes no more for a second, and returns how many bytes it has taken, and what they cost it.
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

// A publisher that sends lines with members of long, unknown names and reads no answers makes the worker hold no more than it
// says: 4 MiB.
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

// What waits of a message to many is bounded, also when the first of them is gone, or has it already.
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
