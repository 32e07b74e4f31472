package wspushprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wspush/wspush"
)

// Options are the settings of a collector. The zero value of each field, and a nil *Options, mean the default.
type Options struct {
	// Namespace is what the names of all metrics begin with, before an underscore. The default is "wspush", which the
	// dashboard and the alerts expect.
	Namespace string

	// ConstLabels are on every series, such as {"worker": "eu"} where a process has several workers. The default is none.
	// A label that a metric has by itself, such as "reason", must not be among them.
	ConstLabels prometheus.Labels
}

// New returns a collector of w's metrics, to be registered. Each scrape calls Stats once, which takes some microseconds
// whatever the number of connections; between scrapes it does nothing. It goes on to work, with what was counted last, after
// Worker.Shutdown, and may be used from any goroutine.
//
// Registering it fails if opts makes a name or a label that Prometheus does not allow, and if the registry has a worker
// with the same labels already.
func New(w *wspush.Worker, opts *Options) prometheus.Collector {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.Namespace == "" {
		o.Namespace = "wspush"
	}
	c := &collector{worker: w}
	for _, f := range families() {
		name := prometheus.BuildFQName(o.Namespace, "", f.name)
		c.metrics = append(c.metrics, metric{f, prometheus.NewDesc(name, f.help, f.labels, o.ConstLabels)})
	}
	return c
}

// collector is immutable.
type collector struct {
	worker  *wspush.Worker
	metrics []metric
}

type metric struct {
	family
	desc *prometheus.Desc
}

// Describe sends what Collect can send, so that a registry can tell collisions at once.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.send(ch, &snapshot{c.worker.Stats(), c.worker.Draining()})
}

func (c *collector) send(ch chan<- prometheus.Metric, s *snapshot) {
	for _, m := range c.metrics {
		if m.histogram != nil {
			ch <- constHistogram(m.desc, m.histogram(s))
			continue
		}
		for _, sample := range m.samples(s) {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, sample.value, sample.labels...)
		}
	}
}
