module github.com/wspush/wspush/directory/redis

go 1.25.0

replace github.com/wspush/wspush => ../../

require (
	github.com/redis/go-redis/v9 v9.22.0
	github.com/wspush/wspush v0.0.0-00010101000000-000000000000
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/coder/websocket v1.8.15 // indirect
	github.com/google/uuid v1.6.0 // indirect
	go.uber.org/atomic v1.11.0 // indirect
	golang.org/x/sys v0.30.0 // indirect
)
