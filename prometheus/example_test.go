package wspushprom_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/wspush/wspush"
	wspushprom "github.com/wspush/wspush/prometheus"
	"github.com/wspush/wspush/publisher"
)

// A worker's metrics, served for Prometheus to scrape.
func Example() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())

	registry := prometheus.NewRegistry()
	registry.MustRegister(wspushprom.New(worker, nil))
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))

	server := httptest.NewServer(mux)
	defer server.Close()
	scrape(server.URL+"/metrics", "wspush_connections", "wspush_pushes_total")
	// Output:
	// wspush_connections 0
	// wspush_pushes_total{outcome="buffered",reason=""} 0
	// wspush_pushes_total{outcome="refused",reason="busy"} 0
	// wspush_pushes_total{outcome="refused",reason="directory"} 0
	// wspush_pushes_total{outcome="refused",reason="gone"} 0
	// wspush_pushes_total{outcome="refused",reason="invalid-utf8"} 0
	// wspush_pushes_total{outcome="refused",reason="other"} 0
	// wspush_pushes_total{outcome="refused",reason="shutdown"} 0
	// wspush_pushes_total{outcome="refused",reason="suspended"} 0
	// wspush_pushes_total{outcome="refused",reason="too-large"} 0
	// wspush_pushes_total{outcome="refused",reason="withdrawn"} 0
	// wspush_pushes_total{outcome="unknown",reason=""} 0
	// wspush_pushes_total{outcome="written",reason=""} 0
}

// Two workers in one process, told apart by a label.
func ExampleNew_severalWorkers() {
	registry := prometheus.NewRegistry()
	for _, name := range []string{"customers", "staff"} {
		worker, err := wspush.NewWorker(nil)
		if err != nil {
			log.Fatal(err)
		}
		defer worker.Shutdown(context.Background())
		registry.MustRegister(wspushprom.New(worker, &wspushprom.Options{
			ConstLabels: prometheus.Labels{"worker": name},
		}))
	}

	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	scrape(server.URL, "wspush_connections")
	// Output:
	// wspush_connections{worker="customers"} 0
	// wspush_connections{worker="staff"} 0
}

// A publisher's own metrics, of package publisher: how long its pushes take, by outcome.
func Example_publisher() {
	worker, err := wspush.NewWorker(nil)
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Shutdown(context.Background())

	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "push_seconds", Help: "How long pushes take."}, []string{"to", "outcome"})
	registry := prometheus.NewRegistry()
	registry.MustRegister(seconds)
	client, err := publisher.New(&publisher.Options{
		Hosts: []string{"127.0.0.1"},
		OnPush: func(_ context.Context, r publisher.PushResult) {
			seconds.WithLabelValues(r.To, r.Outcome).Observe(r.Took.Seconds())
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	address := "http://1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed@" + worker.Addr().String() + "/ws"
	_, err = client.Push(context.Background(), address, publisher.Text, []byte("hello"))
	fmt.Println(errors.Is(err, publisher.ErrGone))

	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	scrape(server.URL, "push_seconds_count")
	// Output:
	// true
	// push_seconds_count{outcome="gone",to="connection"} 1
}

// scrape prints the series of some metrics.
func scrape(url string, names ...string) {
	resp, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		for _, name := range names {
			if rest, ok := strings.CutPrefix(lines.Text(), name); ok && strings.ContainsAny(rest[:1], "{ ") {
				fmt.Println(lines.Text())
			}
		}
	}
}
