package wspush_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// keeping makes an HTTP client that keeps its connections until the test ends.
func keeping(t *testing.T, config *tls.Config, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// postBy is post by this client.
func postBy(t *testing.T, client *http.Client, address, body string) (*http.Response, error) {
	t.Helper()
	resp, err := client.Do(newRequest(t, "POST", address, strings.NewReader(body)))
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

// TestTLSProtocols: the addresses in the greeting say https, and work, with HTTP/1.1 and HTTP/2.
func TestTLSProtocols(t *testing.T) {
	testutil.NoLeak(t)
	certificate, pool := testutil.NewCertificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	w := newWorker(t, &wspush.WorkerOptions{TLS: config})
	if config.NextProtos != nil {
		t.Error("the application's TLS configuration has been changed")
	}
	c, conn, address := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, a := range append(append(conn.PathAddresses(), conn.Addresses()...), address) {
		if !strings.HasPrefix(a, "https://") {
			t.Errorf("address %q", a)
		}
		for major, http2 := range map[int]bool{1: false, 2: true} {
			resp, err := postBy(t, keeping(t, &tls.Config{RootCAs: pool}, http2), a, a)
			if err != nil || resp.StatusCode != 204 || resp.ProtoMajor != major || resp.TLS == nil {
				t.Fatalf("HTTP/%d: %v, %v", major, resp, err)
			}
			c.Expect(testutil.Text, a)
		}
	}
	if resp, err := postBy(t, keeping(t, nil, false), conn.PathAddresses()[0], "x"); err == nil {
		t.Errorf("a publisher that does not trust the certificate gets %v", resp)
	}
	plain := strings.Replace(conn.PathAddresses()[0], "https", "http", 1)
	if resp, err := postBy(t, keeping(t, nil, false), plain, "x"); err != nil || resp.StatusCode != 400 {
		t.Errorf("without TLS: %v, %v", resp, err)
	}
	// Many at a time over one connection.
	many := keeping(t, &tls.Config{RootCAs: pool}, true)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "POST", conn.PathAddresses()[0], strings.NewReader(fmt.Sprint(i)))
			if err != nil {
				t.Error(err)
				return
			}
			resp, err := many.Do(req)
			if err != nil || resp.StatusCode != 204 {
				t.Errorf("%v, %v", resp, err)
			}
		})
	}
	got := map[string]bool{}
	for range 100 {
		got[c.Text()] = true
	}
	if all.Wait(); len(got) != 100 {
		t.Errorf("%d of 100 messages", len(got))
	}
}

// TestClientCertificates: a publisher without the certificate that the worker asks for may not push. AuthorizePush sees the
// certificate.
func TestClientCertificates(t *testing.T) {
	testutil.NoLeak(t)
	certificate, pool := testutil.NewCertificate(t)
	alice, alices := testutil.NewCertificate(t)
	mallory, _ := testutil.NewCertificate(t)
	bob, _ := testutil.NewCertificate(t)
	alices.AddCert(bob.Leaf)
	w := newWorker(t, &wspush.WorkerOptions{
		TLS: &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: alices,
		},
		AuthorizePush: func(r *http.Request) error {
			if r.TLS == nil || len(r.TLS.PeerCertificates) != 1 || len(r.TLS.VerifiedChains) != 1 {
				t.Errorf("AuthorizePush sees %+v", r.TLS)
				return wspush.ErrForbidden
			}
			if !r.TLS.PeerCertificates[0].Equal(alice.Leaf) {
				return wspush.ErrForbidden
			}
			return nil
		},
	})
	c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, http2 := range []bool{false, true} {
		for _, tc := range []struct {
			name         string
			certificates []tls.Certificate
			want         int // 0: none
		}{
			{"none", nil, 0},
			{"a stranger's", []tls.Certificate{mallory}, 0},
			{"one that is known", []tls.Certificate{bob}, 403},
			{"the right one", []tls.Certificate{alice}, 204},
		} {
			// It is sent whatever the server asks for.
			config := &tls.Config{RootCAs: pool, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(tc.certificates) == 0 {
					return new(tls.Certificate), nil
				}
				return &tc.certificates[0], nil
			}}
			resp, err := postBy(t, keeping(t, config, http2), conn.PathAddresses()[0], tc.name)
			if tc.want == 0 && err == nil || tc.want != 0 && (err != nil || resp.StatusCode != tc.want) {
				t.Errorf("HTTP/2 %v: %s: %v, %v", http2, tc.name, resp, err)
			}
		}
		c.Expect(testutil.Text, "the right one")
	}
}

// TestCertificateRenewal: a new certificate takes effect with the next connection. Open connections go on.
func TestCertificateRenewal(t *testing.T) {
	testutil.NoLeak(t)
	var current atomic.Pointer[tls.Certificate]
	pool := x509.NewCertPool()
	renew := func() *x509.Certificate {
		certificate, _ := testutil.NewCertificate(t)
		pool.AddCert(certificate.Leaf)
		current.Store(&certificate)
		return certificate.Leaf
	}
	w := newWorker(t, &wspush.WorkerOptions{TLS: &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
	}})
	c, conn, _ := dial(t, w, serve(t, w, nil), testutil.Options{})
	for _, http2 := range []bool{false, true} {
		first := renew()
		config := &tls.Config{RootCAs: pool}
		old := keeping(t, config, http2)
		push := func(client *http.Client, want *x509.Certificate) {
			t.Helper()
			resp, err := postBy(t, client, conn.PathAddresses()[0], "x")
			if err != nil || resp.StatusCode != 204 {
				t.Fatalf("%v, %v", resp, err)
			}
			if !resp.TLS.PeerCertificates[0].Equal(want) {
				t.Errorf("HTTP/2 %v: the wrong certificate", http2)
			}
			c.Expect(testutil.Text, "x")
		}
		push(old, first)
		second := renew()
		push(keeping(t, config, http2), second)
		push(old, first)
	}
}

// TestTLSRefused: NewWorker refuses a configuration that could serve nothing.
func TestTLSRefused(t *testing.T) {
	certificate, _ := testutil.NewCertificate(t)
	for name, config := range map[string]*tls.Config{
		"no certificate": {},
		"HTTP/2 without its cipher suite": {
			Certificates: []tls.Certificate{certificate}, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, err := wspush.NewWorker(&wspush.WorkerOptions{TLS: config})
			if err == nil || !strings.HasPrefix(err.Error(), "wspush: ") {
				t.Errorf("NewWorker: %v", err)
			}
			if w != nil {
				w.Shutdown(t.Context())
			}
		})
	}
}
