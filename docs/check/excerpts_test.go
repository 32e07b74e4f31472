package check

import "testing"

func TestCheckExcerpts(t *testing.T) {
	sources := &Sources{map[string][]string{}}
	sources.add("a.go", "package a\n\nfunc f() {\n\tif x {\n\t\ty()\n\n\t\tz()\n\t}\n\tlast()\n}\n// \tcommented()\n")
	sources.add("a.conf", "server {\n  listen 1;\n  # why\n  root /;\n}\n")
	for name, tt := range map[string]struct {
		lines []string
		want  string
	}{
		"as it stands":                   {[]string{"'''go", "\tif x {", "\t\ty()", "", "\t\tz()", "\t}", "'''"}, ""},
		"indented by less":               {[]string{"'''go", "if x {", "\ty()", "", "\tz()", "}", "last()", "'''"}, ""},
		"lines left out":                 {[]string{"'''go", "if x {", "\t…", "\tz()", "// …", "last()", "'''"}, ""},
		"lines left out, blank beside":   {[]string{"'''go", "if x {", "", "…", "", "last()", "'''"}, ""},
		"in a file of another kind":      {[]string{"'''nginx", "server {", "  # …", "  root /;", "'''"}, ""},
		"prose":                          {[]string{"'''text", "go here", "'''"}, ""},
		"a changed line":                 {[]string{"'''go", "if x {", "\tY()", "'''"}, "line 1: no go file has these lines"},
		"a line too few":                 {[]string{"'''go", "y()", "z()", "'''"}, "no go file"},
		"parts in another order":         {[]string{"'''go", "last()", "…", "z()", "'''"}, "no go file"},
		"indented unevenly":              {[]string{"'''go", "if x {", "\t…", "z()", "'''"}, "no go file"},
		"more than the file has":         {[]string{"'''go", "last()", "…", "nothing()", "'''"}, "no go file"},
		"Go in a file of another kind":   {[]string{"'''go", "listen 1;", "'''"}, "no go file"},
		"only commented out":             {[]string{"'''go", "commented()", "'''"}, "no go file"},
		"empty":                          {[]string{"'''js", "", "'''"}, "no js file"},
		"a shell":                        {[]string{"'''bash", "true", "'''"}, "belong in a block marked console"},
		"a command in a block of text":   {[]string{"'''text", "x", "$ curl x", "'''"}, "line 2: a command outside"},
		"a command in no block at all":   {[]string{"Do this:", "", "    go run .", ""}, "line 3: a command outside"},
		"a command in an unmarked block": {[]string{"'''", "make check", "'''"}, "a command outside"},
	} {
		if wrong := want(page(tt.lines...).CheckExcerpts(sources), tt.want); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
}
