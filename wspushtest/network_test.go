package wspushtest_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/publisher"
	"github.com/wspush/wspush/wspushtest"
)

// listen serves h on a port of 127.0.0.1.
func listen(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// With a listener, anyone with the address can push: any HTTP client, package publisher, and a client in memory.
func TestPushOverTheNetwork(t *testing.T) {
	testutil.NoLeak(t)
	s := wspushtest.New(t, &wspushtest.Options{Worker: wspush.WorkerOptions{Listen: "127.0.0.1:0"}})
	c := s.Connect()
	if want := "http://" + c.ID + "@" + s.Worker.Addr().String() + "/ws"; c.Address() != want {
		t.Errorf("the address is %s, want %s", c.Address(), want)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	for _, client := range []*http.Client{{Transport: transport}, s.HTTPClient()} {
		resp, err := client.Post(c.Address(), "text/plain", strings.NewReader("over HTTP"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			t.Errorf("got %s", resp.Status)
		}
		c.Expect("over HTTP")
	}
	p, err := publisher.New(&publisher.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Push(t.Context(), c.Address(), publisher.Binary, []byte("by publisher")); err != nil {
		t.Error(err)
	}
	c.ExpectBinary([]byte("by publisher"))
}

// Dial connects over TLS too, and its client can be paused as well.
func TestDialTLS(t *testing.T) {
	s := wspushtest.New(t, nil)
	server := httptest.NewTLSServer(s.Handler)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c := wspushtest.Dial(t, "wss"+strings.TrimPrefix(server.URL, "https")+"/ws", &wspushtest.ClientOptions{TLS: &tls.Config{RootCAs: roots}})
	s.PushAndExpect(c, "a")
	c.Pause()
	s.Push(c, "b") // into the kernel's buffer
	c.ExpectNothing(0)
	c.Resume()
	c.Expect("b")
	c.Close(1000, "")
}

// Nothing made for a test outlives it, whatever state it was in.
func TestNoLeak(t *testing.T) {
	testutil.NoLeak(t)
	t.Run("test", func(t *testing.T) {
		s := wspushtest.New(t, nil)
		c := s.Connect()
		s.Push(c, "never read")
		s.Connect().Pause()
		s.Connect().Close(1000, "")
		s.Connect().Disconnect()
		resp, err := s.HTTPClient().Get(c.Address())
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		wspushtest.ExpectRefused(t, http.NotFoundHandler(), "/", http.StatusNotFound, nil)
	})
}
