package main

import (
	"fmt"
	"go/ast"
	"path"
	"path/filepath"
	"strings"
)

// uncommented returns where a package exports something that no comment explains.
func uncommented(p *pkg) []string {
	c := &comments{pkg: p}
	described := false
	for _, file := range p.syntax {
		described = described || begins(file.Doc, "Package "+p.Name)
		for _, decl := range file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				c.function(d)
			case *ast.GenDecl:
				c.declaration(d)
			}
		}
	}
	if !described {
		c.findings = append(c.findings, fmt.Sprintf("%s: no file has a comment that begins with \"Package %s\"", p.ImportPath, p.Name))
	}
	return c.findings
}

// comments gathers what is wrong with those of a package.
type comments struct {
	pkg      *pkg
	findings []string
}

func (c *comments) missing(name *ast.Ident, what string) {
	at := c.pkg.fset.Position(name.Pos())
	file := path.Join(c.pkg.ImportPath, filepath.Base(at.Filename))
	c.findings = append(c.findings, fmt.Sprintf("%s:%d: %s %s", file, at.Line, name.Name, what))
}

// begins reports whether a comment's first words are the name, perhaps after an article, as go doc expects.
func begins(doc *ast.CommentGroup, name string) bool {
	text := doc.Text()
	for _, article := range []string{"A ", "An ", "The "} {
		text = strings.TrimPrefix(text, article)
	}
	rest, ok := strings.CutPrefix(text, name)
	return ok && rest != "" && strings.ContainsAny(rest[:1], " \n,:;.'[")
}

func (c *comments) named(name *ast.Ident, doc *ast.CommentGroup) {
	if name.IsExported() && !begins(doc, name.Name) {
		c.missing(name, "has no comment that begins with its name")
	}
}

func (c *comments) function(f *ast.FuncDecl) {
	if f.Recv != nil {
		receiver := f.Recv.List[0].Type
		if star, ok := receiver.(*ast.StarExpr); ok {
			receiver = star.X
		}
		switch generic := receiver.(type) {
		case *ast.IndexExpr:
			receiver = generic.X
		case *ast.IndexListExpr:
			receiver = generic.X
		}
		if !receiver.(*ast.Ident).IsExported() {
			return
		}
	}
	c.named(f.Name, f.Doc)
}

func (c *comments) declaration(d *ast.GenDecl) {
	alone := !d.Lparen.IsValid() // otherwise its comment is about the whole group
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			doc := s.Doc
			if doc == nil && alone {
				doc = d.Doc
			}
			c.named(s.Name, doc)
			if !s.Name.IsExported() {
				continue
			}
			switch t := s.Type.(type) {
			case *ast.StructType:
				c.fields(t.Fields)
			case *ast.InterfaceType:
				c.fields(t.Methods)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && s.Doc == nil && s.Comment == nil && !(alone && d.Doc != nil) {
					c.missing(name, "has no comment")
				}
			}
		}
	}
}

// fields checks those of a struct, or the methods of an interface. Of several on lines that follow each other, the first may
// have the comment of all.
func (c *comments) fields(list *ast.FieldList) {
	last := -1 // the last line of what has a comment
	for _, f := range list.List {
		first := c.pkg.fset.Position(f.Pos()).Line
		if f.Doc == nil && f.Comment == nil && first != last+1 {
			for _, name := range f.Names {
				if name.IsExported() {
					c.missing(name, "has no comment")
				}
			}
			continue
		}
		last = c.pkg.fset.Position(f.End()).Line
	}
}
