package wspush_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/membership/membershiptest"
	"github.com/wspush/wspush/internal/testutil"
)

// clusterKey is a key that the workers of a test share.
var clusterKey = testutil.Key("k")

// newMember makes a worker with the shared key.
func newMember(t testing.TB, opts wspush.WorkerOptions) *wspush.Worker {
	t.Helper()
	c := wspush.Cluster{}
	if opts.Cluster != nil {
		c = *opts.Cluster
	}
	if c.Keys == nil {
		c.Keys = [][]byte{clusterKey}
	}
	opts.Cluster = &c
	return newWorker(t, &opts)
}

// rawMember is newMember without the Shutdown when the test ends.
func rawMember(t *testing.T, opts wspush.WorkerOptions) *wspush.Worker {
	opts.Logger = noLog
	c := wspush.Cluster{}
	if opts.Cluster != nil {
		c = *opts.Cluster
	}
	c.Keys = [][]byte{clusterKey}
	opts.Cluster = &c
	w, err := wspush.NewWorker(&opts)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// hung accepts connections and does nothing with them, like a process that has been stopped.
func hung(t *testing.T) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	return "http://" + l.Addr().String()
}

// behindCutter makes a worker whose Cluster address is a proxy that lets links be opened, and cuts each as soon as something is asked
// over it: before or after the worker has it.
func behindCutter(t *testing.T, after bool) *wspush.Worker {
	t.Helper()
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { front.Close() })
	go func() {
		for {
			in, err := front.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", own.Addr().String())
			if err != nil {
				in.Close()
				continue
			}
			go func() {
				defer in.Close()
				defer out.Close()
				buf := make([]byte, 64<<10)
				for i := range 4 { // the opening, its answer, the question, its answer
					from, to := in, out
					if i%2 == 1 {
						from, to = out, in
					}
					n, err := from.Read(buf)
					if err != nil || i == 2 && !after || i == 3 {
						return
					}
					if _, err := to.Write(buf[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return newMember(t, wspush.WorkerOptions{Listener: own, Cluster: &wspush.Cluster{Address: "http://" + front.Addr().String()}})
}

// connectTo has a client connect to w, which greets with its own addresses.
func connectTo(t testing.TB, w *wspush.Worker) (*wspush.Conn, *testutil.Client) {
	t.Helper()
	client, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	return conn, client
}

// sealedURL is the address with a connection's sealed ID, at any worker.
func sealedURL(w *wspush.Worker, c *wspush.Conn) string {
	return "http://" + w.Addr().String() + c.Info().Path + "/@connections/" + c.SealedID()
}

// balance serves a load balancer in front of workers, which takes them in turns; they may be added later.
func balance(t testing.TB, workers *[]*wspush.Worker) (url string) {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var turn atomic.Int64
	return testutil.Serve(t, &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		next := (*workers)[int(turn.Add(1))%len(*workers)]
		r.SetURL(mustParse("http://" + next.Addr().String()))
	}})
}

func mustParse(address string) *url.URL {
	u, err := url.Parse(address)
	if err != nil {
		panic(err)
	}
	return u
}

func shutDown(t testing.TB, w *wspush.Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

// One public name in front of three workers. The greeting tells nothing but that; a push to it arrives whichever worker it
// comes to, a thousand of a thousand.
func TestThreeWorkersBehindOneName(t *testing.T) {
	t.Parallel()
	var workers []*wspush.Worker
	name := balance(t, &workers)
	for range 3 {
		workers = append(workers, newMember(t, wspush.WorkerOptions{PublicURL: name}))
	}
	type client struct {
		*testutil.Client
		address string
	}
	var clients []client
	for _, w := range workers {
		server := serve(t, w, nil)
		for range 4 {
			c := testutil.Dial(t, server, testutil.Options{})
			address := c.Text()
			if !strings.HasPrefix(address, name+"/ws/@connections/v1.") || strings.Contains(address, ",") {
				t.Fatalf("greeting %q", address)
			}
			clients = append(clients, client{c, address})
		}
	}
	publishing := publisher(t)
	for i := range 1000 {
		c := clients[i%len(clients)]
		message := fmt.Sprint("message ", i)
		if status, err := publish(publishing, c.address, message); status != 204 || err != nil {
			t.Fatal(status, err)
		}
		c.Expect(testutil.Text, message)
	}
	var forwarded, written uint64
	for _, w := range workers {
		s := w.Stats()
		t.Logf("%+v", s)
		forwarded += s.Forwarded
		written += s.Written
	}
	if written != 1000 || forwarded < 500 {
		t.Errorf("%d pushes were written, %d had been forwarded", written, forwarded)
	}
}

// Push takes a sealed ID of any worker's connection, and returns what it returns for one's own.
func TestPushBySealedID(t *testing.T) {
	holder := newMember(t, wspush.WorkerOptions{MaxPushBytes: 1 << 20})
	other := newMember(t, wspush.WorkerOptions{MaxPushBytes: 2 << 20})
	server := serve(t, holder, nil)
	client, conn, _ := dial(t, holder, server, testutil.Options{})
	ctx := context.Background()
	for _, w := range []*wspush.Worker{holder, other} {
		if _, err := w.Push(ctx, conn.SealedID(), wspush.Text, []byte("text")); err != nil {
			t.Error(err)
		}
		client.Expect(testutil.Text, "text")
		if _, err := w.Push(ctx, conn.SealedID(), wspush.Binary, []byte{0, 0xff}); err != nil {
			t.Error(err)
		}
		client.Expect(testutil.Binary, "\x00\xff")
		confirmed := make(chan error, 1)
		go func() {
			receipt, err := w.Push(ctx, conn.SealedID(), wspush.Text, []byte("confirmed"), wspush.Confirmed())
			if err == nil && receipt.RoundTrip <= 0 {
				err = fmt.Errorf("round trip %v", receipt.RoundTrip)
			}
			confirmed <- errors.Join(err, outcome(w.Push(ctx, conn.SealedID(), wspush.Text, []byte("next"))))
		}()
		client.Expect(testutil.Text, "confirmed")
		client.Expect(testutil.Text, "next") // on the way the ping is answered
		if err := <-confirmed; err != nil {
			t.Error(err)
		}
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		_, silent, _ := dial(t, holder, server, testutil.Options{Silent: true})
		brief, stop := context.WithTimeout(ctx, 500*time.Millisecond)
		defer stop()
		_, errUnconfirmed := w.Push(brief, silent.SealedID(), wspush.Text, []byte("nobody answers"), wspush.Confirmed())
		silent.Close(1000, "")
		for _, tt := range []struct{ got, want error }{
			{outcome(w.Push(ctx, conn.SealedID(), wspush.Text, []byte("\xff"))), wspush.ErrInvalidUTF8},
			{outcome(w.Push(ctx, conn.SealedID(), wspush.Text, make([]byte, 1<<20+1))), wspush.ErrTooLarge},
			{outcome(w.Push(cancelled, conn.SealedID(), wspush.Text, nil)), context.Canceled},
			{outcome(w.Push(ctx, conn.SealedID()+"A", wspush.Text, nil)), wspush.ErrForbidden},
			{outcome(w.Push(ctx, nobody, wspush.Text, nil)), wspush.ErrGone},
			{outcome(w.Push(ctx, silent.SealedID(), wspush.Text, nil)), wspush.ErrGone},
			{errUnconfirmed, wspush.ErrUnknown},
		} {
			if !errors.Is(tt.got, tt.want) {
				t.Errorf("%v in place of %v", tt.got, tt.want)
			}
		}
	}
	if s := other.Stats(); s.Forwarded == 0 || s.Written != 0 {
		t.Errorf("%+v", s)
	}
	lone := newWorker(t, nil)
	if _, err := lone.Push(ctx, conn.SealedID(), wspush.Text, nil); err == nil || errors.Is(err, wspush.ErrGone) {
		t.Errorf("without keys: %v", err)
	}
	if conn, _ := connectTo(t, lone); conn.SealedID() != "" || conn.SealedAddress() != "" {
		t.Error("without keys there is a sealed ID")
	}
}

// Only what the shared keys have sealed is ever dialled; anything else is refused before.
func TestForeignSealedIDs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var dialled atomic.Int64
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			c.Close()
		}
	}()
	trap := "http://" + listener.Addr().String()
	foreignKeys := [][]byte{testutil.Key("foreign")}
	foreign, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: foreignKeys, Address: trap}}))
	own, _ := connectTo(t, newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Address: trap}}))
	sealed := own.SealedID()
	other := byte('A')
	if sealed[40] == other {
		other = 'B'
	}
	at := "http://" + newMember(t, wspush.WorkerOptions{}).Addr().String() + "/ws/@connections/"
	for name, bad := range map[string]string{
		"foreign": foreign.SealedID(), "changed": sealed[:40] + string(other) + sealed[41:], "short": "v1.AAAA", "cut": sealed[:60],
	} {
		for _, method := range []string{"POST", "GET", "DELETE", "HEAD"} {
			resp := do(t, newRequest(t, method, at+bad, nil))
			if body := text(t, resp); resp.StatusCode != 403 || method != "HEAD" && !strings.Contains(body, "urn:wspush:forbidden") {
				t.Errorf("%s %s: %s %s", method, name, resp.Status, body)
			}
		}
	}
	for _, bad := range []string{"v2.AAAA", "v1.", "v1." + strings.Repeat("a", 2000)} {
		if resp := do(t, newRequest(t, "POST", at+bad, nil)); resp.StatusCode != 400 {
			t.Errorf("%.10s: %s", bad, resp.Status)
		}
	}
	lone := "http://" + newWorker(t, nil).Addr().String() + "/ws/@connections/"
	if resp := do(t, newRequest(t, "POST", lone+sealed, nil)); resp.StatusCode != 421 {
		t.Errorf("without keys: %s", resp.Status)
	}
	if n := dialled.Load(); n != 0 {
		t.Fatalf("the trap was dialled %d times", n)
	}
	resp := do(t, newRequest(t, "POST", at+sealed, strings.NewReader("a"))) // which shows that it would have been
	if n := dialled.Load(); resp.StatusCode/100 != 5 || n == 0 {
		t.Errorf("%s, dialled %d times", resp.Status, n)
	}
}

