package check

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Errors that the packages make for themselves, and of which nobody learns.
var notPrinted = []string{
	"wspush: a line needs at least one target, and each must be an ID or a sealed ID", "wspush: a malformed reply",
	"wspush: as many clients are connected as WorkerOptions.MaxConns allows", "wspush: nobody waits for the push any more",
	"wspush: the bulk request has ended", "wspush: the sealed ID names a worker that has ended, as it seems",
	"wspush: the session is just coming", "wspush: there is no such session here", "wspush: too much is unanswered",
}

var (
	verb     = regexp.MustCompile(`%[-+#.\d\[\]]*[a-zA-Z]`)
	logged   = []string{"Debug", "Info", "Warn", "Error"}
	problems = regexp.MustCompile("^\\| (\\d{3})[^|]*\\| `([a-z-]+)`")
)

// printed is what the code of the library can say: texts of errors and log records, and types of problems, close codes and causes.
type printed struct{ errors, records, types, codes, causes []string }

// collect reads a file. Only what is written as a literal counts, as all of it is.
func (p *printed) collect(t *testing.T, name, text string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			f, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || len(n.Args) == 0 {
				break
			}
			text, ok := literal(n.Args[0])
			switch {
			case !ok || !strings.HasPrefix(text, "wspush: "):
			case f.Sel.Name == "New" || f.Sel.Name == "Errorf":
				p.errors = append(p.errors, text)
			case slices.Contains(logged, f.Sel.Name):
				p.records = append(p.records, text)
			}
		case *ast.FuncDecl:
			if n.Name.Name == "kindOf" {
				ast.Inspect(n, func(n ast.Node) bool {
					if r, ok := n.(*ast.ReturnStmt); ok {
						kind, _ := literal(r.Results[0])
						p.types = append(p.types, kind)
					}
					return true
				})
			}
		case *ast.ValueSpec:
			for i, v := range n.Values {
				name := n.Names[i].Name
				if sum, ok := v.(*ast.BinaryExpr); ok {
					if kind, ok := literal(sum.Y); ok && strings.HasPrefix(strings.ToLower(name), "type") {
						p.types = append(p.types, kind)
					}
				}
				value, ok := v.(*ast.BasicLit)
				switch {
				case !ok:
				case value.Kind == token.INT && strings.HasPrefix(strings.ToLower(name), "code") && len(value.Value) == 4:
					p.codes = append(p.codes, value.Value)
				case value.Kind == token.STRING && strings.HasPrefix(name, "Cause"):
					cause, _ := literal(v)
					p.causes = append(p.causes, cause)
				}
			}
		}
		return true
	})
}

func literal(e ast.Expr) (text string, ok bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

// Everything that users can be told is on the page on which they look for it. It is taken from the code, so nothing new can be missing.
func TestTroubleshooting(t *testing.T) {
	_, files, _ := repository(t)
	var p printed
	for name, text := range files {
		dir := path.Dir(name)
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && dir != "internal/testutil" &&
			(dir == "." || dir == "publisher" || strings.HasPrefix(dir, "internal/")) {
			p.collect(t, name, text)
		}
	}
	page := files["docs/troubleshooting.md"]
	for _, text := range p.errors {
		if slices.Contains(notPrinted, text) {
			continue
		}
		text = regexp.MustCompile(`: %(w|s|\.200q)(; .*)?$`).ReplaceAllString(text, "")
		text = strings.TrimSuffix(verb.ReplaceAllString(text, "…"), ": …")
		if !strings.Contains(page, "`"+text+"`") {
			t.Errorf("the page does not have the error `%s`", text)
		}
	}
	for _, text := range notPrinted {
		if !slices.Contains(p.errors, text) {
			t.Errorf("there is no such error any more: %s", text)
		}
	}
	for _, text := range p.records {
		if !strings.Contains(files["docs/observability.md"], "`"+text+"`") {
			t.Errorf("observability.md does not have the log record `%s`", text)
		}
	}
	var kinds []string
	for line := range strings.Lines(page) {
		if m := problems.FindStringSubmatch(line); m != nil {
			kinds = append(kinds, m[2])
		}
	}
	for _, kind := range p.types {
		if !slices.Contains(kinds, kind) && kind != "conflict" { // every problem with that status has a type of its own
			t.Errorf("the page does not have the type %q", kind)
		}
	}
	_, closed, _ := strings.Cut(page, "\n## A client is closed\n")
	closed, _, _ = strings.Cut(closed, "\n## ")
	for _, code := range p.codes {
		if !strings.Contains(closed, code) {
			t.Errorf("the page does not have the close code %s", code)
		}
	}
	for _, cause := range p.causes {
		if !strings.Contains(closed, "`"+cause+"`") {
			t.Errorf("the page does not have the cause %q", cause)
		}
	}
	if len(p.errors) < 60 || len(p.records) < 40 || len(p.types) < 20 || len(p.codes) < 8 || len(p.causes) < 12 {
		t.Errorf("only %d errors, %d log records, %d types, %d codes and %d causes are found", len(p.errors), len(p.records), len(p.types), len(p.codes), len(p.causes))
	}
}
