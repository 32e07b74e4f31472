package check

import (
	"regexp"
	"strings"
)

// leftOut is a line that stands for lines left out.
var leftOut = regexp.MustCompile(`^[ \t]*((//|#)[ \t]*)?…$`)

// checkExcerpts looks for the page's code in files: Go in Go files, everything else in files that are neither Go nor Markdown. What
// a program takes out of the page and runs is in no file; that program must name the page.
func (p *page) checkExcerpts(files map[string]string) (problems []string) {
	for _, b := range p.blocks {
		if b.language == "" || b.language == "console" || b.language == "text" {
			continue
		}
		if program, ok := strings.CutPrefix(b.run, "by "); ok {
			if !strings.Contains(files[program], p.path) {
				problems = append(problems, problem(b.line, "%s does not name %s", program, p.path))
			}
			continue
		}
		found := false
		for path, text := range files {
			isGo := strings.HasSuffix(path, ".go")
			if isGo == (b.language == "go") && !strings.HasSuffix(path, ".md") && excerpt(strings.Split(text, "\n"), b.lines) {
				found = true
				break
			}
		}
		if !found {
			problems = append(problems, problem(b.line, "no %s file has these lines:\n%s", b.language, strings.Join(b.lines, "\n")))
		}
	}
	return problems
}

// excerpt reports whether a file has the lines of a block, all indented by the same amount more than in the block, and with other
// lines only where the block leaves some out.
func excerpt(file, block []string) bool {
	for len(block) > 0 && (block[0] == "" || leftOut.MatchString(block[0])) {
		block = block[1:]
	}
	if len(block) == 0 {
		return false
	}
	margin := indentation(block[0])
	for i, line := range file {
		if strings.TrimSpace(line) == strings.TrimSpace(block[0]) && follows(file[i:], block, margin, indentation(line)) {
			return true
		}
	}
	return false
}

// follows reports whether the file goes on with the lines of the block, with prefix in place of margin.
func follows(file, block []string, margin, prefix string) bool {
	gap := false
	for i, want := range block {
		switch {
		case leftOut.MatchString(want):
			gap = true
			continue
		case gap && want == "" || want == "" && i+1 < len(block) && leftOut.MatchString(block[i+1]):
			continue // a blank line beside a gap belongs to it
		case want != "":
			body, ok := strings.CutPrefix(want, margin)
			if !ok {
				return false
			}
			want = prefix + body
		}
		for gap && len(file) > 0 && strings.TrimRight(file[0], " \t\r") != want {
			file = file[1:]
		}
		if len(file) == 0 || strings.TrimRight(file[0], " \t\r") != want {
			return false
		}
		file, gap = file[1:], false
	}
	return true
}

func indentation(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }
