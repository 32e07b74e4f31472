package wspushprom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wspush/wspush"
)

// Options configures a collector. A nil *Options, and the zero value of each field, mean the defaults.
type Options struct {
	// Namespace is the prefix of all metric names, before an underscore. The default is "wspush", which the dashboard and the
	// alerts expect.
	Namespace string

	// ConstLabels are added to every series, such as {"worker": "eu"} in a process with several workers. They must not include
	// a label that a metric already has, such as "reason". The default is none.
	ConstLabels prometheus.Labels
}

// New returns a collector of w's metrics, to be registered. Each scrape calls Stats once, which takes some microseconds however
// many connections there are; between scrapes it does nothing. It keeps working after Worker.Shutdown, with the final counts.
// It is safe for concurrent use.
//
// Registering it fails if opts makes a name or label that Prometheus does not allow, or if the registry already has a worker
// with the same labels.
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

// Describe sends the descriptions of everything that Collect can send, so that a registry detects collisions at once.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.send(ch, &snapshot{c.worker.Stats(), c.worker.Draining(), c.worker.Failed() != nil})
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
