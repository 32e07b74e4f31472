package wspush_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// needIPv6 skips the test where the machine has no IPv6.
func needIPv6(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	l.Close()
}

// TestGreeting: byte for byte, in one frame, as the first one.
func TestGreeting(t *testing.T) {
	w := newWorker(t, &wspush.WorkerOptions{Advertise: []string{"10.0.0.5:48775", "fd00::5", "https://push.example.com/w/3/"}})
	c := testutil.Dial(t, serve(t, w, nil), testutil.Options{Path: "/ws?token=secret"})
	f := c.NextFrame()
	if !f.Fin || f.Op != testutil.Text || f.Rsv != 0 || f.Masked {
		t.Errorf("the greeting comes in a %v", f)
	}
	conns := slices.Collect(w.Conns())
	if len(conns) != 1 {
		t.Fatalf("%d connections", len(conns))
	}
	id, port := conns[0].ID(), w.Addr().(*net.TCPAddr).Port
	want := fmt.Sprintf("http://%s@10.0.0.5:48775/ws,http://%[1]s@[fd00::5]:%[2]d/ws,https://%[1]s@push.example.com/w/3/ws", id, port)
	if string(f.Payload) != want {
		t.Errorf("got  %s\nwant %s", f.Payload, want)
	}
	if got := strings.Join(conns[0].Addresses(), ","); got != want {
		t.Errorf("Addresses: %s", got)
	}
	urls := fmt.Sprintf("http://10.0.0.5:48775/ws/@connections/%s,http://[fd00::5]:%[2]d/ws/@connections/%[1]s,https://push.example.com/w/3/ws/@connections/%[1]s", id, port)
	if got := strings.Join(conns[0].PathAddresses(), ","); got != urls {
		t.Errorf("URLs: %s\nwant  %s", got, urls)
	}
	if !regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(id) {
		t.Errorf("%q is no version 4 UUID in canonical text", id)
	}
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

			// The loopback address of each family shows what is bound.
			_, port, err := net.SplitHostPort(w.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			for host, bound := range map[string]bool{"127.0.0.1": tc.v4, "::1": tc.v6} {
				s, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 5*time.Second)
				if err == nil {
					s.Close()
				}
				if (err == nil) != bound {
					t.Errorf("connecting to %s: %v", host, err)
				}
			}
		})
	}
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

func TestWorkerOptionsRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, opts := range map[string]wspush.WorkerOptions{
		"port in use":                {Listen: taken.Addr().String()},
		"no port":                    {Listen: "127.0.0.1"},
		"nonsense":                   {Listen: "a b:c"},
		"Listen and Listener":        {Listen: ":0", Listener: taken},
		"NoListen without Advertise": {NoListen: true},
		"NoListen and Listen":        {NoListen: true, Listen: ":0", Advertise: []string{"x"}},
		"NoListen and Listener":      {NoListen: true, Listener: taken, Advertise: []string{"x"}},
		"NoListen and TLS":           {NoListen: true, TLS: &tls.Config{}, Advertise: []string{"x"}},
		"TLS without certificate":    {TLS: &tls.Config{}},
	} {
		w, err := wspush.NewWorker(&opts)
		if err == nil {
			t.Errorf("%s: accepted", name)
			w.Shutdown(t.Context())
		} else if !strings.HasPrefix(err.Error(), "wspush: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := net.Dial("tcp", taken.Addr().String()); err != nil {
		t.Errorf("the application's listener is not open any more: %v", err)
	} else {
		c.Close()
	}
}

// TestPushOverTLS, with HTTP/1.1 and HTTP/2.
func TestPushOverTLS(t *testing.T) {
	cert, pool := testutil.NewCertificate(t)
	w := newWorker(t, &wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}})
	c, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	if !strings.HasPrefix(address, "https://") {
		t.Fatalf("address %q", address)
	}
	for _, http2 := range []bool{false, true} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, Protocols: protocols}
		defer transport.CloseIdleConnections()
		for _, a := range []string{address, conn.PathAddresses()[0]} {
			resp, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Post(a, "text/plain", strings.NewReader("x"))
			if err != nil {
				t.Fatalf("HTTP/2 %t: %v", http2, err)
			}
			resp.Body.Close()
			if resp.StatusCode != 204 || (resp.ProtoMajor == 2) != http2 {
				t.Errorf("%s %s", resp.Proto, resp.Status)
			}
			expect(t, c, testutil.Text, "x")
		}
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

