package wspush_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/stats"
)

// What is no ID at all is not ErrGone, which has callers forget a client that is there. The error says what it looks like, and
// repeats nothing of it.
func TestInvalidID(t *testing.T) {
	w := newMember(t, wspush.WorkerOptions{PublicURL: "https://push.example.com"})
	server := serve(t, w, nil)
	client := testutil.Dial(t, server, testutil.Options{})
	client.Text() // the greeting
	var conn *wspush.Conn
	for conn = range w.Conns() {
	}
	id, ctx := conn.ID(), context.Background()
	for name, tt := range map[string]struct{ id, want string }{
		"nothing":                {"", "an empty string"},
		"a space":                {" ", "some other text of 1 bytes"},
		"an address":             {conn.Addresses()[0], "a URL"},
		"the other form":         {conn.PathAddresses()[0], "a URL"},
		"the greeting":           {strings.Join(append(conn.Addresses(), conn.PathAddresses()...), ","), "a URL"},
		"a sealed address":       {conn.SealedAddress(), "a URL"},
		"braces":                 {"{" + id + "}", "a UUID in another form"},
		"braces, upper case":     {"{" + strings.ToUpper(id) + "}", "a UUID in another form"},
		"a URN":                  {"urn:uuid:" + id, "a UUID in another form"},
		"no hyphens":             {strings.ReplaceAll(id, "-", ""), "a UUID in another form"},
		"a path":                 {"/ws/@connections/" + id, "some other text"},
		"a part of it":           {id[:35], "some other text of 35 bytes"},
		"with a line break":      {id + "\n", "some other text of 37 bytes"},
		"a broken sealed ID":     {conn.SealedID() + "=", "a sealed ID that is incomplete or has been changed"},
		"the prefix of one":      {"v1.", "a sealed ID that is incomplete or has been changed"},
		"a name":                 {"ada", "some other text of 3 bytes"},
		"what String says of it": {conn.String(), "some other text of 8 bytes"},
	} {
		_, err := w.Push(ctx, tt.id, wspush.Text, []byte("lost"))
		if !errors.Is(err, wspush.ErrInvalidID) || errors.Is(err, wspush.ErrGone) || !strings.Contains(err.Error(), "got "+tt.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(strings.ToLower(err.Error()), id[:8]) || strings.Contains(err.Error(), conn.SealedID()[:12])) {
			t.Errorf("%s: the error repeats what it got: %v", name, err)
		}
		if again := w.Disconnect(ctx, tt.id, 1000, ""); again == nil || err == nil || again.Error() != err.Error() {
			t.Errorf("%s: Disconnect: %v", name, again)
		}
	}
	if s := w.Stats(); s.RefusedBy != (stats.Refusals{Other: s.Refused}) || s.Refused == 0 {
		t.Errorf("%+v", s)
	}
	for _, of := range []string{id, conn.SealedID()} {
		if _, err := w.Push(ctx, of, wspush.Text, []byte(of)); err != nil {
			t.Error(err)
		}
		client.Expect(testutil.Text, of)
	}
	if _, err := w.Push(ctx, unknownID, wspush.Text, nil); !errors.Is(err, wspush.ErrGone) || errors.Is(err, wspush.ErrInvalidID) {
		t.Error(err)
	}
}

