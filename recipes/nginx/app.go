// Package nginx is an application with several workers behind nginx. Copy New with behindProxy, and nginx.conf.
package nginx

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/wspush/wspush"
)

// Settings are an application's settings in a deployment.
type Settings struct {
	// Push is this worker's push listener, for nginx and the other workers: "10.0.0.11:48775", an address of this machine
	// in a network that only they can reach.
	Push string
	// PublicURL is nginx's URL for publishers: "https://app.example.com".
	PublicURL string
	// Key is the secret that all workers share: 32 random bytes.
	Key []byte
	// Token is what publishers need besides an address, since they come through the public server.
	Token string
	// Proxies are nginx's addresses: "10.0.0.10/32".
	Proxies []netip.Prefix
}

// New returns a worker, and the application, to be served at the worker's address in nginx.conf.
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
			client, err := netip.ParseAddrPort(r.RemoteAddr) // the client's, thanks to behindProxy
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
