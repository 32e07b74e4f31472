package main

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"

	"github.com/wspush/wspush/directory"
	wspushnats "github.com/wspush/wspush/directory/nats"
	wspushredis "github.com/wspush/wspush/directory/redis"
)

// openRedis makes a directory in Redis. It does not wait for the server: until that answers, pushes to users and groups are 503.
func openRedis(url string) (directory.Directory, closer, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, fmt.Errorf("-redis: %w", err)
	}
	options.ContextTimeoutEnabled = true // or commands that nobody waits for any longer would hold connections
	client := redis.NewClient(options)
	d, err := wspushredis.New(client, nil)
	return d, client.Close, err
}

// silent keeps go-redis from logging each attempt to connect by itself: the worker warns once.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// openNATS makes a directory in NATS. It does not wait for the server either.
func openNATS(url string) (directory.Directory, closer, error) {
	// Without MaxReconnects(-1) the client would give up after two minutes without a server.
	connection, err := nats.Connect(url, nats.MaxReconnects(-1), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, nil, fmt.Errorf("-nats: %w", err)
	}
	d, err := wspushnats.New(connection, nil)
	if err != nil {
		connection.Close()
		return nil, nil, err
	}
	return d, func() error {
		defer connection.Close()
		return d.Close()
	}, nil
}