// Disconnect closes a connection of any worker, by its ID where it lives, and by its sealed ID everywhere.
func TestDisconnect(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	server := serve(t, holder, nil)
	ctx := context.Background()
	for name, tt := range map[string]struct {
		worker *wspush.Worker
		name   func(*wspush.Conn) string
		code   int
		reason string
	}{
		"by ID":                  {holder, (*wspush.Conn).ID, 1000, ""},
		"by sealed ID":           {holder, (*wspush.Conn).SealedID, 4001, "signed in elsewhere"},
		"through another worker": {other, (*wspush.Conn).SealedID, 4001, "zwei & drei=3; größer"},
		"any code":               {other, (*wspush.Conn).SealedID, 1002, ""},
		"without a reason":       {other, (*wspush.Conn).SealedID, 1000, ""},
	} {
		client, conn, _ := dial(t, holder, server, testutil.Options{})
		ended, forwarded := conn.Context(), other.Stats().Forwarded
		if err := tt.worker.Disconnect(ctx, tt.name(conn), tt.code, tt.reason); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if code, reason := client.AwaitClose(); code != tt.code || reason != tt.reason {
			t.Errorf("%s: the client is closed with %d %q", name, code, reason)
		}
		<-ended.Done()
		var reason *wspush.CloseError
		if !errors.As(context.Cause(ended), &reason) || reason.Cause != wspush.CauseClosed || reason.Code != tt.code || reason.Reason != tt.reason {
			t.Errorf("%s: the connection ended for %v", name, context.Cause(ended))
		}
		if err := tt.worker.Disconnect(ctx, tt.name(conn), tt.code, tt.reason); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("%s: again: %v", name, err)
		}
		want := uint64(0)
		if tt.worker == other {
			want = 2
		}
		if n := other.Stats().Forwarded - forwarded; n != want {
			t.Errorf("%s: %d requests were forwarded, want %d", name, n, want)
		}
	}
	for _, w := range []*wspush.Worker{holder, other} { // which counts pushes
		if s := w.Stats(); s.Written+s.Refused+s.Unknown != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// What Disconnect refuses, and that nothing is closed then.
func TestDisconnectRefused(t *testing.T) {
	holder, other := newMember(t, wspush.WorkerOptions{}), newMember(t, wspush.WorkerOptions{})
	client, conn, _ := dial(t, holder, serve(t, holder, nil), testutil.Options{})
	ctx := context.Background()
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	for _, w := range []*wspush.Worker{holder, other} {
		for _, code := range []int{-1, 0, 999, 1004, 1005, 1006, 1010, 1015, 2999, 5000} {
			if err := w.Disconnect(ctx, conn.SealedID(), code, ""); err == nil || !strings.Contains(err.Error(), "close code") {
				t.Errorf("%d: %v", code, err)
			}
			if err := conn.Close(code, ""); err == nil {
				t.Errorf("Close takes %d", code)
			}
		}
		for _, reason := range []string{strings.Repeat("x", 124), "\xff"} {
			if err := w.Disconnect(ctx, conn.SealedID(), 1000, reason); err == nil || !strings.Contains(err.Error(), "reason") {
				t.Errorf("%q: %v", reason, err)
			}
		}
		if err := w.Disconnect(cancelled, conn.SealedID(), 1000, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
		if err := w.Disconnect(ctx, unknownID, 1000, ""); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("nobody: %v", err)
		}
		if err := w.Disconnect(ctx, conn.SealedID()+"A", 1000, ""); !errors.Is(err, wspush.ErrForbidden) {
			t.Errorf("a sealed ID that was changed: %v", err)
		}
	}
	if n := other.Stats().Forwarded; n != 0 {
		t.Errorf("%d requests were forwarded", n)
	}
	if _, err := conn.Push(ctx, wspush.Text, []byte("still there")); err != nil {
		t.Error(err)
	}
	client.Expect(testutil.Text, "still there")

	shutDown(t, holder)
	if err := holder.Disconnect(ctx, conn.SealedID(), 1000, ""); !errors.Is(err, wspush.ErrShutdown) {
		t.Errorf("after Shutdown: %v", err)
	}
	if err := other.Disconnect(ctx, conn.SealedID(), 1000, ""); !errors.Is(err, wspush.ErrUnreachable) {
		t.Errorf("the other worker has been shut down: %v", err)
	}
	silent, _ := connectTo(t, behindCutter(t, false))
	if err := other.Disconnect(ctx, silent.SealedID(), 1000, ""); !errors.Is(err, wspush.ErrUnknown) || strings.Contains(err.Error(), "message") {
		t.Errorf("a worker that takes the request and does not answer: %v", err)
	}
}

// needIPv6 skips the test where the machine has no IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	l.Close()
}

