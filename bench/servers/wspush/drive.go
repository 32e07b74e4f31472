package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

// handleDrive lets the benchmark ask for the sealed IDs of a worker's connections, and have a worker push to such, of whichever
// worker they are.
func handleDrive(mux *http.ServeMux, worker *wspush.Worker) {
	mux.HandleFunc("GET /bench/ids", func(w http.ResponseWriter, _ *http.Request) {
		for c := range worker.Conns() {
			fmt.Fprintln(w, c.SealedID())
		}
	})
	mux.HandleFunc("POST /bench/drive", func(w http.ResponseWriter, r *http.Request) {
		list, err := io.ReadAll(r.Body)
		ids := strings.Fields(string(list))
		if err != nil || len(ids) == 0 {
			http.Error(w, "there must be sealed IDs to push to, one a line", http.StatusBadRequest)
			return
		}
		control.Hot(w, r, func(data []byte) error {
			_, err := worker.Push(context.Background(), ids[rand.IntN(len(ids))], wspush.Text, data)
			return err
		})
	})
}
