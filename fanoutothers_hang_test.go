package wspush_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/directory"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// deafDirectory has a Find that ignores its context.
type deafDirectory struct {
	*membershiptest.Client
	hangs atomic.Bool
	end   chan struct{}
}

func (d *deafDirectory) Find(ctx context.Context, keys []string) ([]directory.Found, error) {
	if d.hangs.Load() {
		<-d.end
		return nil, errors.New("late")
	}
	return d.Client.Find(ctx, keys)
}

// A directory that ignores contexts leaves no request behind when the worker has ended.
func TestDeafDirectory(t *testing.T) {
	d := &deafDirectory{end: make(chan struct{})}
	m := newTeam(t, 1, false, func(_ int, opts *wspush.WorkerOptions) {
		d.Client = opts.Cluster.Directory.(*membershiptest.Client)
		opts.Cluster.Directory = d
	})
	defer close(d.end)
	d.hangs.Store(true)
	w := m.workers[0]
	status := make(chan error, 1)
	go func() {
		client := &http.Client{Timeout: 15 * time.Second}
		resp, err := client.Post("http://"+w.Addr().String()+"/@users/ann", "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
			err = errors.New(resp.Status)
		}
		client.CloseIdleConnections()
		status <- err
	}()
	push := make(chan error, 1)
	go func() {
		_, err := w.User("ann").Push(context.Background(), wspush.Text, []byte("x"))
		push <- err
	}()
	testutil.Pass(300 * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	begun := time.Now()
	err := w.Shutdown(ctx)
	t.Log("Shutdown:", err, time.Since(begun))
	if time.Since(begun) > 1500*time.Millisecond {
		t.Error("Shutdown outlives its context")
	}
	select {
	case err := <-push:
		t.Log("Push:", err)
	case <-time.After(4 * time.Second):
		t.Error("Push still waits")
	}
	t.Log("HTTP:", <-status)
}
