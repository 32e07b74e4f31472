module github.com/wspush/wspush/docs/check

go 1.25.0

replace github.com/wspush/wspush => ../../

require (
	github.com/coder/websocket v1.8.15
	github.com/wspush/wspush v0.0.0-00010101000000-000000000000
)

require github.com/google/uuid v1.6.0 // indirect
