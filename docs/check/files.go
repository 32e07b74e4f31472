package check

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Find returns the paths, with slashes, of the files below root that belong to the repository. Where git cannot tell, these are all
// files, and why says so.
func Find(root string) (paths []string, why string, err error) {
	candidates, why := tracked(root)
	if why != "" {
		if candidates, err = walk(root); err != nil {
			return nil, why, err
		}
	}
	for _, path := range candidates {
		// A file may be deleted, and git not know yet.
		if info, err := os.Lstat(filepath.Join(root, filepath.FromSlash(path))); err == nil && info.Mode().IsRegular() && !aside(path) {
			paths = append(paths, path)
		}
	}
	return paths, why, nil
}

// tracked are the files that git knows of.
func tracked(root string) (paths []string, why string) {
	git := exec.Command("git", "ls-files", "-z")
	git.Dir = root
	out, err := git.Output()
	switch {
	case err != nil:
		return nil, fmt.Sprintf("untracked files count too: git ls-files: %v", err)
	case len(out) == 0:
		return nil, "untracked files count too: git tracks none here"
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"), ""
}

func walk(root string) ([]string, error) {
	var paths []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		paths = append(paths, filepath.ToSlash(relative))
		return err
	})
	return paths, err
}

// aside reports whether a file is no part of the repository's text.
func aside(path string) bool {
	for folder := range strings.SplitSeq(filepath.ToSlash(filepath.Dir(path)), "/") {
		if folder == ".git" || folder == "node_modules" || folder == "testdata" {
			return true
		}
	}
	return false
}
