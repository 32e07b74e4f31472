//go:build linux

package nginx

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/testutil"
)

// nginxProgram finds nginx: /usr/sbin is not on everyone's PATH. If it is missing, the test fails in CI and is skipped
// elsewhere.
func nginxProgram(t *testing.T) string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	const missing = "nginx is missing; to install it: apt-get install nginx-light"
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// reserve takes a free port, since nginx cannot choose one itself. It is closed just before nginx starts.
func reserve(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// server is nginx running with the recipe's nginx.conf.
type server struct {
	http, https string // addresses
	dir         string // with access.log and error.log
	tls         *tls.Config
	stop        func() // returns when nginx has ended and written its logs; may be called again
}

// upstreams are the addresses of two workers.
type upstreams struct{ apps, pushes [2]string }

// start starts nginx in place of a listener, and stops it when the test ends. The replacements are pairs as for
// strings.NewReplacer, in addition to those of addresses and folders.
func start(t *testing.T, to upstreams, https net.Listener, replacements ...string) *server {
	t.Helper()
	program := nginxProgram(t)
	plain := reserve(t)
	s := &server{http: plain.Addr().String(), https: https.Addr().String(), dir: t.TempDir()}
	// When started as root, nginx runs its processes as another user, who must be able to reach the files.
	for _, dir := range []string{s.dir, filepath.Dir(s.dir)} {
		if err := os.Chmod(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	s.tls = s.makeCertificate(t)
	config := s.configure(t, append([]string{
		"10.0.0.11:8080", to.apps[0],
		"10.0.0.12:8080", to.apps[1],
		"10.0.0.11:48775", to.pushes[0],
		"10.0.0.12:48775", to.pushes[1],
		"listen 80;", "listen " + s.http + ";",
		"listen 443 ssl;", "listen " + s.https + " ssl;",
		"/etc/ssl/app.example.com/fullchain.pem", s.dir + "/fullchain.pem",
		"/etc/ssl/app.example.com/privkey.pem", s.dir + "/privkey.pem",
		"/var/log/nginx/error.log", s.dir + "/error.log",
		"/var/log/nginx/access.log", s.dir + "/access.log",
		// The folders compiled into nginx belong to the system's nginx and to root. A process without root's rights can use
		// neither them nor more descriptors.
		"http {\n", "http {\n\tclient_body_temp_path body;\n\tproxy_temp_path proxy;\n\tfastcgi_temp_path fastcgi;\n\tuwsgi_temp_path uwsgi;\n\tscgi_temp_path scgi;\n",
	}, replacements...))

	// Without -e it would first try its compiled-in log file.
	cmd := exec.Command(program, "-p", s.dir, "-c", config, "-e", s.dir+"/early.log", "-g", "daemon off; pid nginx.pid;")
	cmd.Stderr = t.Output()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its processes can be ended together
	plain.Close()
	https.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	s.stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // at once: connected clients are cut off
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("nginx does not stop")
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			<-ended
		}
	})
	t.Cleanup(s.stop)
	testutil.Eventually(t, "nginx answers", func() bool {
		select {
		case err := <-ended:
			ended <- err
			early, _ := os.ReadFile(s.dir + "/early.log")
			t.Fatalf("nginx has ended: %v\n%s", err, early)
		default:
		}
		conn, err := net.Dial("tcp", s.https)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	return s
}

// makeCertificate makes a certificate, and returns a client configuration that trusts only that.
func (s *server) makeCertificate(t *testing.T) *tls.Config {
	t.Helper()
	cert, pool := testutil.NewCertificate(t)
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"fullchain.pem": {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		"privkey.pem":   {Type: "EC PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &tls.Config{RootCAs: pool}
}

// configure writes nginx.conf with the pairs replaced, each of which must occur exactly once, and returns its path.
func (s *server) configure(t *testing.T, pairs []string) (path string) {
	t.Helper()
	text, err := os.ReadFile("nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(string(text), pairs[i]); n != 1 {
			t.Fatalf("%q is %d times in nginx.conf", pairs[i], n)
		}
	}
	path = filepath.Join(s.dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(strings.NewReplacer(pairs...).Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// dial connects by wss from an address of this machine; on Linux, all of 127.0.0.0/8 are.
func (s *server) dial(t *testing.T, from string, header http.Header) *testutil.Client {
	t.Helper()
	dialer := &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := tls.DialWithDialer(dialer, "tcp", s.https, s.tls)
	if err != nil {
		t.Fatal(err)
	}
	return testutil.Handshake(t, conn, testutil.Options{Header: header})
}

// client returns an HTTP client that trusts the certificate and keeps no connections.
func (s *server) client() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: s.tls, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
}

// log returns what nginx has logged so far.
func (s *server) log(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// leaked stops nginx, and returns the logs that contain an address.
func (s *server) leaked(t *testing.T) (logs string) {
	t.Helper()
	s.stop()
	for _, name := range []string{"access.log", "error.log"} {
		if log := s.log(t, name); regexp.MustCompile("(?:@|%40)connections").MatchString(log) {
			logs += log
		}
	}
	return logs
}

// dialBehind connects to the first worker's application, bypassing nginx, with its own X-Forwarded-For.
func (s *site) dialBehind(t *testing.T, from, forwardedFor string) *testutil.Client {
	t.Helper()
	dialer := &net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(s.apps[0], "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return testutil.Handshake(t, conn, testutil.Options{Header: http.Header{"X-Forwarded-For": {forwardedFor}}})
}
