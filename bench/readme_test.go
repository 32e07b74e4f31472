package main

import (
	"os"
	"strings"
	"testing"
)

// TestREADME: the figures in the README are those of the results, as the program has written them.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dirs := []string{"results", "results/delivery"}
	if _, err := os.Stat("results/bulk"); err == nil { // if they have been measured
		dirs = append(dirs, "results/bulk")
	}
	for _, dir := range dirs {
		r, err := readResults(dir)
		if err != nil {
			t.Fatal(err)
		}
		var table strings.Builder
		r.Markdown(&table)
		for line := range strings.Lines(table.String()) {
			if strings.HasPrefix(line, "| ") && !strings.Contains(string(readme), line) {
				t.Errorf("the README does not have %s", line)
			}
		}
	}
}
