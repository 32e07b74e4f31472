//go:build slow

package wspush_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Publishers over HTTP/2 whose pushes are answered before they have sent them must not end the process.
func TestSlowForwardHTTP2Process(t *testing.T) {
	inProcess(t, func(t *testing.T) {
		certificate, pool := testutil.NewCertificate(t)
		holder := newMember(t, wspush.WorkerOptions{Logger: noLog})
		other := newMember(t, wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Logger: noLog})
		conn, _ := connectTo(t, holder)
		conn.Close(1000, "")
		testutil.Eventually(t, "the connection to end", func() bool { return holder.Len() == 0 })
		address := "https://" + other.Addr().String() + "/ws/@connections/" + conn.SealedID()
		deadline := time.Now().Add(15 * time.Second)
		var running sync.WaitGroup
		for i := range 6 {
			running.Go(func() {
				client := keeping(t, &tls.Config{RootCAs: pool}, true)
				for n := 0; time.Now().Before(deadline); n++ {
					size := 17_000 + (n*7919+i*1000)%200_000
					req, _ := http.NewRequest("POST", address, io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
					if resp, err := client.Do(req); err == nil {
						io.Copy(io.Discard, resp.Body)
						resp.Body.Close()
					}
				}
			})
		}
		running.Wait()
		fmt.Println("survived")
	})
}
