package check

import (
	"regexp"
	"strings"
)

var (
	// Versions and IP addresses are compared; dates, times and decimal fractions, which differ each time, are not.
	figures = regexp.MustCompile(`HTTP/\d\.\d|(?:\d+\.){2,}\d+` +
		`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)` + // RFC 3339
		`|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT` + // RFC 9110
		`|\d\d:\d\d:\d\d|\d+\.\d+`)
	constant = regexp.MustCompile(`^(HTTP/|(\d+\.){2})`)
	download = regexp.MustCompile(`(?m)^go: downloading .*\n`)
)

// even replaces the figures that differ each time.
func even(s string) string {
	return figures.ReplaceAllStringFunc(s, func(figure string) string {
		if constant.MatchString(figure) {
			return figure
		}
		return "#"
	})
}

// clean returns what a terminal shows of s: no carriage returns, no blank lines at the end.
func clean(s string) string {
	s = download.ReplaceAllString(strings.ReplaceAll(s, "\r", ""), "")
	if s = strings.TrimRight(s, "\n \t"); s != "" {
		s += "\n"
	}
	return s
}

// shows reports whether a command's output is what the page shows: all of it, or for a server, part of it.
func shows(shown []string, output string, server bool) bool {
	var p strings.Builder
	p.WriteString(`^`)
	if server {
		p.WriteString(`(?:.*\n)*?`)
	}
	for line := range strings.Lines(clean(strings.Join(shown, "\n"))) {
		line = strings.TrimRight(line, "\n \t")
		if line == "…" {
			p.WriteString(`(?:.*\n)*?`)
			continue
		}
		for i, part := range strings.Split(line, "…") {
			if i > 0 {
				p.WriteString(`.*`)
			}
			p.WriteString(regexp.QuoteMeta(even(part)))
		}
		p.WriteString(`[ \t]*\n`)
	}
	if !server {
		p.WriteString(`$`)
	}
	return regexp.MustCompile(p.String()).MatchString(even(clean(output)))
}
