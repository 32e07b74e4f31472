package withchi

import (
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/wspush/wspush"
)

// Mounted returns an application that receives pushes on its own server, without a push listener. baseURL must lead to this
// very process, such as "https://app-3.example.com". Since the server is public, pushing requires the token as well.
func Mounted(baseURL, token string, out *log.Logger) (*wspush.Worker, http.Handler, error) {
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
	r := chi.NewRouter()
	r.Group(func(r chi.Router) { // the application, logged
		r.Use(middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: out, NoColor: true}))
		r.Method(http.MethodGet, "/ws", sockets)
	})
	// Pushes are not logged: their paths are secrets.
	r.Method(http.MethodPost, "/ws", worker) // http://ID:TOKEN@HOST/ws
	r.Mount("/ws/@connections", worker)      // http://HOST/ws/@connections/ID, and many messages in one request
	r.Mount("/ws/%40connections", worker)    // the same, as some clients write it: chi compares escaped paths
	return worker, r, nil
}
