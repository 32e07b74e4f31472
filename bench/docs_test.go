package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// The figures in docs/performance.md are those of the results, and those in the README are among them.
func TestDocs(t *testing.T) {
	page, readme := read(t, "../docs/performance.md"), read(t, "../README.md")
	for _, dir := range committed(t) {
		r, err := readResults(dir)
		if err != nil {
			t.Fatal(err)
		}
		var table strings.Builder
		r.Markdown(&table)
		for line := range strings.Lines(table.String()) {
			if strings.HasPrefix(line, "| ") && !strings.Contains(page, line) {
				t.Errorf("docs/performance.md does not have %s", line)
			}
		}
		for _, line := range r.origin() {
			if !strings.Contains(page, line) {
				t.Errorf("docs/performance.md does not have %s", line)
			}
		}
		if dir != "results" {
			continue
		}
		quoted := []string{"Measured " + r.Date.Format("2006-01-02")}
		for label, unit := range map[string]string{
			"memory of an idle connection, KB":              " KB",
			"messages to one connection, 8 publishers, 1/s": " messages",
			"server CPU of a POST push, µs":                 " µs",
		} {
			quoted = append(quoted, ours(t, r, label)+unit)
		}
		for _, figure := range quoted {
			if !strings.Contains(readme, figure) {
				t.Errorf("the README does not have %q", figure)
			}
		}
	}
}

// committed are the directories of results that are kept: what a run writes by itself that is not whole is not.
func committed(t *testing.T) []string {
	t.Helper()
	groups, err := filepath.Glob(filepath.Join("results", "*", "results.json"))
	if err != nil || len(groups) == 0 {
		t.Fatalf("%q, %v", groups, err)
	}
	dirs := []string{"results"}
	for _, file := range groups {
		if dir := filepath.Dir(file); filepath.Base(dir) != "quick" {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// ours is what the table says of wspush in the row with this label.
func ours(t *testing.T, r *Results, label string) string {
	t.Helper()
	table := r.table()
	for _, row := range table.rows {
		if row[0] != label {
			continue
		}
		for i, head := range table.head {
			if head == "wspush" {
				return row[i]
			}
		}
	}
	t.Fatalf("the table has no %q", label)
	return ""
}
