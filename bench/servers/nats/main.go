// Command nats is a NATS server with JetStream for the benchmark, which needs none that is installed.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/url"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	dir := flag.String("dir", "", "`directory` for what it stores")
	flag.Parse()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: *dir, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("not ready after 10 s")
	}
	u, err := url.Parse(s.ClientURL())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready", u.Host)
	s.WaitForShutdown()
}
