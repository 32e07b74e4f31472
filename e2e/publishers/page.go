package main

import (
	"fmt"
	"os"
	"strings"
)

const pagePath = "docs/publishers.md"

// page is what this program takes out of the page.
type page struct {
	code  map[string]string // by client
	traps map[string]trap   // the rows of the last table, by client
}

// readPage reads the page in the repository at root.
func readPage(root string) (*page, error) {
	text, err := os.ReadFile(root + "/" + pagePath)
	if err != nil {
		return nil, err
	}
	p := &page{code: map[string]string{}, traps: map[string]trap{}}
	var forPython string
	for _, part := range strings.Split(string(text), "<!-- run: by e2e/publishers/page.go -->\n```")[1:] {
		language, rest, _ := strings.Cut(part, "\n")
		code, _, ok := strings.Cut(rest, "\n```\n")
		name := language
		if language == "python" && forPython == "" {
			forPython = code + "\n"
			continue
		}
		if language == "python" {
			name = clientOf(code)
			code = forPython + code
		}
		if _, known := languages[name]; !known || !ok || p.code[name] != "" {
			return nil, fmt.Errorf("%s has code that nothing runs: %s, %s", pagePath, language, name)
		}
		p.code[name] = code + "\n"
	}
	for name := range languages {
		if p.code[name] == "" {
			return nil, fmt.Errorf("%s has no code for %s", pagePath, name)
		}
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		if len(cells) == 5 && trapPrograms[cells[0]].text != "" {
			p.traps[cells[0]] = trap{cells[1], cells[2], cells[3], cells[4]}
		}
	}
	return p, nil
}

// clientOf returns which client Python code uses.
func clientOf(code string) string {
	for line := range strings.SplitSeq(code, "\n") {
		name := strings.TrimPrefix(line, "import ")
		if _, known := languages[name]; known && name != line {
			return name
		}
	}
	return ""
}
