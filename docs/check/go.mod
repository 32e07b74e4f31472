module github.com/wspush/wspush/docs/check

go 1.25.0

replace github.com/wspush/wspush => ../../

require github.com/coder/websocket v1.8.15
