package check

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Sources are the files that code in pages may be taken from.
type Sources struct {
	files map[string][]string // lines by path
}

// sourceSize is the most that a source may have: what is larger is data.
const sourceSize = 1 << 20

// ReadSources reads all text below root that is not Markdown.
func ReadSources(root string) (*Sources, error) {
	paths, err := Find(root)
	if err != nil {
		return nil, err
	}
	s := &Sources{map[string][]string{}}
	for _, path := range paths {
		name := filepath.Join(root, filepath.FromSlash(path))
		if info, err := os.Stat(name); err != nil {
			return nil, err
		} else if strings.HasSuffix(path, ".md") || info.Size() > sourceSize {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(text, 0) < 0 {
			s.add(path, string(text))
		}
	}
	return s, nil
}

func (s *Sources) add(path, text string) { s.files[path] = trimmed(strings.Split(text, "\n")) }

// trimmed is lines without white space at their ends.
func trimmed(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.TrimRight(line, " \t\r")
	}
	return out
}

var (
	leftOut = regexp.MustCompile(`^[ \t]*((//|#|--|;)[ \t]*)?…$|^[ \t]*(/\*|<!--) … (\*/|-->)$`)
	command = regexp.MustCompile(`^(\$ .+|(go (run|test|build|get|vet)|curl|bash|make|npm|docker|git) .+|http .*://.*)$`)
)

// CheckExcerpts looks for the page's code in the sources, and for commands where nobody would run them.
func (p *Page) CheckExcerpts(sources *Sources) []Problem {
	var problems []Problem
	for _, b := range p.Blocks {
		switch b.Language {
		case "console":
		case "sh", "bash", "shell", "zsh":
			problems = append(problems, problemf(b.Line, "commands belong in a block marked console, each after a dollar sign"))
		case "", "text":
			for i, line := range b.Lines {
				if command.MatchString(line) {
					problems = append(problems, problemf(b.Line+i, "a command outside a block marked console is not run: %s", line))
				}
			}
		default:
			if !sources.contain(b) {
				problems = append(problems, problemf(b.Line, "no %s file has these lines:\n%s", b.Language, strings.Join(b.Lines, "\n")))
			}
		}
	}
	return problems
}

// contain reports whether some file has the block's lines.
func (s *Sources) contain(b Block) bool {
	parts := split(trimmed(b.Lines))
	for path, lines := range s.files {
		if isGo := strings.HasSuffix(path, ".go"); isGo == (b.Language == "go") && holds(lines, parts) {
			return true
		}
	}
	return false
}

// split cuts a block where lines are left out.
func split(block []string) [][]string {
	parts := [][]string{nil}
	for _, line := range block {
		if leftOut.MatchString(line) {
			parts = append(parts, nil)
		} else {
			parts[len(parts)-1] = append(parts[len(parts)-1], line)
		}
	}
	// Blank lines beside the gap belong to it.
	for i, part := range parts {
		for len(part) > 0 && part[0] == "" {
			part = part[1:]
		}
		for len(part) > 0 && part[len(part)-1] == "" {
			part = part[:len(part)-1]
		}
		parts[i] = part
	}
	return parts
}

// holds reports whether lines have the parts, one after the other, all of them indented by the same.
func holds(lines []string, parts [][]string) bool {
	for len(parts) > 0 && len(parts[0]) == 0 {
		parts = parts[1:]
	}
	if len(parts) == 0 {
		return false // a block of nothing
	}
	margin := indentation(parts[0][0])
	first := strings.TrimPrefix(parts[0][0], margin)
	for i, line := range lines {
		if strings.TrimLeft(line, " \t") == first && follow(lines[i:], parts, margin, indentation(line)) {
			return true
		}
	}
	return false
}

// follow reports whether lines begin with the first part and have the others later.
func follow(lines []string, parts [][]string, margin, prefix string) bool {
	if !begin(lines, parts[0], margin, prefix) {
		return false
	}
	rest := lines[len(parts[0]):]
	for _, part := range parts[1:] {
		for len(rest) > 0 && !begin(rest, part, margin, prefix) {
			rest = rest[1:]
		}
		if len(rest) < len(part) {
			return false
		}
		rest = rest[len(part):]
	}
	return true
}

// begin reports whether lines begin with part, with prefix where part has margin.
func begin(lines, part []string, margin, prefix string) bool {
	if len(lines) < len(part) {
		return false
	}
	for i, want := range part {
		if want == "" && lines[i] == "" {
			continue
		}
		body, ok := strings.CutPrefix(want, margin)
		if !ok || lines[i] != prefix+body {
			return false
		}
	}
	return true
}

func indentation(line string) string { return line[:len(line)-len(strings.TrimLeft(line, " \t"))] }
