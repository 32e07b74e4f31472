module github.com/wspush/wspush/e2e/chaos

go 1.25.0

replace github.com/wspush/wspush => ../..

require (
	github.com/gorilla/websocket v1.5.3
	github.com/wspush/wspush v0.0.0-00010101000000-000000000000
	golang.org/x/sys v0.38.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/google/uuid v1.6.0 // indirect
)
