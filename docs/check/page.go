package check

import (
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
	directive = regexp.MustCompile(`^[ \t]*<!-- run:[ \t]*(\S.*?)[ \t]*-->[ \t]*$`)
	heading   = regexp.MustCompile(`^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$`)
	listItem  = regexp.MustCompile(`^[ \t]*([-*+]|[0-9]+[.)])[ \t]+`)
	spanStart = regexp.MustCompile("`+|<!--")

	// What looks like code, or directs what is to be done with it, and is none of that for Parse.
	codeUnseen = regexp.MustCompile("```|~~~|^[ \t]*([-*+>]|[0-9]+[.)])( {5}|\t\t)[ \t]*\\S")
	pre        = regexp.MustCompile(`(?i)<pre\b`)
	directs    = regexp.MustCompile(`(?i)^<!--\s*run\b|\brun\s*:`)
)

// Parse takes a page apart.
func Parse(path, source string) *Page {
	p := &Page{Path: path}
	lines := strings.Split(strings.ReplaceAll(source, "\r\n", "\n"), "\n")
	prose := make([]string, len(lines))
	items, blank := []int{0}, true // the columns at which the text of the list items begins that a line may belong to
	directed := map[int]bool{}     // the lines with a comment that a block has taken
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if open := fence.FindStringSubmatch(line); open != nil {
			block := Block{Line: i + 1}
			block.Language, _, _ = strings.Cut(strings.TrimSpace(open[3]), " ")
			if i > 0 {
				if run := directive.FindStringSubmatch(lines[i-1]); run != nil {
					block.Run, directed[i] = run[1], true
				}
			}
			if block.Run != "" && block.Language != "console" {
				p.Problems = append(p.Problems, problemf(block.Line, "run: %s is for a block marked console", block.Run))
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
		if strings.TrimSpace(line) == "" {
			blank = true
			continue
		}
		item := listItem.FindString(line)
		// Another line may go on with the one above, wherever it begins.
		for (blank || item != "") && column(line) < items[len(items)-1] {
			items = items[:len(items)-1]
		}
		code := items[len(items)-1] + 4
		switch {
		case blank && column(line) >= code:
			block := Block{Line: i + 1}
			for ; i < len(lines) && (column(lines[i]) >= code || strings.TrimSpace(lines[i]) == ""); i++ {
				block.Lines = append(block.Lines, dedent(lines[i], code))
			}
			i--
			p.Blocks = append(p.Blocks, block)
			continue
		case item != "" && column(line) < code:
			items = append(items, len(item))
		}
		if codeUnseen.MatchString(line) {
			p.Problems = append(p.Problems, problemf(i+1, "code here is not seen; a fence stands on a line of its own: %s", line))
		}
		if h := heading.FindStringSubmatch(line); h != nil {
			p.Headings = append(p.Headings, h[1])
		}
		prose[i], blank = line, false
	}
	p.Prose = blankSpans(strings.Join(prose, "\n"), func(at int, comment string) {
		if directs.MatchString(comment) && !directed[at] {
			p.Problems = append(p.Problems, problemf(at, "this stands directly above no fence, or is not written <!-- run: … -->: %s", comment))
		}
	})
	for _, at := range pre.FindAllStringIndex(p.Prose, -1) {
		p.Problems = append(p.Problems, problemf(lineOf(p.Prose, at[0]), "code in <pre> is not seen; put it into a block"))
	}
	return p
}

func closes(line, open string) bool {
	line = strings.TrimSpace(line)
	return len(line) >= len(open) && strings.Trim(line, open[:1]) == ""
}

// column is the one at which a line's text begins.
func column(line string) int {
	n := 0
	for _, r := range line {
		switch r {
		case ' ':
			n++
		case '\t':
			n += 4 - n%4
		default:
			return n
		}
	}
	return n
}

// lineOf is the line of what is at an offset in s.
func lineOf(s string, at int) int { return 1 + strings.Count(s[:at], "\n") }

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

// blankSpans blanks out code spans and comments, whichever begins first: what is in them is no link. It tells of each comment, with
// its line.
func blankSpans(prose string, tell func(line int, comment string)) string {
	var out strings.Builder
	line := 1
	keep := func(s string) { line += strings.Count(s, "\n"); out.WriteString(s) }
	for {
		start := spanStart.FindStringIndex(prose)
		if start == nil {
			return out.String() + prose
		}
		keep(prose[:start[0]])
		open, rest := prose[start[0]:start[1]], prose[start[1]:]
		end := -1
		if open == "<!--" {
			if end = strings.Index(rest, "-->"); end >= 0 {
				end += len("-->")
				tell(line, open+rest[:end])
			}
		} else {
			paragraph, _, _ := strings.Cut(rest, "\n\n") // a span does not go on in the next one
			if end = closingTicks(paragraph, open); end >= 0 {
				end += len(open)
			}
		}
		end = max(end, 0)
		keep(blankOut(open + rest[:end]))
		prose = rest[end:]
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

// Pages reads the Markdown among these files below root.
func Pages(root string, paths []string) ([]*Page, error) {
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
