package main

import (
	"strings"

	"github.com/wspush/wspush"
)

const token = "mF9-B5f-41JqM-Zr7Yq0u2Kx4hV8sT1d"

// authorize has a worker refuse publishers without the token, and puts the token into the addresses that clients are greeted with.
func authorize(opts *wspush.WorkerOptions, address func(*wspush.Conn) string) func(*wspush.Conn) string {
	opts.AuthorizePush = wspush.BearerTokens(token)
	return func(c *wspush.Conn) string { return strings.Replace(address(c), "://", "://token:"+token+"@", 1) }
}
