package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Files are those that git knows of, or, if it knows nothing of them, all.
func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"a.md", "b/ü c.go", "b/testdata/d.go", "gone.go", "untracked.go"} {
		name := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	find := func(why string, want ...string) {
		t.Helper()
		got, said, err := Find(dir)
		if slices.Sort(got); err != nil || !slices.Equal(got, want) || !strings.Contains(said, why) || why == "" && said != "" {
			t.Errorf("found %q, %q, %v; want %q", got, said, err, want)
		}
	}
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir)) // whatever the folder of temporary files is in
	find("untracked files count too: git ls-files", "a.md", "b/ü c.go", "gone.go", "untracked.go")
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	find("git tracks none", "a.md", "b/ü c.go", "gone.go", "untracked.go")
	git("add", "a.md", "b", "gone.go")
	if err := os.Remove(filepath.Join(dir, "gone.go")); err != nil {
		t.Fatal(err)
	}
	find("", "a.md", "b/ü c.go")
}
