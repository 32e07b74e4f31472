package wspushnats_test

import (
	"log"

	"github.com/nats-io/nats.go"

	wspushnats "github.com/wspush/wspush/directory/nats"
)

func Example() {
	connection, err := nats.Connect("nats://127.0.0.1:4222", nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	directory, err := wspushnats.New(connection, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer directory.Close()
	_ = directory // for the workers' Cluster
}
