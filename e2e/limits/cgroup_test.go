//go:build linux

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A worker's cgroup is made below the nearest one that passes memory on, and bounded. Where there is none, or it cannot be bounded, memory
// is watched.
func TestCgroup(t *testing.T) {
	root := t.TempDir()
	for folder, controllers := range map[string]string{"": "cpu memory pids\n", "a": "cpu memory\n", "a/b": "cpu\n", "a/b/c": "\n", "other": "memory\n"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, folder, "cgroup.subtree_control"), []byte(controllers), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for own, want := range map[string]string{
		"4:memory:/other\n0::/a/b/c\n": "a",
		"0::/a\n":                      "a",
		"0::/\n":                       "",
		"0::/elsewhere/there\n":        "",
	} {
		if b := boundsIn(root, own); b.parent != filepath.Join(root, want) {
			t.Errorf("%q: %q", own, b.parent)
		}
	}
	if b := boundsIn(root, "4:memory:/other\n"); b.parent != "" {
		t.Errorf("version 1 was taken: %q", b.parent)
	}
	if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("cpu"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b := boundsIn(root, "0::/elsewhere\n"); b.parent != "" {
		t.Errorf("no memory is passed on: %q", b.parent)
	}

	g, err := boundsIn(root, "0::/a\n").group()
	if err != nil {
		t.Fatal(err)
	}
	defer g.remove()
	limit, err := os.ReadFile(filepath.Join(g.folder, "memory.max"))
	if err != nil || string(limit) != "1073741824" || filepath.Dir(g.folder) != filepath.Join(root, "a") {
		t.Errorf("%s has %q, %v", g.folder, limit, err)
	}
	if err := os.WriteFile(filepath.Join(g.folder, "memory.peak"), []byte("12345\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if peak := g.peak(); peak != 12345 {
		t.Errorf("the peak is %d", peak)
	}
	if g, err := new(bounds).group(); g != nil || err != nil {
		t.Errorf("there is no place for a cgroup: %v, %v", g, err)
	}
}
