// Package wspushprom makes Prometheus metrics of a worker's [wspush.Worker.Stats]:
//
//	import wspushprom "github.com/wspush/wspush/prometheus"
//
//	prometheus.MustRegister(wspushprom.New(worker, nil))
//
// docs/observability.md in the repository says what each metric means. dashboard.json beside this file shows them in Grafana,
// and alerts.yml has alerting rules, each with what to do.
//
// # Cardinality
//
// A worker has some 90 series, two histograms among them. They are all there, at zero, from the first scrape on, with one
// exception: wspush_push_problems_total has a series for each HTTP status that the push endpoint has answered with, of which
// there are about 16. No label comes from a client or a publisher, so the number of series grows neither with connections
// nor with pushes, whatever they ask for.
//
// # Several workers
//
// Several workers of one process need a label that tells them apart: [Options].ConstLabels, or
// [prometheus.WrapRegistererWith]. Workers in processes of their own have it already: Prometheus labels what it scrapes with
// job and instance.
package wspushprom
