package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush"
	wspushnats "github.com/wspush/wspush/directory/nats"
	wspushredis "github.com/wspush/wspush/directory/redis"
)

// key is what all workers share.
var key = []byte("a key for benchmarks, not random")

// find has a worker find the users of others: through redis://HOST:PORT, through nats://HOST:PORT, or by asking a list of addresses.
func find(through, own string) (*wspush.Cluster, error) {
	c := &wspush.Cluster{Keys: [][]byte{key}, Address: "http://" + own}
	if !strings.Contains(through, "://") {
		all := strings.Split(through, ",")
		c.Peers = func(context.Context) ([]string, error) { return all, nil }
		return c, nil
	}
	u, err := url.Parse(through)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "redis":
		c.Directory, err = wspushredis.New(redis.NewClient(&redis.Options{Addr: u.Host, ContextTimeoutEnabled: true}), nil)
	case "nats":
		conn, err := nats.Connect(through)
		if err != nil {
			return nil, err
		}
		c.Directory, err = wspushnats.New(conn, nil)
		return c, err
	default:
		err = fmt.Errorf("there is no directory %q", through)
	}
	return c, err
}
