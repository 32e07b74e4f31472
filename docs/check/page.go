package check

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Page is a Markdown file, taken apart as far as it is checked.
type Page struct {
	Path     string // from the root of the repository, with slashes
	Blocks   []Block
	Prose    string // the file without code and comments, line for line and column for column
	Headings []string
	Problems []Problem // of its form
}

// Block is a code block.
type Block struct {
	Line     int    // of its fence, or the first line of an indented block
	Language string // as marked; none in an indented block
	Run      string // what the comment above it directs
	Lines    []string
}

var (
	fence     = regexp.MustCompile("^([ \t]*)(`{3,}|~{3,})[ \t]*([^`]*)$")
	directive = regexp.MustCompile(`^[ \t]*<!-- run:[ \t]*(.*?)[ \t]*-->[ \t]*$`)
	heading   = regexp.MustCompile(`^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$`)
	listItem  = regexp.MustCompile(`^[ \t]*([-*+]|[0-9]+[.)])[ \t]`)
	comment   = regexp.MustCompile(`(?s)<!--.*?-->`)
)

// Parse takes a page apart.
func Parse(path, source string) *Page {
	p := &Page{Path: path}
	lines := strings.Split(strings.ReplaceAll(source, "\r\n", "\n"), "\n")
	prose := make([]string, len(lines))
	list, blank := false, true
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if open := fence.FindStringSubmatch(line); open != nil {
			block := Block{Line: i + 1}
			block.Language, _, _ = strings.Cut(strings.TrimSpace(open[3]), " ")
			if i > 0 {
				if run := directive.FindStringSubmatch(lines[i-1]); run != nil {
					block.Run = run[1]
				}
			}
			for i++; i < len(lines) && !closes(lines[i], open[2]); i++ {
				block.Lines = append(block.Lines, dedent(lines[i], len(open[1])))
			}
			if i == len(lines) {
				p.Problems = append(p.Problems, problemf(block.Line, "this block is not closed"))
			}
			p.Blocks = append(p.Blocks, block)
			blank = true
			continue
		}
		switch {
		case strings.TrimSpace(line) == "":
			blank = true
			continue
		case listItem.MatchString(line):
			list = true
		case !indented(line):
			list = list && !blank
		case blank && !list:
			block := Block{Line: i + 1}
			for ; i < len(lines) && (indented(lines[i]) || strings.TrimSpace(lines[i]) == ""); i++ {
				block.Lines = append(block.Lines, dedent(lines[i], 4))
			}
			i--
			p.Blocks = append(p.Blocks, block)
			continue
		}
		if h := heading.FindStringSubmatch(line); h != nil {
			p.Headings = append(p.Headings, h[1])
		}
		prose[i], blank = line, false
	}
	p.Prose = blankSpans(comment.ReplaceAllStringFunc(strings.Join(prose, "\n"), blankOut))
	return p
}

func closes(line, open string) bool {
	line = strings.TrimSpace(line)
	return len(line) >= len(open) && strings.Trim(line, open[:1]) == ""
}

func indented(line string) bool {
	return strings.HasPrefix(line, "    ") || strings.HasPrefix(line, "\t")
}

// dedent takes up to n blanks, or a tab, from the front.
func dedent(line string, n int) string {
	if n > 0 && strings.HasPrefix(line, "\t") {
		return line[1:]
	}
	for range n {
		line = strings.TrimPrefix(line, " ")
	}
	return line
}

// blankOut replaces all but line ends, so that what follows stays on its line.
func blankOut(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' {
			return r
		}
		return ' '
	}, s)
}

// blankSpans blanks out code spans: what is in backticks is no link.
func blankSpans(prose string) string {
	var out strings.Builder
	for {
		start := strings.IndexByte(prose, '`')
		if start < 0 {
			return out.String() + prose
		}
		rest := strings.TrimLeft(prose[start:], "`")
		ticks := prose[start : len(prose)-len(rest)]
		paragraph, _, _ := strings.Cut(rest, "\n\n") // a span does not go on in the next one
		out.WriteString(prose[:start] + blankOut(ticks))
		prose = rest
		if end := closingTicks(paragraph, ticks); end >= 0 {
			out.WriteString(blankOut(rest[:end+len(ticks)]))
			prose = rest[end+len(ticks):]
		}
	}
}

// closingTicks is where exactly as many backticks stand in s, or -1.
func closingTicks(s, ticks string) int {
	for at := 0; ; {
		next := strings.IndexByte(s[at:], '`')
		if next < 0 {
			return -1
		}
		at += next
		run := len(s[at:]) - len(strings.TrimLeft(s[at:], "`"))
		if run == len(ticks) {
			return at
		}
		at += run
	}
}

// Find returns the paths of all files below root, with slashes, but for what is no part of the repository's text.
func Find(root string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Name() {
		case ".git", "node_modules", "testdata":
			if d.IsDir() {
				return filepath.SkipDir
			}
		}
		if d.Type().IsRegular() {
			relative, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			paths = append(paths, filepath.ToSlash(relative))
		}
		return nil
	})
	return paths, err
}

// Pages reads all Markdown below root.
func Pages(root string) ([]*Page, error) {
	paths, err := Find(root)
	if err != nil {
		return nil, err
	}
	var pages []*Page
	for _, path := range paths {
		if !strings.HasSuffix(path, ".md") {
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		pages = append(pages, Parse(path, string(source)))
	}
	return pages, nil
}
