package wspush_test

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/wspush/wspush"

// mayImport is which packages of this module each of its packages may import, besides in tests.
var mayImport = map[string][]string{
	"directory":               {},
	"directory/directorytest": {"directory"},
	"internal/address":        {"internal/wire"},
	"internal/bulk":           {"internal/wire"},
	"internal/lane":           {"internal/address", "internal/sendbuffer", "internal/wire"},
	"internal/link":           {"internal/address", "internal/seal"},
	"internal/membership":     {"directory"},
	"internal/origin":         {"internal/address"},
	"internal/seal":           {"internal/wire"},
	"internal/sendbuffer":     {},
	"internal/sent":           {},
	"internal/session":        {"internal/seal"},
	"internal/sessionfile":    {},
	"internal/socket":         {"internal/origin", "internal/sendbuffer", "internal/session", "internal/timing", "internal/wire"},
	"internal/takeover":       {},
	"internal/testutil":       {},
	"internal/timing":         {},
	"internal/wire":           {},
	"publisher":               {"internal/address", "internal/bulk", "internal/sent", "internal/wire"},
}

// TestImports: each package knows only those below it. Nothing in internal/ knows the root package, the lane knows no socket,
// and a publisher needs nothing of what a worker is made of.
func TestImports(t *testing.T) {
	folders, err := filepath.Glob("internal/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range append(folders, "publisher", "directory", "directory/directorytest") {
		folder = filepath.ToSlash(folder)
		allowed, ok := mayImport[folder]
		if !ok {
			t.Errorf("%s: mayImport does not say what it may import", folder)
			continue
		}
		for _, imported := range importsOf(t, folder) {
			if !slices.Contains(allowed, imported) {
				t.Errorf("%s imports %s", folder, imported)
			}
		}
	}
	for folder := range mayImport {
		if _, err := os.Stat(folder); err != nil {
			t.Errorf("mayImport: %v", err)
		}
	}
}

// importsOf returns the packages of this module that the Go files of a folder import, "." for the root. Of its tests it looks
// only at those of internal packages, for the root.
func importsOf(t *testing.T, folder string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has no Go files: %v", folder, err)
	}
	for _, file := range files {
		isTest := strings.HasSuffix(file, "_test.go")
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			inModule := imported == module || strings.HasPrefix(imported, module+"/")
			if inModule && (!isTest || imported == module && path.Dir(folder) == "internal") {
				all = append(all, strings.TrimPrefix(path.Clean("."+strings.TrimPrefix(imported, module)), "./"))
			}
		}
	}
	return all
}
