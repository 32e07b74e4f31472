package check

import (
	"regexp"
	"strings"
)

var (
	// Versions and IP addresses are compared as they are; dates, times and decimal fractions, which differ each time, are not.
	figures = regexp.MustCompile(`HTTP/\d\.\d|(?:\d+\.){2,}\d+` +
		`|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[-+]\d\d:\d\d)` + // RFC 3339
		`|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT` + // RFC 9110
		`|\d\d:\d\d:\d\d|\d+\.\d+`)
	constant = regexp.MustCompile(`^(HTTP/|(\d+\.){2})`)
	download = regexp.MustCompile(`(?m)^go: downloading .*\n`)
)

// even puts one sign for each figure that differs from time to time.
func even(s string) string {
	return figures.ReplaceAllStringFunc(s, func(found string) string {
		if constant.MatchString(found) {
			return found
		}
		return "#"
	})
}

// clean is what a terminal would show of s: no carriage returns, no blank lines at the end.
func clean(s string) string {
	s = download.ReplaceAllString(strings.ReplaceAll(s, "\r", ""), "")
	if s = strings.TrimRight(s, "\n \t"); s != "" {
		s += "\n"
	}
	return s
}

// outputPattern matches what a page shows below a command. Of one that goes on, it may be a part: a server logs besides.
func outputPattern(shown []string, goesOn bool) *regexp.Regexp {
	var p strings.Builder
	p.WriteString(`^`)
	if goesOn {
		p.WriteString(`(?:.*\n)*?`)
	}
	for line := range strings.Lines(clean(strings.Join(shown, "\n"))) {
		line = strings.TrimRight(line, "\n \t")
		if strings.TrimSpace(line) == "…" {
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
	if !goesOn {
		p.WriteString(`$`)
	}
	return regexp.MustCompile(p.String())
}

// shows reports whether output is what the page shows.
func shows(pattern *regexp.Regexp, output string) bool {
	return pattern.MatchString(even(clean(output)))
}
