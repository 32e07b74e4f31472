// Package check holds the tests of what stands beside the collector: dashboard.json, alerts.yml, and the table of metrics in
// docs/observability.md. They are run against Prometheus' own parser and query engine, which is a module of its own so that
// no application gets it along with the collector.
package check
