package wspushnats_test

import (
	"log"
	"os"

	"github.com/nats-io/nats.go"

	"github.com/wspush/wspush"
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
	worker, err := wspush.NewWorker(&wspush.WorkerOptions{
		Cluster: &wspush.Cluster{
			Keys:      [][]byte{clusterKey()}, // the same on every worker
			Directory: directory,
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = worker // whose handlers have HandlerOptions.User and Groups
}

// clusterKey is the application's secret.
func clusterKey() []byte { return []byte(os.Getenv("CLUSTER_KEY")) }
