package check

import "strings"

// page joins lines; fences are written as ”' so that they can stand in Go.
func page(lines ...string) *Page {
	return Parse("page.md", strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "'''", "```"))
}

// want reports what is wrong with the problems found, if one is wanted that says this, or none when want is empty.
func want(problems []Problem, want string) string {
	var said []string
	for _, p := range problems {
		said = append(said, p.String())
	}
	all := strings.Join(said, "\n")
	switch {
	case want == "" && all != "":
		return "finds fault:\n" + all
	case want != "" && !strings.Contains(all, want):
		return "does not find " + want + ", but:\n" + all
	}
	return ""
}
