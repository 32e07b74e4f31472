//go:build slow

package wspush_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/wspush/wspush"
	"github.com/wspush/wspush/internal/testutil"
)

// Over HTTP/2, too, a bulk request may be silent for up to 2 minutes.
func TestSlowBulkSilentHTTP2(t *testing.T) {
	certificate, _ := testutil.NewCertificate(t)
	w := newWorker(t, &wspush.WorkerOptions{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}})
	client := publishing(t)
	client.Timeout = 0
	r, body := io.Pipe()
	req, _ := http.NewRequest("POST", "https://"+w.Addr().String()+"/ws/@connections", r)
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for range 2 {
		fmt.Fprintln(body, textLine(nobody, "a"))
		line, err := in.ReadString('\n')
		t.Logf("%q %v", line, err)
		if err != nil {
			t.Fatal(err)
		}
		if os.Getenv("SHORT") != "" {
			break
		}
		pause(11 * time.Second)
	}
	body.Close()
	rest, err := io.ReadAll(in)
	t.Logf("%q %v", rest, err)
	if err != nil || !strings.Contains(string(rest), `{"lines":2}`) {
		t.Errorf("%q %v", rest, err)
	}
}
