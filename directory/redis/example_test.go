package wspushredis_test

import (
	"log"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush"
	wspushredis "github.com/wspush/wspush/directory/redis"
)

func Example() {
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs:                 []string{"127.0.0.1:6379"},
		ContextTimeoutEnabled: true,
		DialerRetries:         1,
	})
	defer client.Close()
	directory, err := wspushredis.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
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
