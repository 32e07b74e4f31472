// Command hello is the program in README.md: all that an application needs.
package main

import (
	"log"
	"net/http"
	"time"

	"github.com/wspush/wspush"
)

func main() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{PingInterval: 25 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/ws", handler)
	log.Fatal(http.ListenAndServe("127.0.0.1:8080", nil))
}
