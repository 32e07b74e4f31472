package middleware

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"testing"
	"time"

	chimiddleware "github.com/go-chi/chi/v5/middleware"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/recipes/internal/recipetest"
)

// Around a mounted Worker, bulk requests are the hard case: they are answered while being sent. Single pushes always
// arrive.
func TestPushesSurrounded(t *testing.T) {
	tests := []struct {
		name   string
		around middleware
		want   int // to a bulk request
	}{
		{"a wrapper with Unwrap", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return unwrapping{w} }), http.StatusOK},
		{"a wrapper with neither", wrapping(func(w http.ResponseWriter) http.ResponseWriter { return bare{w} }), http.StatusInternalServerError},
		{"http.TimeoutHandler", func(next http.Handler) http.Handler { return http.TimeoutHandler(next, time.Minute, "") }, http.StatusInternalServerError},
		{"chi: Compress", chimiddleware.Compress(5), http.StatusOK},
		{"gin", withGin(), http.StatusOK},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			worker := recipetest.NewWorker(t, &wspush.WorkerOptions{NoListen: true, Advertise: []string{"push.example.com"}})
			handler, err := wspush.NewHandler(worker, nil)
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			mux.Handle("/ws", handler)
			pushes := test.around(worker)
			mux.Handle("/ws/@connections", pushes)
			mux.Handle("/ws/@connections/", pushes)
			server := testutil.Serve(t, mux)
			client := testutil.Dial(t, server, testutil.Options{})
			client.Text()
			id := recipetest.OnlyConn(t, worker).ID()
			if status := recipetest.Post(t, server+"/ws/@connections/"+id, "", "single"); status != http.StatusNoContent {
				t.Fatalf("a single push is answered with %d", status)
			}
			client.Expect(testutil.Text, "single")

			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			body, lines := io.Pipe()
			defer lines.Close()
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/ws/@connections", body)
			if err != nil {
				t.Fatal(err)
			}
			r.Close = true
			r.Header.Set("Content-Type", "application/x-ndjson")
			r.Header.Set("Accept-Encoding", "identity")
			sent := make(chan error, 1)
			go func() {
				_, err := io.WriteString(lines, `{"to":"`+id+`","text":"hello"}`+"\n")
				sent <- err
			}()
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Fatalf("answered with %d, want %d", resp.StatusCode, test.want)
			}
			if test.want != http.StatusOK {
				lines.Close()
				return
			}
			answer := bufio.NewScanner(resp.Body)
			for _, want := range []string{`{"line":1,"status":204}`, `{"lines":1}`} {
				if !answer.Scan() || answer.Text() != want {
					t.Errorf("the answer goes on with %q, %v, want %q", answer.Text(), answer.Err(), want)
				}
				lines.Close() // only now
			}
			client.Expect(testutil.Text, "hello")
			if err := <-sent; err != nil {
				t.Error(err)
			}
		})
	}
}
