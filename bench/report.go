package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// missing stands for what was not measured.
const missing = "–"

const legend = "Medians of the rounds. In parentheses, how many times better wspush is: above 1× wspush is ahead, below 1× the other is, " +
	"whether less or more is better. Saturation is each server's own greatest rate of POSTs."

// legends say how to read the table of each group.
var legends = map[string]string{
	"": legend,
	forwarded: "Medians of the rounds. The reference, direct, is the same push to the same connections, by their sealed IDs, " +
		"at the worker that holds them; in parentheses, how many times better a forwarded one is. CPU is that of both workers.",
	bulk: "Medians of the rounds. In parentheses, how many times better wspush is. A push is one message to one client, at random among " +
		"all; CPU is that of all of a server's processes. The reference is wspush itself: single, with a POST for each message. " +
		"wspush and the other Go servers take many messages as lines of one request, " +
		"and answer each when it is written. nchan takes " +
		"a request for each, sent without waiting, or for a message to 100 one with all their channels.",
	users: "Medians of the rounds. The reference, address, is the same push to the same connections by their addresses, at the same worker; " +
		"in parentheses, how many times better one to the user is. All workers have AuthorizePush. CPU is that of all workers, without the " +
		"engine. In the last rows everything is on the same two processors: three workers, the engine, the clients and the publishers.",
	sessions: "Medians of the rounds. The reference, here, is the same clients, which come back to the worker where they were; in parentheses, how many " +
		"times better coming back to another one is. Every client has got three messages, is cut off, is pushed three more while it is away, and " +
		"gets each of them once, or the run fails. Everything is on the same two processors: both workers, the engine, and the clients.",
	heavy: "Medians of the rounds. In parentheses, how many times better wspush is. A message to everybody is one call, and the next " +
		"comes when all clients have read it; gorilla frames it once with PreparedMessage, gws with its Broadcaster, and melody with " +
		"Broadcast. The latencies are those of clients that read: alone, beside others that read, and beside others that never do; to these " +
		"others, publishers of their own push larger messages. The reference is wspush itself: alone; or before the storm, in which other " +
		"clients come and go.",
}

// Table writes the results for a terminal.
func (r *Results) Table(w io.Writer) { r.write(w, grid.text) }

// Markdown writes the results for docs/performance.md.
func (r *Results) Markdown(w io.Writer) { r.write(w, grid.markdown) }

// write writes the results with the tables in the given form.
func (r *Results) write(w io.Writer, form func(grid, io.Writer)) {
	var b bytes.Buffer // so that only one write can fail, whose error nobody could use: what is lost is a display
	for _, line := range r.origin() {
		fmt.Fprintf(&b, "%s\n\n", line)
	}
	form(r.table(), &b)
	fmt.Fprintf(&b, "\n%s\n", legends[r.Group])
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", note)
	}
	w.Write(b.Bytes())
}

// WriteFiles writes the results into a directory, as JSON first, which everything else can be made of again.
func (r *Results) WriteFiles(dir string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "results.json"), append(content, '\n'), 0o666); err != nil {
		return err
	}
	return r.writeViews(dir)
}

// writeViews writes the table, and of the comparison the charts.
func (r *Results) writeViews(dir string) error {
	var table bytes.Buffer
	r.Markdown(&table)
	if r.Group != "" {
		return os.WriteFile(filepath.Join(dir, "table.md"), table.Bytes(), 0o666)
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "table.md"), table.Bytes(), 0o666),
		os.WriteFile(filepath.Join(dir, "chart-light.svg"), r.chart(light), 0o666),
		os.WriteFile(filepath.Join(dir, "chart-dark.svg"), r.chart(dark), 0o666),
	)
}

