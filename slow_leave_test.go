//go:build slow

package wspush_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// A publisher that leaves while its pushes are being started withdraws them all.
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