// Keys are rotated without a push that fails.
func TestKeyRotation(t *testing.T) {
	newKey := testutil.Key("new")
	member := func(keys ...[]byte) *wspush.Worker {
		return newMember(t, wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: keys}})
	}
	before, both, after := member(clusterKey, newKey), member(newKey, clusterKey), member(newKey)
	onBefore, clientBefore := connectTo(t, before)
	onBoth, clientBoth := connectTo(t, both)
	for _, tt := range []struct {
		through *wspush.Worker
		to      *wspush.Conn
		client  *testutil.Client
		status  int
	}{{both, onBefore, clientBefore, 204}, {before, onBoth, clientBoth, 204}, {after, onBoth, clientBoth, 204}, {after, onBefore, nil, 403}} {
		if resp := post(t, sealedURL(tt.through, tt.to), "", []byte("a")); resp.StatusCode != tt.status {
			t.Errorf("%s in place of %d", resp.Status, tt.status)
		}
		if tt.status == 204 {
			tt.client.Expect(testutil.Text, "a")
		}
	}
}

func TestClusterOptions(t *testing.T) {
	keys := [][]byte{clusterKey}
	for want, opts := range map[string]wspush.WorkerOptions{
		"Cluster.Keys: no keys given":      {Cluster: &wspush.Cluster{}},
		"key 2 has 5 bytes":                {Cluster: &wspush.Cluster{Keys: [][]byte{clusterKey, []byte("short")}}},
		"key 1 has only zero bytes":        {Cluster: &wspush.Cluster{Keys: [][]byte{make([]byte, 32), clusterKey}}},
		"key 2 repeats its first 1 bytes":  {Cluster: &wspush.Cluster{Keys: [][]byte{clusterKey, bytes.Repeat([]byte("k"), 32)}}},
		`Cluster.Address: "ftp://a": `:     {Cluster: &wspush.Cluster{Keys: keys, Address: "ftp://a"}},
		"Cluster.Address: the address is":  {Cluster: &wspush.Cluster{Keys: keys, Address: "http://a/" + strings.Repeat("a", 1000)}},
		"exclude each other":               {Cluster: &wspush.Cluster{Keys: keys, Directory: membershiptest.NewEngine(1, nil).Client(), Peers: func(context.Context) ([]string, error) { return nil, nil }}},
		"PublicURL requires Cluster":       {PublicURL: "https://push.example.com"},
		`PublicURL: "push.example.com": `:  {Cluster: &wspush.Cluster{Keys: keys}, PublicURL: "push.example.com"},
		`PublicURL: "https://a?b": a base`: {Cluster: &wspush.Cluster{Keys: keys}, PublicURL: "https://a?b"},
	} {
		w, err := wspush.NewWorker(&opts)
		if err == nil {
			shutDown(t, w)
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "wspush: ") {
			t.Errorf("%s: %v", want, err)
		}
	}
	w := newMember(t, wspush.WorkerOptions{PublicURL: "https://push.example.com/p/"})
	client := testutil.Dial(t, serve(t, w, nil), testutil.Options{})
	greeting := client.Text()
	for conn := range w.Conns() {
		if got := conn.SealedAddress(); got != greeting || got != "https://push.example.com/p/ws/@connections/"+conn.SealedID() || got != conn.SealedAddress() {
			t.Errorf("greeting %s, PublicURL %s", greeting, got)
		}
	}
}

