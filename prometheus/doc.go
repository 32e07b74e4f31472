// Package wspushprom exports a worker's [wspush.Worker.Stats] as Prometheus metrics:
//
//	import wspushprom "github.com/wspush/wspush/prometheus"
//
//	prometheus.MustRegister(wspushprom.New(worker, nil))
//
// docs/observability.md in the repository explains each metric. Beside this file, dashboard.json shows them in Grafana, and
// alerts.yml has alerting rules that say what to do when they fire.
//
// # Cardinality
//
// A worker has about 140 series, including two histograms. All of them exist from the first scrape on, with one
// exception: wspush_push_problems_total has a series for each HTTP status that the push endpoint has answered with, of which
// there are about 16. No label comes from a client or a publisher, so the number of series does not grow with connections or
// pushes.
//
// # Several workers
//
// Several workers in one process need a label to tell them apart: use [Options].ConstLabels or [prometheus.WrapRegistererWith].
// Workers in separate processes need none, since Prometheus labels what it scrapes with job and instance.
package wspushprom