// delivers fails the test unless a push to each of the connection's addresses, of both forms, arrives.
func delivers(t *testing.T, c *testutil.Client, conn *wspush.Conn) {
	t.Helper()
	for _, address := range slices.Concat(conn.Addresses(), conn.PathAddresses()) {
		req := newRequest(t, "POST", address, strings.NewReader(address))
		if resp := do(t, req); resp.StatusCode != 204 {
			t.Errorf("POST %s: %s %s", address, resp.Status, text(t, resp))
			continue
		}
		expect(t, c, testutil.Text, address)
	}
}

// hosts are the hosts of addresses.
func hosts(t *testing.T, addresses []string) []netip.Addr {
	t.Helper()
	var all []netip.Addr
	for _, a := range addresses {
		u, err := url.Parse(a)
		if err != nil {
			t.Fatal(err)
		}
		ip, err := netip.ParseAddr(u.Hostname())
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		all = append(all, ip)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// machine returns what a wildcard listener must advertise on this machine.
func machine(t *testing.T, v4, v6 bool) []netip.Addr {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var all, loopback []netip.Addr
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.(*net.IPNet).IP)
		ip = ip.Unmap()
		switch {
		case ip.Is4() && !v4 || ip.Is6() && !v6 || ip.IsLinkLocalUnicast():
		case ip.IsLoopback():
			loopback = append(loopback, ip)
		default:
			all = append(all, ip)
		}
	}
	if len(all) == 0 {
		all = loopback
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// TestListen: a worker advertises what its listener is bound to.
func TestListen(t *testing.T) {
	for _, tc := range []struct {
		listen string
		v4, v6 bool
		one    string // the only host
	}{
		{listen: "", v4: true, one: "127.0.0.1"},
		{listen: "127.0.0.1:0", v4: true, one: "127.0.0.1"},
		{listen: "[::1]:0", v6: true, one: "::1"},
		{listen: "0.0.0.0:0", v4: true},
		{listen: "[::]:0", v6: true},
		{listen: ":0", v4: true, v6: true},
	} {
		t.Run(tc.listen, func(t *testing.T) {
			if tc.v6 {
				needIPv6(t)
			}
			w := newWorker(t, &wspush.WorkerOptions{Listen: tc.listen})
			c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
			want := machine(t, tc.v4, tc.v6)
			if tc.one != "" {
				want = []netip.Addr{netip.MustParseAddr(tc.one)}
			}
			if got := hosts(t, conn.Addresses()); !slices.Equal(got, want) {
				t.Errorf("advertises %v, want %v", got, want)
			}
			delivers(t, c, conn)

			// The loopback address of each family shows what is bound. The port of the other family may be somebody else's.
			_, port, err := net.SplitHostPort(w.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			for host, bound := range map[string]bool{"127.0.0.1": tc.v4, "::1": tc.v6} {
				if got := reaches(net.JoinHostPort(host, port), conn.ID()); got != bound {
					t.Errorf("%s reaches the worker: %t, want %t", host, got, bound)
				}
			}
		})
	}
}

// reaches reports whether the worker that holds the connection with this ID answers at host.
func reaches(host, id string) bool {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + id + "@" + host + "/ws")
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// TestLinkLocalListener: a zone means something only on this machine, so an address has none.
func TestLinkLocalListener(t *testing.T) {
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			ip := a.(*net.IPNet).IP
			if i.Flags&net.FlagUp == 0 || ip.To4() != nil || !ip.IsLinkLocalUnicast() {
				continue
			}
			w := newWorker(t, &wspush.WorkerOptions{Listen: "[" + ip.String() + "%" + i.Name + "]:0"})
			_, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
			want := fmt.Sprintf("http://%s@[%s]:%d/ws", conn.ID(), ip, w.Addr().(*net.TCPAddr).Port)
			if got := conn.Addresses(); len(got) != 1 || got[0] != want {
				t.Errorf("addresses %q, want %q", got, want)
			}
			return
		}
	}
	t.Skip("no interface has a link-local IPv6 address")
}

func TestAdvertise(t *testing.T) {
	cert, _ := testutil.NewCertificate(t)
	for _, tc := range []struct {
		advertise string
		tls       bool
		want      string // %s is the ID, PORT the listener's
		noListen  string // the same with NoListen, if it differs
	}{
		{"10.0.0.5", false, "http://%s@10.0.0.5:PORT/ws", "http://%s@10.0.0.5/ws"},
		{"10.0.0.5:8443", false, "http://%s@10.0.0.5:8443/ws", ""},
		{"push.internal", false, "http://%s@push.internal:PORT/ws", "http://%s@push.internal/ws"},
		{"push.internal:1", false, "http://%s@push.internal:1/ws", ""},
		{"::1", false, "http://%s@[::1]:PORT/ws", "http://%s@[::1]/ws"},
		{"[fd00::5]", false, "http://%s@[fd00::5]:PORT/ws", "http://%s@[fd00::5]/ws"},
		{"[fd00::5]:8443", false, "http://%s@[fd00::5]:8443/ws", ""},
		{"10.0.0.5", true, "https://%s@10.0.0.5:PORT/ws", "-"},
		{"10.0.0.5:8443", true, "https://%s@10.0.0.5:8443/ws", "-"},
		{"[FD00:0::5]:8443", false, "http://%s@[fd00::5]:8443/ws", ""},
		{"Push.Internal:1", false, "http://%s@push.internal:1/ws", ""},
		{"https://push.example.com", false, "https://%s@push.example.com/ws", ""},
		{"https://push.example.com/", false, "https://%s@push.example.com/ws", ""},
		{"http://push.example.com:8080/workers/3", true, "http://%s@push.example.com:8080/workers/3/ws", "-"},
		{"https://[fd00::5]/a,b/", false, "https://%s@[fd00::5]/a%%2Cb/ws", ""},
		{"https://push.example.com/a%20b", false, "https://%s@push.example.com/a%%20b/ws", ""},
	} {
		t.Run(fmt.Sprintf("%s, TLS %t", tc.advertise, tc.tls), func(t *testing.T) {
			check := func(opts wspush.WorkerOptions, want string) {
				t.Helper()
				opts.Advertise = []string{tc.advertise}
				w := newWorker(t, &opts)
				opts.Advertise[0] = "copied.on.entry"
				_, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})
				want = fmt.Sprintf(want, conn.ID())
				if w.Addr() != nil {
					want = strings.Replace(want, "PORT", fmt.Sprint(w.Addr().(*net.TCPAddr).Port), 1)
				}
				if address != want || len(conn.Addresses()) != 1 {
					t.Errorf("addresses %q, want %q", conn.Addresses(), want)
				}
			}
			listen := wspush.WorkerOptions{}
			if tc.tls {
				listen.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
			}
			check(listen, tc.want)
			switch tc.noListen {
			case "-":
			case "":
				check(wspush.WorkerOptions{NoListen: true}, tc.want)
			default:
				check(wspush.WorkerOptions{NoListen: true}, tc.noListen)
			}
		})
	}
}