// TestPath: the path in an address is the one that the client asked for, and a push to it arrives.
func TestPath(t *testing.T) {
	w := newWorker(t, nil)
	h := newHandler(t, w, nil)
	direct := testutil.Serve(t, h)
	stripped := testutil.Serve(t, http.StripPrefix("/app", h))
	for _, tc := range []struct{ server, target, path string }{
		{direct, "/ws", "/ws"},
		{direct, "/ws?token=secret&a=b,c", "/ws"},
		{direct, "/", "/"},
		{direct, "/?x", "/"},
		{direct, "/ws/", "/ws/"},
		{direct, "/ws/a,b,", "/ws/a%2Cb%2C"},
		{direct, "/ws/a%2Cb", "/ws/a%2Cb"},
		{direct, "/ws/a%2cb", "/ws/a%2cb"},
		{direct, "/ws/a%2Fb", "/ws/a%2Fb"},
		{direct, "/ws/a%2Fb,c", "/ws/a%2Fb%2Cc"},
		{direct, "/ws/a%20b%3F%23%25", "/ws/a%20b%3F%23%25"},
		{direct, "/ws/%C3%BC", "/ws/%C3%BC"},
		{direct, "/ws/ü", "/ws/%C3%BC"}, // which a URL cannot have
		{direct, "/ws/a+b;c=d@e:f!g*h'(i)", "/ws/a+b;c=d@e:f!g*h'(i)"},
		{direct, "/ws/[a]", "/ws/[a]"},
		{direct, "/ws/\"a\"", "/ws/%22a%22"},
		{direct, "//ws", "//ws"},
		{direct, "//", "//"},
		{direct, "/a//b", "/a//b"},
		{direct, "/a/../b", "/a/../b"},
		{direct, "http://elsewhere.test/ws", "/ws"},
		{direct, "http://elsewhere.test", "/"},
		{stripped, "/app/ws", "/app/ws"},
		{stripped, "/app/", "/app/"},
		{stripped, "/app", "/app"},
		{stripped, "/app/a%2Fb", "/app/a%2Fb"},
	} {
		t.Run(tc.target, func(t *testing.T) {
			c := testutil.Dial(t, tc.server, testutil.Options{Path: tc.target})
			greeting := c.Text()
			conns := slices.Collect(w.Conns())
			if len(conns) != 1 {
				t.Fatalf("%d connections", len(conns))
			}
			conn := conns[0]
			if want := "http://" + conn.ID() + "@" + w.Addr().String() + tc.path; greeting != want {
				t.Errorf("greeting %q, want %q", greeting, want)
			}
			if conn.Info().Path != tc.path {
				t.Errorf("Path is %q, want %q", conn.Info().Path, tc.path)
			}
			for _, a := range append(conn.Addresses(), conn.PathAddresses()...) {
				// Sent as it stands: what curl --path-as-is does.
				u, err := url.Parse(a)
				if err != nil {
					t.Fatal(err)
				}
				target := strings.TrimPrefix(strings.TrimPrefix(a, "http://"+conn.ID()+"@"), "http://")
				target = strings.TrimPrefix(target, w.Addr().String())
				req := newRequest(t, "POST", a, strings.NewReader("as Go sends it"))
				want{status: 204}.check(t, "POST", do(t, req))
				expect(t, c, testutil.Text, "as Go sends it")
				s, err := net.Dial("tcp", u.Host)
				if err != nil {
					t.Fatal(err)
				}
				s.SetDeadline(time.Now().Add(10 * time.Second))
				auth := ""
				if u.User != nil {
					req.SetBasicAuth(u.User.Username(), "")
					auth = "Authorization: " + req.Header.Get("Authorization") + "\n"
				}
				r := rawPush(t, s, "POST "+target+" HTTP/1.1\nHost: x\n"+auth+"Content-Length: 5\n\nas is")
				want{status: 204}.check(t, "POST", answer(t, r))
				expect(t, c, testutil.Text, "as is")
			}
			c.SendClose(1000, "")
			c.AwaitClose()
			testutil.Eventually(t, "the connection to leave", func() bool { return w.Len() == 0 })
		})
	}
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
