package snippets

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/publisher"
	"github.com/wspush/wspush/wspushtest"
)

// secretAddresses makes a Handler whose clients never learn their addresses: the worker remembers them itself.
func secretAddresses(worker *wspush.Worker, addresses table) (*wspush.Handler, error) {
	return wspush.NewHandler(worker, &wspush.HandlerOptions{
		Accept: func(r *http.Request) (any, error) { return userOf(r) }, // from the session
		Greeting: func(c *wspush.Conn) (wspush.MessageType, []byte) {
			if err := addresses.put(c.Context(), c.Value().(string), strings.Join(c.PathAddresses(), ",")); err != nil {
				_ = c.Close(1013, "try again later")
			}
			return wspush.Text, []byte("welcome") // and no address
		},
		OnDisconnect: func(c *wspush.Conn, _ error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = addresses.remove(ctx, c.Value().(string), strings.Join(c.PathAddresses(), ",")) // if not, the next push finds 410
		},
	})
}

func TestSecretAddresses(t *testing.T) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	addresses := &inMemory{changed: make(chan struct{}, 10)}
	handler, err := secretAddresses(worker, addresses)
	if err != nil {
		t.Fatal(err)
	}
	c := dialClient(t, serveFor(t, handler)+"/ws?user=ada")
	<-addresses.changed
	if got := c.next(); got != "welcome" {
		t.Errorf("greeted with %q", got)
	}
	client, err := publisher.New(&publisher.Options{Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	of, _ := addresses.of(t.Context(), "ada")
	if len(of) != 1 {
		t.Fatalf("%d addresses are remembered", len(of))
	}
	if _, err := client.Push(t.Context(), of[0], publisher.Text, []byte("the first message")); err != nil {
		t.Fatal(err)
	}
	if got := c.next(); got != "the first message" {
		t.Errorf("received %q", got)
	}
	c.conn.Close()
	<-addresses.changed
	if of, _ := addresses.of(t.Context(), "ada"); len(of) != 0 {
		t.Errorf("%d addresses are remembered of who has left", len(of))
	}
}

// slowTable takes a second to put a row in, in the middle of which something happens.
type slowTable struct {
	inMemory
	meanwhile func()
}

func (s *slowTable) put(ctx context.Context, user, connection string) error {
	<-time.After(time.Second / 2)
	s.meanwhile()
	<-time.After(time.Second / 2)
	return s.inMemory.put(ctx, user, connection)
}

// A page that loads what it shows when it is welcomed, as security.md says, and faq.md of clients that are not connected, has every message that is
// stored before it is pushed: also one that comes while its address is being put into the table.
func TestNothingFallsBetweenLoadingAndPushing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worker := wspushtest.NewWorker(t, nil)
		var stored []string
		addresses := &slowTable{inMemory: inMemory{changed: make(chan struct{}, 10)}}
		notify := func(text string) {
			stored = append(stored, text)
			of, _ := addresses.of(t.Context(), "ada")
			for _, address := range of {
				_, id, _ := strings.Cut(address, "/@connections/")
				if _, err := worker.Push(t.Context(), id, wspush.Text, []byte(text)); err != nil {
					t.Error(err)
				}
			}
		}
		addresses.meanwhile = func() { notify("while the address is stored") }
		handler, err := secretAddresses(worker, addresses)
		if err != nil {
			t.Fatal(err)
		}
		notify("before")
		c := wspushtest.Connect(t, handler, "/ws?user=ada", nil)
		shown := slices.Clone(stored) // what the page loads
		if string(c.Greeting.Data) != "welcome" {
			t.Errorf("greeted with %q", c.Greeting.Data)
		}
		<-time.After(time.Minute)
		notify("after")
		shown = append(shown, string(c.Next().Data))
		if !slices.Equal(shown, stored) {
			t.Errorf("the page has %q of %q", shown, stored)
		}
		c.Close(1000, "")
		synctest.Wait()
	})
}

// expiringLogins makes a Handler whose clients are closed when their token expires.
func expiringLogins(worker *wspush.Worker) (*wspush.Handler, error) {
	return wspush.NewHandler(worker, &wspush.HandlerOptions{
		Accept:  func(r *http.Request) (any, error) { return claimsOf(r) }, // from the token
		Expires: func(_ *http.Request, value any) time.Time { return value.(claims).expires },
		MaxAge:  12 * time.Hour, // a token that has been revoked meanwhile is refused after that
	})
}

// claims are what a token says.
type claims struct{ expires time.Time }

// claimsOf reads a token that says only for how long it is good.
func claimsOf(r *http.Request) (claims, error) {
	good, err := time.ParseDuration(r.URL.Query().Get("good"))
	if err != nil {
		return claims{}, wspush.ErrUnauthorized
	}
	return claims{time.Now().Add(good)}, nil
}

func TestExpiringLogins(t *testing.T) {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	handler, err := expiringLogins(worker)
	if err != nil {
		t.Fatal(err)
	}
	url := serveFor(t, handler) + "/ws?good="
	c := dialClient(t, url+"300ms")
	c.next()
	_, _, err = c.conn.ReadMessage()
	var closed *websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 3000 || closed.Text != "expired" {
		t.Errorf("the client of a token that has expired: %v", err)
	}
	if _, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"0s", nil); resp == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a token that has expired is answered with %v, %v", resp, err)
	}
}

func TestTokens(t *testing.T) {
	t.Setenv("PUSH_TOKEN", "new")
	t.Setenv("PUSH_TOKEN_BEFORE", "old")
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		AuthorizePush: wspush.BearerTokens(os.Getenv("PUSH_TOKEN"), os.Getenv("PUSH_TOKEN_BEFORE")),
	})
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	url := "http://" + worker.Addr().String() + "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	for token, want := range map[string]int{"new": http.StatusGone, "old": http.StatusGone, "older": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		if got := postWith(t, url, "Authorization", "Bearer "+token); got != want {
			t.Errorf("%q is answered %d, want %d", token, got, want)
		}
	}
}

// A page of another origin is refused, unless PushOrigins names it.
func TestPushOrigins(t *testing.T) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{PushOrigins: []string{"https://admin.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	url := "http://" + worker.Addr().String() + "/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	for origin, want := range map[string]int{"https://admin.example.com": http.StatusGone, "https://example.org": http.StatusForbidden} {
		if got := postWith(t, url, "Origin", origin); got != want {
			t.Errorf("%q is answered %d, want %d", origin, got, want)
		}
	}
}

// Certificates on both sides.
func TestMutualTLS(t *testing.T) {
	authority, pool := newAuthority(t)
	workersCertificate, publishersCertificate := authority.issue(t), authority.issue(t)
	getCertificate := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &workersCertificate, nil }

	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		TLS: &tls.Config{
			GetCertificate: getCertificate, // asked for each connection, so a certificate can be renewed without a restart
			ClientAuth:     tls.RequireAndVerifyClientCert,
			ClientCAs:      pool,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	shutdownAfter(t, worker)
	address := "https://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@" + worker.Addr().String() + "/ws" // of a client that has left
	for _, tt := range []struct {
		certificates []tls.Certificate
		gone         bool
	}{
		{[]tls.Certificate{publishersCertificate}, true},
		{nil, false},
	} {
		client, err := publisher.New(&publisher.Options{
			Prefixes: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			TLS:      &tls.Config{RootCAs: pool, Certificates: tt.certificates},
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Push(t.Context(), address, publisher.Text, []byte("hello"))
		client.Close()
		if got := errors.Is(err, publisher.ErrGone); got != tt.gone || err == nil {
			t.Errorf("with %d certificates: %v", len(tt.certificates), err)
		}
	}
}

// The three steps of a change of keys, and what each worker that has got so far says of an address from before.
func TestKeyRotation(t *testing.T) {
	before, after := make([]byte, 32), make([]byte, 32)
	_, _ = rand.Read(before)
	_, _ = rand.Read(after)
	steps := [][][]byte{
		{before},
		{before, after}, // on every worker, before
		{after, before}, // on every worker, and, once no address that was sealed before is in use,
		{after},
	}
	const address = "127.0.0.1:1" // where nobody listens: 502 means that the token was opened
	tokens := make([]string, len(steps))
	workers := make([]*wspush.Worker, len(steps))
	for i, keys := range steps {
		worker, err := wspush.NewWorker(&wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: keys}})
		if err != nil {
			t.Fatal(err)
		}
		shutdownAfter(t, worker)
		workers[i] = worker
		sealing, err := wspush.NewWorker(&wspush.WorkerOptions{Cluster: &wspush.Cluster{Keys: keys, Address: address}})
		if err != nil {
			t.Fatal(err)
		}
		shutdownAfter(t, sealing)
		handler, err := wspush.NewHandler(sealing, nil)
		if err != nil {
			t.Fatal(err)
		}
		dialClient(t, serveFor(t, handler)).next()
		for c := range sealing.Conns() {
			tokens[i] = c.SealedID()
		}
	}
	for i, token := range tokens {
		for j, worker := range workers {
			want := wspush.ErrUnreachable
			if i < 2 && j == 3 || i > 1 && j == 0 { // two steps apart
				want = wspush.ErrForbidden
			}
			if _, err := worker.Push(t.Context(), token, wspush.Text, nil); !errors.Is(err, want) {
				t.Errorf("sealed in step %d, opened in step %d: %v, want %v", i, j, err, want)
			}
		}
	}
}

// What a browser sends as its address may lead anywhere.
func TestAllowed(t *testing.T) {
	client, err := publisher.New(&publisher.Options{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, // where the workers are, and nothing else
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const id = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	for _, address := range []string{
		"http://" + id + "@169.254.169.254/latest/meta-data",
		"http://" + id + "@localhost:6379/ws",
		"http://10.1.0.5:48775/admin",
		"http://10.1.0.5:48775@10.2.0.1/ws/@connections/" + id,
		"file:///etc/passwd",
	} {
		if _, err := client.Push(t.Context(), address, publisher.Text, []byte("hello")); !errors.Is(err, publisher.ErrAddress) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// postWith posts nothing, with one more header, and returns the status of the answer.
func postWith(t *testing.T, url, header, value string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(header, value)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// authority issues certificates for 127.0.0.1.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) (*authority, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(certificate)
	return &authority{certificate, key}, pool
}

func (a *authority) issue(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
