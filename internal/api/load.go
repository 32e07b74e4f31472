package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// pkg is a public package. What is exported in capitals comes from go list.
type pkg struct {
	ImportPath string
	Name       string
	Dir        string
	GoFiles    []string
	Export     string // the file with the export data of the compiled package
	DepOnly    bool   // only imported by a package of the module

	types  *types.Package
	fset   *token.FileSet
	syntax []*ast.File
}

// public reports whether other modules can import the package.
func (p *pkg) public() bool {
	return !p.DepOnly && p.Name != "main" && len(p.GoFiles) > 0 && !slices.Contains(strings.Split(p.ImportPath, "/"), "internal")
}

// load returns the public packages of the module in dir: their types, for what they export, and their syntax, for comments. What
// they import is compiled.
func load(dir string) ([]*pkg, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Name,Dir,GoFiles,Export,DepOnly", "./...")
	list.Dir = dir
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w\n%s", dir, err, stderr.Bytes())
	}
	exports := map[string]string{} // by import path
	var packages []*pkg
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		p := new(pkg)
		if err := decoder.Decode(p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("what go list says: %w", err)
		}
		exports[p.ImportPath] = p.Export
		if p.public() {
			packages = append(packages, p)
		}
	}
	fset := token.NewFileSet()
	imports := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, p := range packages {
		p.fset = fset
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			p.syntax = append(p.syntax, file)
		}
		// From the source, since the names of parameters in export data are not always those of the source.
		config := types.Config{Importer: imports, Sizes: types.SizesFor("gc", build.Default.GOARCH)}
		if p.types, err = config.Check(p.ImportPath, fset, p.syntax, nil); err != nil {
			return nil, err
		}
	}
	return packages, nil
}
