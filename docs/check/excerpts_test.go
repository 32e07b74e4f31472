package check

import "testing"

func TestCheckExcerpts(t *testing.T) {
	sources := newSources()
	for path, text := range map[string]string{
		"a.go":   "package a\n\nfunc f() {\n\tif x {\n\t\ty()\n\n\t\tz()\n\t}\n\tlast()\n}\n// \tcommented()\n",
		"b.go":   "package a\n\nconst page = `\nquoted()\n`\n\n/*\nunused()\n*/\n\n// only said()\nvar v = 1\n\nfunc g() {\n\tquoted()\n\tagain()\n}\n",
		"a.conf": "server {\n  listen 1;\n  # why\n  root /;\n}\n",
	} {
		if err := sources.add(path, text); err != nil {
			t.Fatal(err)
		}
	}
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
		"in a string":                    {[]string{"'''go", "quoted()", "`", "'''"}, "no go file"},
		"in a string, later in code":     {[]string{"'''go", "quoted()", "again()", "'''"}, ""},
		"a string from its beginning":    {[]string{"'''go", "const page = `", "quoted()", "`", "'''"}, ""},
		"a string, its beginning left":   {[]string{"'''go", "package a", "…", "quoted()", "`", "'''"}, "no go file"},
		"in a comment":                   {[]string{"'''go", "unused()", "'''"}, "no go file"},
		"a comment, its beginning left":  {[]string{"'''go", "package a", "…", "unused()", "'''"}, "no go file"},
		"nothing but a comment":          {[]string{"'''go", "// only said()", "'''"}, "no go file"},
		"a comment, and what it is of":   {[]string{"'''go", "// only said()", "var v = 1", "'''"}, ""},
		"empty":                          {[]string{"'''js", "", "'''"}, "no js file"},
		"a shell":                        {[]string{"'''bash", "true", "'''"}, "belong in a block marked console"},
		"a command in a block of text":   {[]string{"'''text", "x", "$ curl x", "'''"}, "line 2: a command outside"},
		"a command in no block at all":   {[]string{"Do this:", "", "    go run .", ""}, "line 3: a command outside"},
		"a command in an unmarked block": {[]string{"'''", "make check", "'''"}, "a command outside"},
		"a command in an item":           {[]string{"- Do this:", "", "      go run .", ""}, "line 3: a command outside"},
		"a command after blanks":         {[]string{"'''text", "  $ anything", "'''"}, "a command outside"},
		"a prompt with a host":           {[]string{"'''text", "a@host:~$ anything", "'''"}, "a command outside"},
		"a command of root":              {[]string{"'''text", "# sudo apt-get install x", "'''"}, "a command outside"},
		"another program":                {[]string{"'''text", "X=1 kubectl apply -f x.yaml", "'''"}, "a command outside"},
		"Go in a block of text":          {[]string{"'''text", "err := worker.Push(ctx)", "'''"}, "line 1: Go outside"},
		"Go in no block at all":          {[]string{"Do this:", "", "    worker.Push(ctx)", ""}, "line 3: Go outside"},
		"a declaration of Go":            {[]string{"'''", "func f()", "'''"}, "Go outside"},
		"a diagram":                      {[]string{"'''text", "client ─▶ Worker.Push ─▶ variable, function", "'''"}, ""},
	} {
		if wrong := want(page(tt.lines...).CheckExcerpts(sources), tt.want); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
}
