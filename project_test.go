package wspush_test

import (
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// CONTRIBUTING.md names every file of the root package but its tests, and every folder. Tests are named for the file that they test,
// unless CONTRIBUTING.md names them. Every Go file and every command of the Makefile that it names exists.
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
		if !strings.HasSuffix(file, "_test.go") && !slices.Contains(named, file) {
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
	tests := testFiles(t)
	t.Run("tests", func(t *testing.T) {
		for _, file := range tests {
			if !slices.Contains(named, filepath.Base(file)) && !testsFile(file) {
				t.Errorf("%s is named for no file, and CONTRIBUTING.md does not say what it is for", file)
			}
		}
	})
	for _, name := range named {
		isTest := func(file string) bool { return filepath.Base(file) == name }
		if _, err := os.Stat(name); err != nil && strings.HasSuffix(name, ".go") && !slices.ContainsFunc(tests, isTest) {
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

// testFiles returns the test files of the public packages and the internal ones.
func testFiles(t *testing.T) (files []string) {
	t.Helper()
	for _, folder := range []string{".", "client", "console", "directory/directorytest", "internal/*", "publisher", "stats", "wspushtest"} {
		found, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s has no test files: %v", folder, err)
		}
		files = append(files, found...)
	}
	return files
}

// testsFile reports whether a test file is named for a file beside it: X_test.go or X_topic_test.go for X.go.
func testsFile(test string) bool {
	name := strings.TrimSuffix(test, "_test.go")
	for {
		if _, err := os.Stat(name + ".go"); err == nil {
			return true
		}
		cut := strings.LastIndex(filepath.Base(name), "_")
		if cut < 0 {
			return false
		}
		name = filepath.Join(filepath.Dir(name), filepath.Base(name)[:cut])
	}
}

// trackedFolders returns the folders in the root and in internal that git tracks. It skips the test outside a clone, as in the module
// cache, and where there is no git.
func trackedFolders(t *testing.T) (folders []string) {
	t.Helper()
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("not a clone: ", err)
	}
	files, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		t.Skip("git ls-files: ", err)
	}
	for _, match := range regexp.MustCompile(`(?m)^(internal/[^/\n]+|[a-z][^/\n]*)/`).FindAllStringSubmatch(string(files), -1) {
		if folder := match[1]; folder != "internal" && !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return folders
}

// CHANGELOG.md follows Keep a Changelog 1.1.0: unreleased changes first, then versions with their dates, the latest first; in each, kinds
// of changes, each once; and a link for each.
func TestChangelog(t *testing.T) {
	text, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range judgeChangelog(string(text)) {
		t.Error(finding)
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

// Whoever copies a program of ours has a server that bounds what somebody costs who has only begun to connect.
func TestServersAreBounded(t *testing.T) {
	files := []string{"README.md", "doc.go"}
	for _, pattern := range []string{"docs/*.md", "docs/check/snippets/*/*.go", "examples/*/*.go", "examples/*.md", "examples/*/*.md", "publisher/doc.go", "recipes/README.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	servers := 0
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text := string(content)
		if regexp.MustCompile(`http\.(ListenAndServe|Serve)(TLS)?\(`).MatchString(text) {
			t.Errorf("%s serves without limits: it needs an http.Server", file)
		}
		for _, literal := range regexp.MustCompile(`(?s)http\.Server\{.*?\}\n`).FindAllString(text, -1) {
			servers++
			for _, field := range []string{"ReadHeaderTimeout:", "MaxHeaderBytes:"} {
				if !strings.Contains(literal, field) {
					t.Errorf("%s has a server without %s %s", file, field, literal)
				}
			}
		}
	}
	if servers < 9 {
		t.Errorf("only %d servers are found", servers)
	}
}

// Dependabot knows every module and every package.json.
func TestDependabot(t *testing.T) {
	if _, err := os.Stat(".git"); err != nil {
		t.Skip("not a clone: ", err)
	}
	files, err := exec.Command("git", "ls-files", "go.mod", "*/go.mod", "*/package.json").Output()
	if err != nil {
		t.Skip("git ls-files: ", err)
	}
	config, err := os.ReadFile(".github/dependabot.yml")
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.FieldsSeq(string(files)) {
		folder := path.Clean("/" + path.Dir(file))
		if !regexp.MustCompile("(?m)^ +- " + folder + "$").Match(config) {
			t.Errorf(".github/dependabot.yml does not have %s", folder)
		}
	}
}
