package check

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tracked returns the paths, relative to root, of the files that git tracks.
func tracked(t *testing.T, root string) (paths []string) {
	t.Helper()
	git := exec.Command("git", "ls-files", "-z")
	git.Dir = root
	out, err := git.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for path := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Stat(filepath.Join(root, path)); err == nil { // git may not know yet that it is deleted
			paths = append(paths, path)
		}
	}
	return paths
}

// repository returns the root of the repository, the text of all its files by path, and its pages.
func repository(t *testing.T) (root string, files map[string]string, pages []*page) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, path := range tracked(t, root) {
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		files[path] = string(text)
		if strings.HasSuffix(path, ".md") && !strings.Contains(path, "testdata/") {
			pages = append(pages, parse(path, string(text)))
		}
	}
	if len(pages) < 5 {
		t.Fatalf("there are only %d pages", len(pages))
	}
	return root, files, pages
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

// Code blocks are excerpts of files that are compiled, run or used.
func TestSnippets(t *testing.T) {
	_, files, pages := repository(t)
	for _, p := range pages {
		t.Run(p.path, func(t *testing.T) { report(t, append(p.problems, p.checkExcerpts(files)...)) })
	}
}

// Links lead somewhere.
func TestLinks(t *testing.T) {
	root, _, pages := repository(t)
	for _, p := range pages {
		t.Run(p.path, func(t *testing.T) { report(t, p.checkLinks(root)) })
	}
}

// Commands print what the page shows.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	root, files, pages := repository(t)
	for _, p := range pages {
		t.Run(p.path, func(t *testing.T) {
			if tool := p.missing(); tool != "" && os.Getenv("CI") == "" {
				t.Skipf("%s is not installed", tool)
			}
			report(t, p.checkCommands(t, root, files))
		})
	}
}

// A page with a fault of each kind: each is found, and nothing else is.
func TestFaults(t *testing.T) {
	files := map[string]string{"a.go": "package a\n\nfunc f() {\n\tg()\n\th()\n}\n", "ci": "make all # not make less\n", "reader": `open("page.md")`}
	root := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for text, want := range map[string]string{
		"# A b\n[x](#a-b) [y](a.go) [z](https://example.com) `[no](link)`": "",
		"[x](none.go)":                       "no such file",
		"[x](#none)":                         "no such heading",
		"[x](../a.go)":                       "no such file",
		"<img src='a.go'>":                   "cannot be read",
		"[x](http://a.com)":                  "https",
		"```go\ng()\n…\n}\n```":              "no go file",
		"```go\nfunc f() {\n\t…\n\th()\n```": "",
		"```go\nh()\ng()\n```":               "no go file",
		"```go\n\tg()\nh()\n```":             "no go file",
		"```yaml\ng()\n```":                  "no yaml file",
		"```go\n```":                         "no go file",
		"```\ng()\n```":                      "no language",
		"a ```g()```":                        "on a line of its own",
		"```go\ng()":                         "not closed",
		"```console\n$ echo a; echo b >&2\na\nb\n```":                      "",
		"```console\n$ seq 9; echo it took 1.5s\n1\n…\nit took 2.5s\n```":  "",
		"```console\n$ cat <<END\nx\nEND\nx\n```":                          "",
		"```console\n$ echo no; exit 3\nno\n# exit status: 3\n```":         "",
		"```console\n$ echo a\n```":                                        "prints\na",
		"```console\n$ echo 5\n6\n```":                                     "prints\n5",
		"```console\n$ false\n```":                                         "exit status 1, want 0",
		"```console\n$ true\n# exit status: 3\n```":                        "exit status 0, want 3",
		"```console\n$ true\n# the client receives: \"1\"\n```":            "no client",
		"```console\n$ true\n# the client gets 1\n```":                     "cannot be checked",
		"```console\na\n```":                                               "no command",
		"<!-- run: by ci -->\n```console\n$ make all # now\n```":           "",
		"<!-- run: by ci -->\n```console\n$ make less\n```":                "ci does not run",
		"<!-- run: by none -->\n```console\n$ make all\n```":               "none does not run",
		"<!-- run: by ci -->\n```python\nf()\n```":                         "ci does not name page.md",
		"<!-- run: by reader -->\n```python\nf()\n```":                     "",
		"<!-- run: never -->\n```python\nf()\n```":                         "is for a block marked console",
		"<!-- run: never -->\n```console\n$ true\n```":                     "background, quickstart or by FILE",
		"<!-- run: background -->\n\n```console\n$ true\n```":              "directly above",
		"<!-- run: background -->\n```console\n$ echo a; sleep 60\na\n```": "",
		"<!-- run: background -->\n```console\n$ echo b\na\n```":           "has ended",
	} {
		p := parse("page.md", text)
		problems := append(p.problems, p.checkExcerpts(files)...)
		problems = append(problems, p.checkLinks(root)...)
		problems = append(problems, p.checkCommands(t, root, files)...)
		if got := strings.Join(problems, "\n"); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: found %q, want %q", text, got, want)
		}
	}
}

// What the client of the quickstart gets is checked, with nothing left out.
func TestFaultsOfClient(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	root, files, _ := repository(t)
	p := parse("page.md", strings.Join([]string{
		"<!-- run: quickstart -->", "```console",
		"$ curl -d 123 http://ID@127.0.0.1:48775/ws", `# the client receives: "123"`,
		"$ curl -d 123 http://ID@127.0.0.1:48775/ws", `# the client receives: "124"`,
		"$ curl -d last http://ID@127.0.0.1:48775/ws", "```"}, "\n"))
	got := strings.Join(p.checkCommands(t, root, files), "\n")
	want := `line 6: the client does not get "124", but "123"` + "\n" + `line 7: the client also gets "last"`
	if got != want {
		t.Errorf("found %s\nwant %s", got, want)
	}
}

// Drawings in light and dark differ only in colours, and say in words what they show.
func TestPictures(t *testing.T) {
	light, err := filepath.Glob("../pictures/*-light.svg")
	if err != nil || len(light) == 0 {
		t.Fatalf("there are no drawings (%v)", err)
	}
	colour := regexp.MustCompile(`#[0-9a-f]{6}\b`)
	for _, name := range light {
		var drawings [2][]byte
		for i, name := range []string{name, strings.TrimSuffix(name, "light.svg") + "dark.svg"} {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, tag := range []string{"<title id=", "<desc id="} {
				if !bytes.Contains(text, []byte(tag)) {
					t.Errorf("%s has no %s", name, tag)
				}
			}
			drawings[i] = colour.ReplaceAll(text, []byte("colour"))
		}
		if !bytes.Equal(drawings[0], drawings[1]) {
			t.Errorf("%s and its dark version differ in more than colours", name)
		}
	}
}
