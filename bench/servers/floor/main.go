// Command floor is a server that answers every request with 204, and does nothing else: what net/http itself costs.
package main

import (
	"net/http"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

func main() {
	s := control.New()
	s.Mux.HandleFunc("POST /", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	s.Serve(func(string, []byte) error { return control.ErrGone })
}