// TestAdvertiseInvalid: NewWorker refuses an address that nobody can use, and nothing stays bound.
func TestAdvertiseInvalid(t *testing.T) {
	for _, s := range []string{
		"", " ", "a b", "a,b", "10.0.0.5/x", "host:", "host:0", "host:65536", "host:http", ":8080", "[::1", "::1]", "[::1]:", "[host]", "0.0.0.0", "[::]:80", "http://0.0.0.0",
		"fe80::1%eth0", "[fe80::1%eth0]:80", "host:1:2", "user@host", "host?x", "host#x",
		"http://", "http://:8080", "http:///x", "//host", "ftp://host", "ws://host", "http://user@host", "http://host?x=1", "http://host?",
		"localhost.", "http://push.example.com.", "a..b", "127.1", "0x7f000001", "1", "host:080", "host:+80", "10.0.0.256", "224.0.0.1", "[ff02::1]", "255.255.255.255",
		strings.Repeat("a.", 127) + "b", "http://host/" + strings.Repeat("a", 1100), "http://host/a/../b", "http://host/%2e", "http://host/a%5Cb", "http://host/a%00",
		"http://host/@connections", "http://host/%40connections/x", "http://host/%zz",
		"http://host#x", "http://host:0", "http://[fe80::1%25eth0]", "http://a b", "://host", "http://host:x",
	} {
		w, err := wspush.NewWorker(&wspush.WorkerOptions{Advertise: []string{"fine", s}})
		if err == nil {
			t.Errorf("%q is accepted", s)
			w.Shutdown(t.Context())
			continue
		}
		if !strings.HasPrefix(err.Error(), "wspush: ") || !strings.Contains(err.Error(), fmt.Sprintf("%q", s)) {
			t.Errorf("the error for %q does not say so: %v", s, err)
		}
	}
}

