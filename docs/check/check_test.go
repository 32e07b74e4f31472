package check

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// root is that of the repository.
func root(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// paths are those of the files of the repository.
func paths(t *testing.T) []string {
	t.Helper()
	paths, why, err := Find(root(t))
	if err != nil {
		t.Fatal(err)
	}
	if why != "" {
		t.Log(why)
	}
	return paths
}

// eachPage runs check as a subtest for each page of the repository.
func eachPage(t *testing.T, check func(t *testing.T, p *Page)) {
	t.Helper()
	pages, err := Pages(root(t), paths(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 5 {
		t.Fatalf("there are %d pages", len(pages))
	}
	for _, p := range pages {
		t.Run(p.Path, func(t *testing.T) { check(t, p) })
	}
}

func report(t *testing.T, problems []Problem) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func sources(t *testing.T) *Sources {
	t.Helper()
	s, err := ReadSources(root(t), paths(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSnippets: code in pages is that of files which are compiled, run or used.
func TestSnippets(t *testing.T) {
	sources := sources(t)
	eachPage(t, func(t *testing.T, p *Page) {
		report(t, p.Problems)
		report(t, p.CheckExcerpts(sources))
	})
}

// TestLinks: what pages link to is there.
func TestLinks(t *testing.T) {
	eachPage(t, func(t *testing.T, p *Page) { report(t, p.CheckLinks(root(t))) })
}

// TestCommands: what pages say that commands print is what they print.
func TestCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	sources := sources(t)
	eachPage(t, func(t *testing.T, p *Page) {
		problems, err := p.CheckCommands(root(t), t.TempDir(), sources)
		report(t, problems)
		if tool := new(missing); errors.As(err, &tool) && os.Getenv("CI") == "" {
			t.Skip(err)
		} else if err != nil {
			t.Error(err)
		}
	})
}
