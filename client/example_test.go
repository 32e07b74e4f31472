package client_test

import (
	"net/http"

	"github.com/wspush/wspush/client"
)

func ExampleScript() {
	http.Handle("/wspush.js", client.Script())
}
