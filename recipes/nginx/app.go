// Package nginx is an application of several workers behind nginx. Copy New with behindProxy, and nginx.conf.
package nginx

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/wspush/wspush"
)

// Settings are what the application is told where it is deployed.
type Settings struct {
	// Push is where this worker's push listener is, for nginx and for the other workers: "10.0.0.11:48775", an address of this
	// machine in a network that only they are in.
	Push string
	// PublicURL is where publishers reach nginx: "https://app.example.com".
	PublicURL string
	// Key is the workers' secret, the same for all of them: 32 random bytes.
	Key []byte
	// Token is what publishers have to know besides an address, since they come through the public server.
	Token string
	// Proxies are where nginx is: "10.0.0.10/32".
	Proxies []netip.Prefix
}

// New returns one worker, and the application to be served at the address that nginx.conf has for it.
func New(s Settings) (*wspush.Worker, http.Handler, error) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		Listen:        s.Push,
		PublicURL:     s.PublicURL, // so greetings have https://app.example.com/ws/@connections/SEALED-ID
		Cluster:       &wspush.Cluster{Keys: [][]byte{s.Key}},
		AuthorizePush: wspush.BearerTokens(s.Token),
	})
	if err != nil {
		return nil, nil, err
	}
	sockets, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second, // a third of proxy_read_timeout in nginx.conf
		Accept: func(r *http.Request) (any, error) {
			client, err := netip.ParseAddrPort(r.RemoteAddr) // the client's, by behindProxy
			return client.Addr(), err
		},
	})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /ws", sockets)
	return worker, behindProxy(s.Proxies, mux), nil
}