// An address that a publisher would refuse for its length is an error, and no surprise for whoever pushes.
func TestAdvertiseMany(t *testing.T) {
	many := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("10.0.0.%d", i+1))
		}
		return all
	}
	w := newWorker(t, &wspush.WorkerOptions{Advertise: append(many(16), "10.0.0.1")}) // twice is once
	_, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	if n := len(conn.Addresses()); n != 16 {
		t.Errorf("%d addresses", n)
	}
	if _, err := wspush.NewWorker(&wspush.WorkerOptions{Advertise: many(17)}); err == nil || !strings.Contains(err.Error(), "Advertise has 17 elements") {
		t.Errorf("17 elements: %v", err)
	}
}

func TestCustomListener(t *testing.T) {
	t.Run("TCP", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		w := newWorker(t, &wspush.WorkerOptions{Listener: l})
		c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
		delivers(t, c, conn)
		c.Close() // or Shutdown would wait for it
		if err := w.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Accept(); err == nil {
			t.Error("Shutdown leaves the listener open")
		}
	})
	t.Run("unix", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "ws") // t.TempDir may be too long for a socket
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		l, err := net.Listen("unix", filepath.Join(dir, "s"))
		if err != nil {
			t.Skipf("no unix sockets: %v", err)
		}
		if _, err := wspush.NewWorker(&wspush.WorkerOptions{Listener: l}); err == nil || !strings.Contains(err.Error(), "Advertise") {
			t.Errorf("without Advertise: %v", err)
		}
		w := newWorker(t, &wspush.WorkerOptions{Listener: l, Advertise: []string{"push.test"}})
		c, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})
		if want := "http://" + conn.ID() + "@push.test/ws"; address != want {
			t.Errorf("address %q, want %q", address, want)
		}
		s, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		s.SetDeadline(time.Now().Add(10 * time.Second))
		r := rawPush(t, s, "POST /ws/@connections/"+conn.ID()+" HTTP/1.1\nHost: push.test\nContent-Length: 1\n\n1")
		want{status: 204}.check(t, "POST", answer(t, r))
		expect(t, c, testutil.Text, "1")
	})
}

// TestStartLog: a wildcard may advertise more than its user expects, so the log names the addresses.
func TestStartLog(t *testing.T) {
	log := &lockedBuffer{}
	newWorker(t, &wspush.WorkerOptions{
		Advertise: []string{"one.test:1", "https://two.test/x"},
		Logger:    slog.New(slog.NewTextHandler(io.MultiWriter(log, t.Output()), nil)),
	})
	if s := log.String(); !strings.Contains(s, "http://one.test:1") || !strings.Contains(s, "https://two.test/x") {
		t.Errorf("the log does not name the advertised addresses: %s", s)
	}
}

