// Command proxies pushes through reverse proxies that lose what they still read of a request once its answer has begun: Go's
// httputil.ReverseProxy, and Caddy, which is built on it. It prints "ok - WHAT" or "not ok - WHAT" for each check.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/publisher"
)

var failed atomic.Bool

func check(what string, err error) {
	if err == nil {
		fmt.Println("ok -", what)
		return
	}
	failed.Store(true)
	fmt.Printf("not ok - %s\n    %v\n", what, err)
}

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal("not ok - ", err)
	}
	if failed.Load() {
		os.Exit(1)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer worker.Shutdown(ctx)
	handler, err := wspush.NewHandler(worker, nil)
	if err != nil {
		return err
	}
	site := httptest.NewServer(handler)
	defer site.Close()
	push := "http://" + worker.Addr().String()

	to, err := url.Parse(push)
	if err != nil {
		return err
	}
	direct := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorLog: log.New(io.Discard, "", 0),
	})
	defer direct.Close()
	caddy, stop, err := startCaddy(ctx, worker.Addr().String())
	if err != nil {
		return err
	}
	defer stop()
	for _, proxy := range []struct{ name, url string }{{"httputil.ReverseProxy", direct.URL}, {"Caddy", caddy}} {
		for _, size := range []int{10, 60_000, 500_000} {
			messages := map[int]int{10: 2000, 60_000: 200, 500_000: 40}[size]
			what := fmt.Sprintf("%s: a Stream of %d messages of %d bytes", proxy.name, messages, size)
			check(what, stream(ctx, site.URL, proxy.url, messages, size))
		}
		check(proxy.name+": requests of known length", posts(ctx, site.URL, proxy.url, "application/x-ndjson", 5))
		check(proxy.name+": requests that are answered after them", posts(ctx, site.URL, proxy.url, "application/x-ndjson; answer=after", 0))
	}
	return nil
}

// startCaddy runs Caddy in front of a worker, and returns its URL.
func startCaddy(ctx context.Context, worker string) (address string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "proxies")
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	at := l.Addr().String()
	l.Close()
	config := filepath.Join(dir, "Caddyfile")
	text := fmt.Sprintf("{\n\tadmin off\n\tauto_https off\n}\nhttp://%s {\n\treverse_proxy %s\n}\n", at, worker)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return "", nil, err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "caddy", "run", "--adapter", "caddyfile", "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}
	for range 200 {
		conn, err := net.Dial("tcp", at)
		if err == nil {
			conn.Close()
			return "http://" + at, stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("caddy does not listen: %s", said.String())
}

// inbox is a client, and what it has received.
type inbox struct {
	id   string
	conn *websocket.Conn
	got  chan string
}

func connect(ctx context.Context, site string) (*inbox, error) {
	conn, _, err := websocket.Dial(ctx, site+"/ws", nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(-1)
	_, greeting, err := conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	_, rest, _ := strings.Cut(string(greeting), "//")
	id, _, _ := strings.Cut(rest, "@")
	in := &inbox{id, conn, make(chan string, 10_000)}
	go func() {
		defer close(in.got)
		for {
			_, data, err := conn.Read(ctx)
			if err != nil {
				return
			}
			in.got <- string(data)
		}
	}()
	return in, nil
}

// finish pushes a last message directly, and compares what has been received.
func (in *inbox) finish(want []string) error {
	defer in.conn.CloseNow()
	for i, text := range want {
		select {
		case got := <-in.got:
			if got != text {
				return fmt.Errorf("message %d is %.40q, not %.40q", i, got, text)
			}
		case <-time.After(10 * time.Second):
			return fmt.Errorf("message %d has not come", i)
		}
	}
	select {
	case got := <-in.got:
		return fmt.Errorf("a message too many: %.40q", got)
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

func message(client, n, size int) string {
	part := fmt.Sprintf("%d/%d ", client, n)
	return strings.Repeat(part, max(1, size/len(part)))
}

// stream sends messages to several clients in turn, each of which must be written once, whole, and in order.
func stream(ctx context.Context, site, proxy string, messages, size int) error {
	c, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		return err
	}
	s := c.NewStream()
	defer s.Close()
	clients, want := make([]*inbox, 4), make([][]string, 4)
	for i := range clients {
		if clients[i], err = connect(ctx, site); err != nil {
			return err
		}
	}
	var outcomes sync.WaitGroup
	var mu sync.Mutex // guards errs
	var errs []error
	for i := range messages {
		to := i % len(clients)
		text := message(to, i, size)
		want[to] = append(want[to], text)
		outcomes.Add(1)
		err := s.Send(ctx, proxy+"/ws/@connections/"+clients[to].id, publisher.Text, []byte(text), func(_ publisher.Receipt, err error) {
			defer outcomes.Done()
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("message %d: %w", i, err))
			}
		})
		if err != nil {
			return err
		}
	}
	outcomes.Wait()
	if len(errs) > 0 {
		return fmt.Errorf("%d of %d failed, such as %w", len(errs), messages, errs[0])
	}
	for i, in := range clients {
		if err := in.finish(want[i]); err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	return nil
}

// posts sends small requests of a media type: with their length, as curl does with --data-binary, or chunked if they ask to be
// answered after them. A proxy may cut off the answer to a few of the former, which happens when the worker answers before the
// proxy has noticed that it has sent the whole request.
func posts(ctx context.Context, site, proxy, media string, mayCut int) error {
	in, err := connect(ctx, site)
	if err != nil {
		return err
	}
	var want []string
	cut := 0
	for i := range 100 {
		var body strings.Builder
		for j := range 10 {
			text := fmt.Sprint(i, "/", j)
			want = append(want, text)
			fmt.Fprintf(&body, `{"to":%q,"text":%q}`+"\n", in.id, text)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, proxy+"/ws/@connections", strings.NewReader(body.String()))
		if err != nil {
			return err
		}
		if r.Header.Set("Content-Type", media); strings.Contains(media, "answer") {
			r.ContentLength = -1
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasSuffix(string(answer), `{"lines":10}`+"\n") {
			if cut++; cut > mayCut {
				return fmt.Errorf("the answer to request %d is cut off: %q, %v", i, answer, err)
			}
			continue
		}
		if strings.Count(string(answer), `"status":204`) != 10 {
			return fmt.Errorf("request %d is answered %s: %s", i, resp.Status, answer)
		}
	}
	return in.finish(want)
}
