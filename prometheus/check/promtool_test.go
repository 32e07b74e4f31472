package check

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/prometheus/common/expfmt"
)

// TestPromtool has Prometheus' own tool, where it is installed (Debian: package prometheus), check the rules and the metrics.
func TestPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("there is no promtool")
	}
	var metrics bytes.Buffer
	for _, f := range gather(t) {
		if _, err := expfmt.MetricFamilyToText(&metrics, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "../alerts.yml"}, {"check", "metrics"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Stdin = bytes.NewReader(metrics.Bytes())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}
