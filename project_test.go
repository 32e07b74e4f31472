package wspush_test

import (
	"go/doc/comment"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// CONTRIBUTING.md names every file of the root package, and every folder; whatever Go file or command of the Makefile it names is
// there.
func TestContributing(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, match := range regexp.MustCompile("`([a-z0-9_/.]+)`").FindAllStringSubmatch(string(text), -1) {
		named = append(named, match[1])
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !slices.Contains(named, file) {
			t.Errorf("CONTRIBUTING.md does not say what %s is for", file)
		}
	}
	t.Run("folders", func(t *testing.T) {
		for _, folder := range trackedFolders(t) {
			if !slices.Contains(named, folder) {
				t.Errorf("CONTRIBUTING.md does not say what %s is for", folder)
			}
		}
	})
	for _, name := range named {
		if _, err := os.Stat(name); err != nil && strings.HasSuffix(name, ".go") {
			t.Errorf("CONTRIBUTING.md names %s: %v", name, err)
		}
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile("`make ([a-z0-9]+)`").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(string(makefile), "\n"+match[1]+": ## ") {
			t.Errorf("CONTRIBUTING.md names make %s, which the Makefile does not have", match[1])
		}
	}
}

// trackedFolders returns the folders in the root and in internal, without those that a contributor has beside them. It skips the
// test where git does not know: not in a clone, as in the module cache, or there is no git.
func trackedFolders(t *testing.T) (folders []string) {
	t.Helper()
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("not a clone, so nothing says which folders are tracked: ", err)
	}
	files, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		t.Skip("git does not say which folders are tracked: ", err)
	}
	for _, match := range regexp.MustCompile(`(?m)^(internal/[^/\n]+|[a-z][^/\n]*)/`).FindAllStringSubmatch(string(files), -1) {
		if folder := match[1]; folder != "internal" && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return folders
}

// CHANGELOG.md is as Keep a Changelog 1.1.0 wants it: what is unreleased first, then versions with their dates, the latest first;
// in each, kinds of changes, each once; and a link for each.
func TestChangelog(t *testing.T) {
	text, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range judgeChangelog(string(text)) {
		t.Error(finding)
	}
	const head = "# Changelog\n## [Unreleased]\n"
	for name, bad := range map[string]string{
		"nothing unreleased": "# Changelog\n## [1.0.0] - 2026-12-01\n[1.0.0]: https://example.com/\n",
		"unknown kind":       head + "### Improved\n- x\n[Unreleased]: https://example.com/\n",
		"a kind twice":       head + "### Added\n- x\n### Added\n- y\n[Unreleased]: https://example.com/\n",
		"an empty kind":      head + "### Added\n### Fixed\n- y\n[Unreleased]: https://example.com/\n",
		"no link":            head + "### Added\n- x\n",
		"no date":            head + "## [1.0.0]\n[Unreleased]: https://example.com/\n[1.0.0]: https://example.com/\n",
		"the oldest first": head + "## [1.0.0] - 2026-12-01\n## [1.1.0] - 2026-12-02\n" +
			"[Unreleased]: https://example.com/\n[1.0.0]: https://example.com/\n[1.1.0]: https://example.com/\n",
	} {
		if len(judgeChangelog(bad)) == 0 {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

// judgeChangelog returns what is wrong with a changelog.
func judgeChangelog(text string) (findings []string) {
	version := regexp.MustCompile(`^## \[(\d+\.\d+\.\d+\S*)\] - (\d{4}-\d{2}-\d{2})$`)
	known := []string{"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
	var names, dates, kinds []string
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		heading := strings.HasPrefix(line, "## ")
		match := version.FindStringSubmatch(line)
		switch {
		case heading && len(names) == 0:
			if line != "## [Unreleased]" {
				findings = append(findings, "the first heading is not ## [Unreleased] but "+line)
			}
			names = append(names, "Unreleased")
		case heading && match == nil:
			findings = append(findings, "not a version and its date: "+line)
		case heading:
			names, dates, kinds = append(names, match[1]), append(dates, match[2]), nil
		case strings.HasPrefix(line, "### "):
			kind := strings.TrimPrefix(line, "### ")
			if !slices.Contains(known, kind) || slices.Contains(kinds, kind) {
				findings = append(findings, "unknown, or there already: "+line)
			}
			kinds = append(kinds, kind)
			rest := strings.TrimSpace(strings.Join(lines[i+1:], "\n"))
			if !strings.HasPrefix(rest, "- ") {
				findings = append(findings, "nothing under "+line)
			}
		}
	}
	for i := 1; i < len(dates); i++ {
		if dates[i] > dates[i-1] {
			findings = append(findings, "the latest version is not the first: "+dates[i])
		}
	}
	for _, name := range names {
		if !strings.Contains(text, "\n["+name+"]: https://") {
			findings = append(findings, "no link for ["+name+"]")
		}
	}
	return findings
}

// The programs in the packages' documentation compile.
func TestProgramsInDoc(t *testing.T) {
	for _, file := range []string{"doc.go", "publisher/doc.go"} {
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		program := ""
		for _, block := range new(comment.Parser).Parse(syntax.Doc.Text()).Content {
			if code, ok := block.(*comment.Code); ok && strings.HasPrefix(code.Text, "package main\n") {
				program = code.Text
			}
		}
		if program == "" {
			t.Errorf("%s has no program", file)
			continue
		}
		dir := t.TempDir()
		main := filepath.Join(dir, "main.go")
		if err := os.WriteFile(main, []byte(program), 0o666); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "program"), main).CombinedOutput(); err != nil {
			t.Errorf("the program in %s: %v\n%s", file, err, out)
		}
	}
}

// The scripts of CI that look for tests fail where they find none, or cannot look.
func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil || runtime.GOOS == "windows" {
		t.Skip("the scripts are for bash: ", err)
	}
	const (
		head   = "package thing\n\nimport \"testing\"\n\n"
		target = head + "func FuzzThing(f *testing.F) { f.Fuzz(func(*testing.T, int) {}) }\n"
	)
	for name, test := range map[string]struct {
		script string
		files  map[string]string
		want   string // in the output; "" means that the script succeeds
	}{
		"a target":           {"fuzz", map[string]string{"thing_test.go": target}, ""},
		"no target":          {"fuzz", map[string]string{"thing.go": "package thing\n"}, "there is no fuzz target"},
		"one does not build": {"fuzz", map[string]string{"thing_test.go": target, "b/b_test.go": head + "var x int = nil\n"}, "b_test.go:5"},
		"no list":            {"fuzz", map[string]string{"thing_test.go": target, "b/b.go": "pakage b\n"}, "b.go:1"},
		"no slow test":       {"slow", map[string]string{"thing_test.go": head + "func TestQuick(*testing.T) {}\n"}, "there is no test ^TestAllocations$"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script, err := os.ReadFile(filepath.Join(".ci", test.script))
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{"go.mod": "module example.com/thing\n\ngo 1.25\n", ".ci/" + test.script: string(script)}
			maps.Copy(files, test.files)
			for name, content := range files {
				file := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			out, err := exec.Command("bash", filepath.Join(dir, ".ci", test.script), "1").CombinedOutput()
			if (err == nil) != (test.want == "") || !strings.Contains(string(out), test.want) {
				t.Errorf("%v, with this output; want %q in it\n%s", err, test.want, out)
			}
		})
	}
}
