package nethttp

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/wspush/wspush"
)

// Mounted returns an application that receives pushes on its own server, without a push listener. baseURL must lead to this
// very process, such as "https://app-3.example.com". Since the server is public, pushing requires the token as well.
func Mounted(baseURL, token string, log *slog.Logger) (*wspush.Worker, http.Handler, error) {
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		NoListen:      true,
		Advertise:     []string{baseURL},
		AuthorizePush: wspush.BearerTokens(token),
	})
	if err != nil {
		return nil, nil, err
	}
	sockets, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
	if err != nil {
		return nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", logged(log, http.NotFoundHandler())) // the rest of the application
	mux.Handle("GET /ws", logged(log, sockets))
	// Pushes are not logged: their paths are secrets.
	mux.Handle("POST /ws", worker)          // http://ID:TOKEN@HOST/ws
	mux.Handle("/ws/@connections/", worker) // http://HOST/ws/@connections/ID
	mux.Handle("/ws/@connections", worker)  // many messages in one request
	return worker, mux, nil
}
