package console_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/console"
)

// The console behind an application's own login; here HTTP basic authentication stands in for it.
func Example() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())

	c, err := console.New(worker, &console.Options{
		Label: func(c *wspush.Conn) string { return fmt.Sprint(c.Value()) }, // what HandlerOptions.Accept returned
		User: func(r *http.Request) string {
			name, _, _ := r.BasicAuth()
			return name
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Shutdown(context.Background())

	mux := http.NewServeMux()
	mux.Handle("/debug/wspush/", onlyOperators(c)) // never without the login

	for _, password := range []string{"guess", "a long secret"} {
		r := httptest.NewRequest(http.MethodGet, "/debug/wspush/", nil)
		r.SetBasicAuth("ada", password)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 401
	// 200
}

// onlyOperators stands for the application's own authentication: anyone who gets past it can push to every client.
func onlyOperators(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, password, _ := r.BasicAuth(); !isOperator(name, password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="operators"`)
			http.Error(w, "operators only", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func isOperator(name, password string) bool { return name == "ada" && password == "a long secret" }
