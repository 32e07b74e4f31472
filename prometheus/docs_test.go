package wspushprom_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// The table of metrics in docs/observability.md has each metric with its type, its labels and their values.
func TestDocs(t *testing.T) {
	const page = "../docs/observability.md"
	rows := make(map[string][]string)
	for line := range strings.SplitSeq(read(t, page), "\n") {
		if cells := strings.Split(line, "|"); strings.HasPrefix(line, "| `wspush_") && len(cells) == 6 {
			name := strings.Trim(cells[1], " `")
			if rows[name] != nil {
				t.Errorf("%s is there twice", name)
			}
			rows[name] = cells
		}
	}
	families := gatherAll(t)
	if want := fmt.Sprintf("A worker has %d series,", len(seriesOf(families))-1); !strings.Contains(read(t, page), want) { // one is a status
		t.Errorf("the page does not say: %s", want)
	}
	quoted := regexp.MustCompile("`([^`]*)`")
	for _, f := range families {
		row := rows[f.GetName()]
		delete(rows, f.GetName())
		if row == nil {
			t.Errorf("%s has no row", f.GetName())
			continue
		}
		if got, want := strings.TrimSpace(row[2]), strings.ToLower(dto.MetricType_name[int32(f.GetType())]); got != want {
			t.Errorf("%s is said to be a %s, and is a %s", f.GetName(), got, want)
		}
		var want, got []string
		for label, values := range labelsOf(f) {
			want = append(want, label)
			if label != "status" {
				want = append(want, slices.DeleteFunc(values, func(v string) bool { return v == "" })...)
			}
		}
		for _, word := range quoted.FindAllStringSubmatch(row[3], -1) {
			got = append(got, word[1])
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: labels and their values are said to be %q, and are %q", f.GetName(), got, want)
		}
	}
	for name := range rows {
		t.Errorf("there is no metric %s", name)
	}
	for _, alert := range alerts(t) {
		if !strings.Contains(read(t, page), "`"+alert+"`") {
			t.Errorf("%s is not on the page", alert)
		}
	}
}

// The page has every record that the library logs, with its level.
func TestLogRecords(t *testing.T) {
	page := read(t, "../docs/observability.md")
	record := regexp.MustCompile(`\.(Debug|Info|Warn|Error)\("(wspush: [^"]+)"`)
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"lane", "link", "membership"} {
		inside, err := filepath.Glob("../internal/" + folder + "/*.go")
		if err != nil || len(inside) == 0 {
			t.Fatal(folder, err)
		}
		files = append(files, inside...)
	}
	documented := strings.Count(page, "| `wspush: ")
	found := make(map[string]bool)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, m := range record.FindAllStringSubmatch(read(t, file), -1) {
			level, message := m[1], m[2]
			found[message] = true
			if !strings.Contains(page, "| "+level+" | `"+message+"` |") {
				t.Errorf("%s: %q at %s is not on the page", filepath.Base(file), message, level)
			}
		}
	}
	if len(found) != documented {
		t.Errorf("the page has %d records, and the library %d", documented, len(found))
	}
}