// publisher is one that keeps its connections, as real ones do. It may be used by several goroutines.
func publisher(t testing.TB) *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// publish posts a text message and returns the status.
func publish(client *http.Client, address, message string) (int, error) {
	resp, err := client.Post(address, "text/plain", strings.NewReader(message))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// The problem that wspush exists for, and its cure. Two workers stand behind one front, which takes them in turns. A
// message that is posted to the front reaches either, and half of the time it is the one that has never heard of the
// client: 410. Posted to the address in the greeting it arrives, 1000 of 1000.
func TestTwoWorkersBehindOneFront(t *testing.T) {
	t.Parallel()
	var upstreams []*url.URL
	workers := map[string]*wspush.Worker{}
	for range 2 {
		w := newWorker(t, nil)
		mux := http.NewServeMux()
		mux.Handle("GET /ws", newHandler(t, w, nil))
		mux.Handle("/ws", w) // so that a push to the front can reach the right worker at all
		u, err := url.Parse(testutil.Serve(t, mux))
		if err != nil {
			t.Fatal(err)
		}
		upstreams = append(upstreams, u)
		workers[w.Addr().String()] = w
	}
	var turn atomic.Int64
	front := testutil.Serve(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(upstreams[turn.Add(1)%2])
		r.Out.Host = r.In.Host
	}})

	client := testutil.Dial(t, front, testutil.Options{})
	address := client.Text()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if workers[u.Host].Len() != 1 {
		t.Fatalf("%s does not name the worker that has the connection", address)
	}
	received := make(chan int, 1)
	go func() {
		n := 0
		for {
			_, data, err := client.Message()
			if err != nil || string(data) == "end" {
				received <- n
				return
			}
			n++
		}
	}()

	const pushes = 1000
	count := map[int]int{}
	throughFront := strings.Replace(address, u.Host, strings.TrimPrefix(front, "http://"), 1)
	p := publisher(t)
	for i := range 2 * pushes {
		to := throughFront
		if i >= pushes {
			to = address
		}
		status, err := publish(p, to, "message")
		if err != nil {
			t.Fatal(err)
		}
		if i >= pushes && status != 204 {
			t.Fatalf("push %d to the greeting's address: %d", i-pushes, status)
		}
		count[status]++
	}
	missed := count[410]
	if missed == 0 || count[204]+missed != 2*pushes {
		t.Errorf("answers: %v", count)
	}
	if status, err := publish(p, address, "end"); err != nil || status != 204 {
		t.Error(status, err)
	}
	if n := <-received; n != 2*pushes-missed {
		t.Errorf("%d received, %d answered with 204", n, 2*pushes-missed)
	}
	t.Logf("through the front %d of %d missed; at the address none of %d", missed, pushes, pushes)
}

