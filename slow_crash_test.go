//go:build slow

package wspush_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// inProcess runs f in a process of its own, and fails the test if that crashes.
func inProcess(t *testing.T, f func(t *testing.T)) {
	if os.Getenv("REVIEW_CHILD") == t.Name() {
		f(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "REVIEW_CHILD="+t.Name())
	out, err := cmd.CombinedOutput()
	for _, sign := range []string{"panic: ", "DATA RACE"} {
		if i := bytes.Index(out, []byte(sign)); i >= 0 {
			t.Errorf("%v\n%.2500s", err, out[i:])
			return
		}
	}
	if err != nil {
		t.Logf("%v\n%.2000s", err, out)
	}
}

// panicsForward is a Logger's handler that panics at one kind of record.
type panicsForward struct{ slog.Handler }

func (panicsForward) Enabled(context.Context, slog.Level) bool { return true }
func (panicsForward) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "could not be forwarded") {
		panic("the application's Logger")
	}
	return nil
}

// A Logger that panics ends a request, not the process.
func TestSlowLoggerPanics(t *testing.T) {
	inProcess(t, func(t *testing.T) {
		unreachable, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: "http://" + deadAddress(t)}}))
		b := openBulk(t, dialPush(t, newMember(t, wspush.WorkerOptions{Logger: slog.New(panicsForward{slog.DiscardHandler})})))
		b.send(textLine(unreachable.SealedID(), "a"))
		_, _ = b.answers.ReadString('\n')
	})
}

// lateEOF is a request's body whose reader is suspended for a moment when it has come to the end: as the scheduler may at any
// time, or a middleware.
type lateEOF struct{ io.ReadCloser }

func (b lateEOF) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		pause(100 * time.Millisecond)
	}
	return n, err
}

// The transport may read a body for longer than its request lasts. That must not touch what is no more.
func TestSlowForwardBodyEndsLate(t *testing.T) {
	inProcess(t, func(t *testing.T) {
		holder := newMember(t, wspush.WorkerOptions{Logger: noLog})
		other := newMember(t, wspush.WorkerOptions{Logger: noLog, NoListen: true, Advertise: []string{"127.0.0.1:1"}})
		conn, _ := connectTo(t, holder)
		conn.Close(1000, "")
		testutil.Eventually(t, "the connection to end", func() bool { return holder.Len() == 0 })
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = lateEOF{r.Body}
			other.ServeHTTP(w, r)
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		r, w := io.Pipe()
		go func() { fmt.Fprint(w, big[:50_000]); w.Close() }()
		resp, err := server.Client().Post(server.URL+"/ws/@connections/"+conn.SealedID(), "", r)
		fmt.Println(resp, err)
		pause(time.Second)
	})
}
