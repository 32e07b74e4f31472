package check

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
)

// layout tells the code of a Go file from what only stands in it. A nil one is that of another file.
type layout []lineLayout

type lineLayout struct {
	code bool // something begins here that is compiled
	from int  // the line where the string or comment begins that this one begins within; else this line
}

func parseLayout(path, text string) (layout, error) {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	line := func(pos token.Pos) int { return files.PositionFor(pos, false).Line - 1 }
	l := make(layout, files.File(file.FileStart).LineCount()+1)
	for i := range l {
		l[i].from = i
	}
	within := func(n ast.Node) {
		for i := line(n.Pos()) + 1; i <= line(n.End()); i++ {
			l[i].from = line(n.Pos())
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case nil, *ast.CommentGroup:
			return false
		case *ast.BasicLit:
			within(n)
		}
		l[line(n.Pos())].code = true
		return true
	})
	for _, group := range file.Comments {
		for _, comment := range group.List {
			within(comment)
		}
	}
	return l, nil
}

// shownBy reports whether an excerpt of these lines shows code as what it is: with the beginning of each string and comment that it
// has lines of, and not just comments.
func (l layout) shownBy(lines []int) bool {
	if l == nil {
		return true
	}
	return slices.ContainsFunc(lines, func(i int) bool { return l[i].code }) &&
		!slices.ContainsFunc(lines, func(i int) bool { return !slices.Contains(lines, l[i].from) })
}