// 500 clients connect at once, and each is pushed to 20 times by 16 publishers, while others come and go. Every message
// reaches its own client, once, and none other; the messages of each publisher arrive in order.
func TestManyClientsManyPublishers(t *testing.T) {
	t.Parallel()
	const clients, publishers, messages = 500, 16, 20
	w := newWorker(t, nil)
	server := serve(t, w, nil)

	// Those who come and go, and whose addresses must not reach anyone else.
	stop := make(chan struct{})
	var passers sync.WaitGroup
	p := publisher(t)
	for range 4 {
		passers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, _, err := testutil.TryDial(t, server, testutil.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				_, address, err := c.Message()
				if err != nil {
					t.Error(err)
				}
				c.Close()
				if status, err := publish(p, string(address), "stray"); err != nil || status != 204 && status != 410 && status != 504 {
					t.Errorf("to a client that has left: %d, %v", status, err)
				}
			}
		})
	}

	addresses := make([]string, clients)
	var connected, done sync.WaitGroup
	connected.Add(clients)
	for i := range clients {
		done.Go(func() {
			c, _, err := testutil.TryDial(t, server, testutil.Options{})
			if err != nil {
				t.Error(err)
				connected.Done()
				return
			}
			defer c.Close()
			_, address, err := c.Message()
			if err != nil {
				t.Error(err)
			}
			addresses[i] = string(address)
			connected.Done()
			var next [publishers]int
			for n := range messages {
				_, data, err := c.Message()
				var to, from, seq int
				if _, scan := fmt.Sscanf(string(data), "%d %d %d", &to, &from, &seq); err != nil || scan != nil {
					t.Errorf("client %d, message %d: %q, %v", i, n, data, err)
					return
				}
				if to != i || seq < next[from] {
					t.Errorf("client %d got %q; expected at least %d from this publisher", i, data, next[from])
				}
				next[from] = seq + 1
			}
			// Nothing more: the next frame answers this close.
			c.SendClose(1000, "")
			if op, data, err := c.Message(); err == nil {
				t.Errorf("client %d got one message too many: %v %q", i, op, data)
			}
		})
	}
	connected.Wait()
	if t.Failed() {
		t.FailNow()
	}
	var sending sync.WaitGroup
	for from := range publishers {
		sending.Go(func() {
			order := rand.Perm(clients)
			for seq := from; seq < messages; seq += publishers {
				for _, to := range order {
					status, err := publish(p, addresses[to], fmt.Sprintf("%d %d %d", to, from, seq))
					if err != nil || status != 204 {
						t.Errorf("push: %d, %v", status, err)
					}
				}
			}
		})
	}
	sending.Wait()
	done.Wait()
	close(stop)
	passers.Wait()
	if s := w.Stats(); s.Written < clients*messages {
		t.Errorf("Stats: %+v", s)
	}
	if err := w.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// An ID is the same in any letter case (RFC 9562 section 4): a publisher whose database or language writes UUIDs in upper case must
// not be told to forget a connection that is there.
func TestIDLetterCase(t *testing.T) {
	w := newWorker(t, nil)
	client, conn, _ := dial(t, w, serve(t, w, nil)+"/ws", testutil.Options{})
	id, ctx := conn.ID(), context.Background()
	upper := strings.ToUpper(id)
	if found, ok := w.Conn(upper); !ok || found != conn {
		t.Error("Conn does not find it")
	}
	if _, err := w.Push(ctx, upper, wspush.Text, []byte("in-process")); err != nil {
		t.Error(err)
	}
	for of, err := range w.PushEachID(ctx, slices.Values([]string{upper}), wspush.Text, []byte("each")) {
		if of != upper || err != nil {
			t.Errorf("PushEachID: %s: %v", of, err)
		}
	}
	b := openBulk(t, dialPush(t, w))
	b.send(`{"to":["`+id+`","`+upper+`"],"text":"list"}`, textLine(upper, "bulk"), textLine(id, "last"))
	b.expect(`{"line":1,"index":0,"status":204}`, `{"line":1,"index":1,"status":204}`, text204(2), text204(3))
	b.end()
	for _, want := range []string{"in-process", "each", "list", "list", "bulk", "last"} {
		client.Expect(testutil.Text, want)
	}
	for _, name := range []string{strings.ToUpper(nobody), nobody} {
		if err := w.Disconnect(ctx, name, 1000, ""); !errors.Is(err, wspush.ErrGone) {
			t.Errorf("nobody's: %v", err)
		}
	}
	resp := do(t, newRequest(t, "GET", "http://"+w.Addr().String()+"/ws/@connections/"+upper, nil))
	if body := text(t, resp); !strings.Contains(body, `"connectionId":"`+id+`"`) {
		t.Errorf("GET: %s", body)
	}
	resp = do(t, newRequest(t, "DELETE", "http://"+w.Addr().String()+"/ws/@connections/"+upper+"?code=4001", nil))
	if resp.Body.Close(); resp.StatusCode != 204 {
		t.Errorf("DELETE: %s", resp.Status)
	}
	if code, _ := client.AwaitClose(); code != 4001 {
		t.Errorf("closed with %d", code)
	}
	if err := w.Disconnect(ctx, upper, 1000, ""); !errors.Is(err, wspush.ErrGone) {
		t.Errorf("when it has ended: %v", err)
	}
}
