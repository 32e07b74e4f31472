package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// advice is what to do about a record that differs.
const advice = `If this is meant, run "make api", commit the record, and tell users in CHANGELOG.md: a line that goes (-), or moves (~), is Changed or Removed.`

// check compares the public packages of modules, folders in root, with their records in root/api, or writes these, and checks the
// packages' comments. A module that does not exist has no packages, so that a record of one is out of date. It returns what
// is wrong.
func check(root string, modules []string, write bool) (findings []string, err error) {
	records := map[string][]string{} // by the name of the file
	for _, module := range modules {
		dir := filepath.Join(root, module)
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		packages, err := load(dir)
		if err != nil {
			return nil, err
		}
		for _, p := range packages {
			name, err := recordName(root, p)
			if err != nil {
				return nil, err
			}
			records[name] = record(p.types)
			findings = append(findings, uncommented(p)...)
		}
	}
	dir := filepath.Join(root, "api")
	if write {
		return findings, rewrite(dir, records)
	}
	differences, err := compare(dir, records)
	return append(findings, differences...), err
}

// recordName returns the name of a package's record: that of its folder in the repository.
func recordName(root string, p *pkg) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", err
	}
	folder, err := filepath.Rel(root, p.Dir)
	if err != nil {
		return "", err
	}
	if folder == "." {
		folder = path.Base(p.ImportPath)
	}
	return strings.ReplaceAll(filepath.ToSlash(folder), "/", "-") + ".txt", nil
}

// rewrite makes the records all that there is in dir.
func rewrite(dir string, records map[string][]string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if _, ok := records[filepath.Base(file)]; !ok {
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	for name, lines := range records {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o666); err != nil {
			return err
		}
	}
	return nil
}

// compare returns how the records in dir differ from those that they should be.
func compare(dir string, records map[string][]string) (findings []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	names := slices.Collect(maps.Keys(records))
	for _, file := range files {
		names = append(names, filepath.Base(file))
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		old, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		recorded := strings.FieldsFunc(string(old), func(r rune) bool { return r == '\n' || r == '\r' })
		if lines := difference(recorded, records[name]); len(lines) > 0 {
			findings = append(findings,
				fmt.Sprintf("api/%s: the exported API is another:\n\t%s\n%s", name, strings.Join(lines, "\n\t"), advice))
		}
	}
	return findings, nil
}

// difference returns the lines that are only in old, after a minus; those that are only in now, after a plus; and those that are
// in both, but not in the same order, after a tilde.
func difference(old, now []string) []string {
	var lines, stayed []string
	for _, line := range old {
		if slices.Contains(now, line) {
			stayed = append(stayed, line)
		} else {
			lines = append(lines, "- "+line)
		}
	}
	for _, line := range now {
		if !slices.Contains(old, line) {
			lines = append(lines, "+ "+line)
			continue
		}
		if len(stayed) == 0 || stayed[0] != line {
			lines = append(lines, "~ "+line)
		}
		stayed = stayed[min(1, len(stayed)):]
	}
	// So what is changed stands together.
	slices.SortStableFunc(lines, func(a, b string) int { return strings.Compare(a[2:], b[2:]) })
	return lines
}