// readResults reads what WriteFiles has written into a directory.
func readResults(dir string) (*Results, error) {
	file := filepath.Join(dir, "results.json")
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := new(Results)
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// reportFrom makes the table and the charts of a directory again from its results.json, and writes the table to w too.
func reportFrom(dir string, w io.Writer) error {
	r, err := readResults(dir)
	if err != nil {
		return err
	}
	r.Table(w)
	return r.writeViews(dir)
}

// origin says where the results come from, in paragraphs.
func (r *Results) origin() []string {
	m := r.Machine
	lines := []string{
		fmt.Sprintf("%s, %d cores, %s, %s, %s.", m.CPU, m.Cores, m.Memory, m.Kernel, m.Go),
		fmt.Sprintf("Measured %s in %s by `%s`.", r.Date.Format("2006-01-02"), r.Took, r.Command),
	}
	if len(r.Versions) > 0 {
		servers := append([]string{"wspush"}, peers...)
		rank := func(server string) int {
			if i := slices.Index(servers, server); i >= 0 {
				return i
			}
			return len(servers)
		}
		var versions []string
		for _, server := range slices.SortedFunc(maps.Keys(r.Versions), func(a, b string) int {
			return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
		}) {
			versions = append(versions, server+" "+r.Versions[server])
		}
		lines = append(lines, strings.Join(versions, ", ")+".")
	}
	if r.Quick {
		lines = append(lines, "A quick run: its figures are rough.")
	}
	return lines
}

// table has a row for each metric, and a column for each server.
func (r *Results) table() grid {
	peers := r.peers()
	g := grid{head: append([]string{"", "better", "conns", "wspush", "reference"}, peers...)}
	for _, m := range r.group() {
		servers := append([]string{"wspush", m.reference}, peers...)
		better, conns := "less", ""
		switch {
		case m.more:
			better = "more"
		}
		if s, ok := r.figures(m, "wspush"); ok {
			conns = thousands(s.Conns)
		}
		if !slices.ContainsFunc(servers, func(server string) bool { _, ok := r.figures(m, server); return ok }) {
			continue // it was not measured
		}
		row := []string{m.label(), better, conns}
		spread := []string{"– lowest to highest round", "", ""}
		varies := false
		for _, server := range servers {
			row = append(row, r.cell(m, server))
			s, ok := r.figures(m, server)
			if !ok {
				spread = append(spread, "")
				continue
			}
			spread = append(spread, number(slices.Min(s.Samples))+"–"+number(slices.Max(s.Samples)))
			varies = varies || len(s.Samples) > 1
		}
		g.rows = append(g.rows, row)
		if m.spread && varies {
			g.rows = append(g.rows, spread)
		}
	}
	return g
}

// peers are those that take part in the scenarios of the group.
func (r *Results) peers() (all []string) {
	for _, name := range peers {
		if slices.ContainsFunc(scenarios, func(sc scenario) bool {
			return sc.group() == r.Group && slices.Contains(sc.servers, name)
		}) {
			all = append(all, name)
		}
	}
	return all
}

// cell is a server's figure of a metric, with how far ahead of it wspush is.
func (r *Results) cell(m metric, server string) string {
	if server == "" {
		return "" // a metric without a reference
	}
	s, ok := r.figures(m, server)
	if !ok {
		return missing
	}
	text := number(s.Median())
	if server == m.reference {
		text = short(server) + " " + text
	}
	if server == "wspush" {
		return text
	}
	ours, _ := r.figures(m, "wspush")
	if times, ok := m.ahead(ours.Median(), s.Median()); ok {
		text += " (" + ratio(times) + ")"
	}
	return text
}

func (m metric) label() string {
	if m.unit == "" {
		return m.says
	}
	return m.says + ", " + m.unit
}

// short is a server's name where the row says already that it is wspush's.
func short(server string) string { return strings.TrimPrefix(server, "wspush ") }

// number writes a figure with about three digits, which is more than two runs agree on.
func number(v float64) string {
	abs := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return missing
	case abs < 0.0005:
		return "0"
	case abs < 1:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case abs >= 999_500:
		return digits(v/1e6) + "M"
	case abs >= 9_999.5:
		return digits(v/1e3) + "k"
	}
	return digits(v)
}

func ratio(times float64) string { return digits(times) + "×" }

func digits(v float64) string {
	decimals := 0
	switch abs := math.Abs(v); {
	case abs < 9.995:
		decimals = 2
	case abs < 99.95:
		decimals = 1
	}
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// thousands writes a number of connections.
func thousands(n int) string {
	if n >= 1000 && n%1000 == 0 {
		return strconv.Itoa(n/1000) + "k"
	}
	return strconv.Itoa(n)
}

// grid is a table of text.
type grid struct {
	head []string
	rows [][]string
}

// text writes the table for a terminal, with figures at the right of their columns.
func (g grid) text(w io.Writer) {
	widths := make([]int, len(g.head))
	for _, row := range append([][]string{g.head}, g.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(cells []string) {
		var b strings.Builder
		for i, cell := range cells {
			space := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + space)
			} else {
				b.WriteString("  " + space + cell)
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
	line(g.head)
	rule := make([]string, len(g.head))
	for i, width := range widths {
		rule[i] = strings.Repeat("─", width)
	}
	line(rule)
	for _, row := range g.rows {
		line(row)
	}
}

// markdown writes the table as GitHub's Markdown has it.
func (g grid) markdown(w io.Writer) {
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	line(g.head)
	fmt.Fprintf(w, "|---%s|\n", strings.Repeat("|---:", len(g.head)-1))
	for _, row := range g.rows {
		line(row)
	}
}
