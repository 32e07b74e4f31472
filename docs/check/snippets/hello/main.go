// Command hello is the program in README.md: all that an application needs.
package main

import (
	"log"
	"net/http"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/client"
)

func main() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	handler, err := wspush.NewHandler(worker, &wspush.HandlerOptions{
		PingInterval: 25 * time.Second,
		ResumeWindow: 2 * time.Minute, // for how long a page may be away and miss nothing
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/ws", handler)
	http.Handle("/wspush.js", client.Script()) // the page's side
	// These two bound what somebody costs who has only begun to connect.
	server := &http.Server{Addr: "127.0.0.1:8000", ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	log.Printf("Serving http://%s/", server.Addr)
	log.Fatal(server.ListenAndServe())
}
