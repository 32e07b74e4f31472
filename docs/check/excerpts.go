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
	code  map[string]layout   // of the Go files, by path
}

// sourceSize is the most that a source may have: what is larger is data.
const sourceSize = 1 << 20

// ReadSources reads all text among these files below root that is not Markdown.
func ReadSources(root string, paths []string) (*Sources, error) {
	s := newSources()
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
			if err := s.add(path, string(text)); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

func newSources() *Sources { return &Sources{map[string][]string{}, map[string]layout{}} }

func (s *Sources) add(path, text string) (err error) {
	s.files[path] = trimmed(strings.Split(text, "\n"))
	if isGo(path) {
		s.code[path], err = parseLayout(path, text)
	}
	return err
}

func isGo(path string) bool { return strings.HasSuffix(path, ".go") }

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

	// What is run or compiled where it is checked, and nowhere else: a prompt, a command, Go.
	prompt  = regexp.MustCompile(`^\s*(\S+@\S+)?[$%] \S`)
	command = regexp.MustCompile(`^\s*(\S*[#>] )?(sudo )?(\w+=\S* )*(go (run|test|build|get|vet|mod|install|tool|generate)|curl|wget|` +
		`(ba|z)?sh|make|np[mx]|node|docker|podman|git|kubectl|helm|apt|apt-get|apk|brew|pip3?|python3?|systemctl|nginx|ssh|` +
		`cd|export|source|sudo) \S|^\s*https? .*://`)
	goCode = regexp.MustCompile(`:=|[!=]= nil\b|^\s*((package|import|func|defer|var|const) [\w("]|(go )?func\()|\w\.[A-Z]\w*\(`)
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
				switch {
				case prompt.MatchString(line) || command.MatchString(line):
					problems = append(problems, problemf(b.Line+i, "a command outside a block marked console is not run: %s", line))
				case goCode.MatchString(line):
					problems = append(problems, problemf(b.Line+i, "Go outside a block marked go is not compiled: %s", line))
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
		if isGo(path) == (b.Language == "go") && holds(lines, s.code[path], parts) {
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
func holds(lines []string, code layout, parts [][]string) bool {
	for len(parts) > 0 && len(parts[0]) == 0 {
		parts = parts[1:]
	}
	if len(parts) == 0 {
		return false // a block of nothing
	}
	margin := indentation(parts[0][0])
	first := strings.TrimPrefix(parts[0][0], margin)
	for i, line := range lines {
		if strings.TrimLeft(line, " \t") != first {
			continue
		}
		if found := follow(lines, i, parts, margin, indentation(line)); found != nil && code.shownBy(found) {
			return true
		}
	}
	return false
}

// follow returns which lines those of the parts are, if the first part begins at line i and the others come later.
func follow(lines []string, i int, parts [][]string, margin, prefix string) (found []int) {
	for n, part := range parts {
		for n > 0 && i < len(lines) && !begin(lines[i:], part, margin, prefix) {
			i++
		}
		if !begin(lines[i:], part, margin, prefix) {
			return nil
		}
		for range part {
			found = append(found, i)
			i++
		}
	}
	return found
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