// An operator learns at the start, once, that other machines cannot reach a worker, unless that is what Address says.
func TestClusterOnLoopback(t *testing.T) {
	for _, tc := range []struct {
		advertise []string
		cluster   *wspush.Cluster
		warned    bool
	}{
		{nil, &wspush.Cluster{}, true},
		{[]string{"localhost:9090"}, &wspush.Cluster{}, true},
		{[]string{"http://[::1]:9090/x", "10.0.0.5"}, &wspush.Cluster{}, true},
		{[]string{"a.localhost"}, &wspush.Cluster{}, true},
		{[]string{"127.8.8.8"}, &wspush.Cluster{}, true},
		{nil, nil, false},
		{nil, &wspush.Cluster{Address: "127.0.0.1"}, false},
		{nil, &wspush.Cluster{Address: "10.0.0.5:9090"}, false},
		{[]string{"10.0.0.5", "127.0.0.1"}, &wspush.Cluster{}, false},
		{[]string{"localhost.example.com"}, &wspush.Cluster{}, false},
	} {
		if tc.cluster != nil {
			tc.cluster.Keys = [][]byte{clusterKey}
		}
		records := &recorder{}
		newWorker(t, &wspush.WorkerOptions{Advertise: tc.advertise, Cluster: tc.cluster, Logger: slog.New(warnings{records})})
		if warned := records.has("only workers on this machine can reach this one"); warned != tc.warned || len(records.all) > 1 {
			t.Errorf("%q, %+v: %q", tc.advertise, tc.cluster, records.all)
		}
	}
}
