package nethttp

import (
	"log/slog"
	"net/http"
	"time"
)

// logged writes a record for each request once it is answered: for a WebSocket, after the handshake.
func logged(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		noted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(noted, r)
		log.Info("request", "method", r.Method, "path", r.URL.Path, "status", noted.status, "took", time.Since(start))
	})
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets wspush and http.ResponseController find the server's own ResponseWriter. Without it, every handshake is
// refused with 501.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
