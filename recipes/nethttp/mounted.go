package nethttp

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/wspush/wspush"
)

// Mounted returns an application that takes pushes on its own server, with no push listener. baseURL leads to this very
// process, such as "https://app-3.example.com". Since the server is public, whoever pushes needs the token as well.
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
	// Pushes, and no log of them: their paths are secrets.
	mux.Handle("POST /ws", worker)          // http://ID:TOKEN@HOST/ws
	mux.Handle("/ws/@connections/", worker) // http://HOST/ws/@connections/ID
	mux.Handle("/ws/@connections", worker)  // many messages in one request
	return worker, mux, nil
}
