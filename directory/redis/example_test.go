package wspushredis_test

import (
	"log"

	"github.com/redis/go-redis/v9"

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
	_ = directory // for the workers' Cluster
}
