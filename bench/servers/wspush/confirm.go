package main

import (
	"math/rand/v2"
	"net/http"

	"github.com/wspush/wspush"

	"github.com/wspush/wspush/bench/servers/internal/control"
)

// confirm has publishers push in-process, each time to any of the connections, and wait until the client has read it if the
// request says confirmed=true.
func confirm(worker *wspush.Worker, w http.ResponseWriter, r *http.Request) {
	var ids []string
	for c := range worker.Conns() {
		ids = append(ids, c.ID())
	}
	if len(ids) == 0 {
		http.Error(w, "there are no connections", http.StatusConflict)
		return
	}
	ctx, confirmed := r.Context(), r.FormValue("confirmed") == "true"
	control.Hot(w, r, func(data []byte) error {
		id := ids[rand.IntN(len(ids))]
		if !confirmed {
			_, err := worker.Push(ctx, id, wspush.Text, data)
			return err
		}
		_, err := worker.Push(ctx, id, wspush.Text, data, wspush.Confirmed())
		return err
	})
}
