package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
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
	Export     string // the file with the compiled package's export data
	DepOnly    bool   // only imported by a package of the module

	types  *types.Package
	fset   *token.FileSet
	syntax []*ast.File
}

// public reports whether other modules can import the package.
func (p *pkg) public() bool {
	return !p.DepOnly && p.Name != "main" && len(p.GoFiles) > 0 && !slices.Contains(strings.Split(p.ImportPath, "/"), "internal")
}

// load returns the public packages of the module in dir: their types, as the compiler sees them, and their syntax, for comments.
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
		if p.types, err = imports.Import(p.ImportPath); err != nil {
			return nil, err
		}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			p.syntax = append(p.syntax, file)
		}
	}
	return packages, nil
}
