// Package check holds the documentation to what it says: its tests find all Markdown of the repository, look for each code block
// in the file that it is taken from, run each command and compare what it prints, and follow each link. README.md says how pages
// are to be written for that.
package check

import "fmt"

// Problem is something that is wrong with a page.
type Problem struct {
	Line int // from 1
	Text string
}

func (p Problem) String() string { return fmt.Sprintf("line %d: %s", p.Line, p.Text) }

func problemf(line int, format string, args ...any) Problem {
	return Problem{line, fmt.Sprintf(format, args...)}
}
