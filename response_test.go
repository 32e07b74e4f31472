package wspush_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
)

// A publisher that is refused while it is still sending gets its answer at once, and can go on sending for some seconds: to
// close the connection under it would reset it, and the publisher might never see the answer.
func TestLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"http://push.test"}})
		publisher, server := net.Pipe()
		defer publisher.Close()
		l.conns <- server
		start := time.Now()
		go io.WriteString(publisher, "POST /ws/@connections/"+unknownID+" HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\na")
		r := bufio.NewReader(publisher)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusGone || !resp.Close {
			t.Fatalf("%+v, %v", resp, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the answer took %v", took)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			<-time.After(2 * time.Second)
			if _, err := io.WriteString(publisher, "b"); err != nil {
				t.Errorf("sending on after %v: %v", time.Since(start), err)
			}
		}
		// The last byte never comes.
		if _, err := r.ReadByte(); err == nil {
			t.Error("there is something after the answer")
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("the connection lasts %v", took)
		}
	})
}
