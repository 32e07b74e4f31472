package main

import (
	"slices"
	"time"
)

// Results are everything that one run has found out; they are written as JSON, and the table and the chart are made of them.
type Results struct {
	Date     time.Time         `json:"date"`
	Command  string            `json:"command"`         // reproduces the run
	Group    string            `json:"group,omitempty"` // of metrics; empty: the comparison
	Quick    bool              `json:"quick"`
	Took     string            `json:"took"`
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"` // of each server, by its name
	Series   []Series          `json:"series"`
	Notes    []string          `json:"notes,omitempty"` // what was left out, and why
}

// Machine is where the run took place. It names no host.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// Series is one thing measured, of one server, once in each round.
type Series struct {
	Metric  string    `json:"metric"` // "memory", "post-cpu", … : see metrics
	Server  string    `json:"server"` // "wspush", "coder", "gorilla", "gws", "melody", "nchan", or "write(2)"
	Conns   int       `json:"conns"`  // how many connections there were
	Unit    string    `json:"unit"`   // "KB", "µs", "1/s", "goroutines", …
	Samples []float64 `json:"samples"`
}

// Median is the median of the samples; with an even number of them, the mean of the two in the middle.
func (s Series) Median() float64 {
	sorted := slices.Sorted(slices.Values(s.Samples))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Find returns a series; with conns 0, the one of that metric and server with the number of connections that the metric is
// stated for, which is the first.
func (r *Results) Find(metric, server string, conns int) (Series, bool) {
	for _, s := range r.Series {
		if s.Metric == metric && s.Server == server && (conns == 0 || s.Conns == conns) {
			return s, true
		}
	}
	return Series{}, false
}
