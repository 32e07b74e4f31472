package snippets

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
)

// timeout is for each wait of a test.
const timeout = 20 * time.Second

// site is a worker, the application's mux with its handler at /ws, and clients.
type site struct {
	t      *testing.T
	worker *wspush.Worker
	mux    *http.ServeMux
	server *httptest.Server
}

// newSite starts a worker with these options, and a server that has mounted it.
func newSite(t *testing.T, opts *wspush.WorkerOptions) *site {
	t.Helper()
	worker, err := wspush.NewWorker(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := worker.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, worker: worker, mux: http.NewServeMux()}
	s.mux.Handle("/ws", handler)
	s.server = httptest.NewServer(s.mux)
	t.Cleanup(s.server.Close)
	return s
}

// connect connects a client, and returns its greeting.
func (s *site) connect() (client *websocket.Conn, greeting string) {
	s.t.Helper()
	client = dialWS(s.t, s.server.URL)
	return client, nextText(s.t, client)
}

// dialWS connects to a server's /ws.
func dialWS(t *testing.T, server string) *websocket.Conn {
	t.Helper()
	client, _, err := websocket.Dial(t.Context(), server+"/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.CloseNow() })
	return client
}

// nextText reads a client's next message.
func nextText(t *testing.T, client *websocket.Conn) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, data, err := client.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// receives fails the test unless that is the client's next message.
func receives(t *testing.T, client *websocket.Conn, want string) {
	t.Helper()
	if got := nextText(t, client); got != want {
		t.Errorf("the client receives %q, want %q", got, want)
	}
}

// post posts text, and fails the test unless the answer is 204.
func post(t *testing.T, address, text string) {
	t.Helper()
	resp, err := http.Post(address, "text/plain", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("POST: %s", resp.Status)
	}
}

// startProgram starts a program as the leader of a process group, which is ended with the test.
func startProgram(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
}

// need skips the test if a tool is missing, but in CI fails it.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}
