package check

import (
	"fmt"
	"regexp"
	"strings"
)

// page is a Markdown file.
type page struct {
	path     string
	blocks   []block
	prose    string // the page with everything but its prose blanked out: same lines
	headings []string
	problems []string // found while parsing
}

// block is a code block.
type block struct {
	line     int // of its fence, from 1
	language string
	run      string // what the comment above the fence says
	lines    []string
}

var (
	fence     = regexp.MustCompile("^( *)(`{3,})([a-z]*)$")
	directive = regexp.MustCompile(`^ *<!-- run: (.+) -->$`)
	heading   = regexp.MustCompile(`^#{1,6} (.*)$`)
	notProse  = regexp.MustCompile("(?s:<!--.*?-->)|``.*?``|`(?:[^`\n]|\n[^`\n])*`")
	unseen    = regexp.MustCompile("```|~~~|(?i:<pre\\b)")
)

func (p *page) problemf(line int, format string, args ...any) {
	p.problems = append(p.problems, problem(line, format, args...))
}

func problem(line int, format string, args ...any) string {
	return fmt.Sprintf("line %d: %s", line, fmt.Sprintf(format, args...))
}

// parse splits a page into its parts.
func parse(path, text string) *page {
	p := &page{path: path}
	lines := strings.Split(text, "\n")
	prose := make([]string, len(lines))
	run := "" // of the line before
	for i := 0; i < len(lines); i++ {
		open := fence.FindStringSubmatch(lines[i])
		if open == nil {
			if run != "" {
				p.problemf(i, "run: stands directly above a fence, and this does not")
			}
			run = ""
			if m := directive.FindStringSubmatch(lines[i]); m != nil {
				run = m[1]
			}
			if unseen.MatchString(lines[i]) {
				p.problemf(i+1, "code outside a fence that is on a line of its own is not checked: %s", lines[i])
			}
			if m := heading.FindStringSubmatch(lines[i]); m != nil {
				p.headings = append(p.headings, m[1])
			}
			prose[i] = lines[i]
			continue
		}
		b := block{line: i + 1, language: open[3], run: run}
		run = ""
		for i++; i < len(lines) && strings.TrimSpace(lines[i]) != open[2]; i++ {
			b.lines = append(b.lines, strings.TrimRight(strings.TrimPrefix(lines[i], open[1]), " \t\r"))
		}
		switch {
		case i == len(lines):
			p.problemf(b.line, "this block is not closed")
		case b.language == "":
			p.problemf(b.line, "this block has no language")
		case b.run != "" && b.language != "console" && !strings.HasPrefix(b.run, "by "):
			p.problemf(b.line, "run: %s is for a block marked console", b.run)
		}
		p.blocks = append(p.blocks, b)
	}
	p.prose = notProse.ReplaceAllStringFunc(strings.Join(prose, "\n"), blank)
	return p
}

// blank replaces everything but line ends.
func blank(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return ' '
	}, s)
}
