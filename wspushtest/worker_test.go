package wspushtest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/wspushtest"
)

// A callback or handler that does not end with the test fails it. What it logs later goes nowhere.
func TestLeftovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer synctest.Wait()
		defer close(end)
		hang := func(*wspush.Conn) {
			<-end
			panic("late")
		}
		wantFailure(t, "the worker's Shutdown did not end within 10s: context deadline exceeded: is a callback not returning?", func(tb testing.TB) {
			wspushtest.New(tb, &wspushtest.Options{Handler: wspush.HandlerOptions{OnConnect: hang}}).Connect()
		})
	})
	synctest.Test(t, func(t *testing.T) {
		end := make(chan struct{})
		defer synctest.Wait()
		defer close(end)
		wantFailure(t, "an HTTP handler had not returned 5s after the end of the test", func(tb testing.TB) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			client := wspushtest.HTTPClient(tb, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
				<-end
				panic("late")
			}))
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://app.test/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.Do(req); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})
}
