package main

import (
	"fmt"
	"go/types"
	"slices"
	"strings"
)

// record returns a line for whatever a package exports, sorted.
func record(p *types.Package) []string {
	r := &recorder{pkg: p}
	for _, name := range p.Scope().Names() {
		if object := p.Scope().Lookup(name); object.Exported() {
			r.object(object)
		}
	}
	slices.Sort(r.lines)
	return r.lines
}

// recorder gathers the lines of a package's record.
type recorder struct {
	pkg   *types.Package
	lines []string
}

func (r *recorder) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// qualify names the packages of types, by their whole path: there are two packages rand.
func (r *recorder) qualify(p *types.Package) string {
	if p == r.pkg {
		return ""
	}
	return p.Path()
}

func (r *recorder) of(t types.Type) string { return types.TypeString(t, r.qualify) }

// signature is the parameters and results of a function.
func (r *recorder) signature(f *types.Func) string {
	return strings.TrimPrefix(r.of(f.Type()), "func")
}

func (r *recorder) object(object types.Object) {
	switch o := object.(type) {
	case *types.Const:
		typ := " " + r.of(o.Type())
		if basic, ok := o.Type().(*types.Basic); ok && basic.Info()&types.IsUntyped != 0 {
			typ = ""
		}
		r.add("const %s%s = %s", o.Name(), typ, o.Val().ExactString())
	case *types.Var:
		r.add("var %s %s", o.Name(), r.of(o.Type()))
	case *types.Func:
		r.add("func %s%s", o.Name(), r.signature(o))
	case *types.TypeName:
		r.typeName(o)
	}
}

func (r *recorder) typeName(o *types.TypeName) {
	alias, ok := o.Type().(*types.Alias)
	if !ok {
		named := o.Type().(*types.Named)
		r.definition(o.Name()+r.parameters(named.TypeParams()), o.Name(), named)
		return
	}
	r.add("type %s%s = %s", o.Name(), r.parameters(alias.TypeParams()), r.of(alias.Rhs()))
	// What the alias is for is exported here alone if nobody else can import its package.
	if named, ok := types.Unalias(alias).(*types.Named); ok && named.Obj().Pkg() != nil && named.Obj().Pkg() != r.pkg &&
		slices.Contains(strings.Split(named.Obj().Pkg().Path(), "/"), "internal") {
		r.definition(o.Name(), o.Name(), named)
	}
}

// parameters is a type's parameters with their constraints.
func (r *recorder) parameters(list *types.TypeParamList) string {
	if list.Len() == 0 {
		return ""
	}
	var each []string
	for p := range list.TypeParams() {
		each = append(each, p.Obj().Name()+" "+r.of(p.Constraint()))
	}
	return "[" + strings.Join(each, ", ") + "]"
}

// definition records a type: its kind, fields and methods. title is its name with its parameters.
func (r *recorder) definition(title, name string, named *types.Named) {
	switch under := named.Underlying().(type) {
	case *types.Struct:
		r.add("type %s struct", title)
		r.fields(name, under, nil)
	case *types.Interface:
		r.iface(title, name, under)
		return // its methods have been named
	default:
		r.add("type %s %s", title, r.of(under))
	}
	values := types.NewMethodSet(named)
	pointers := types.NewMethodSet(types.NewPointer(named))
	for method := range pointers.Methods() {
		if !method.Obj().Exported() {
			continue
		}
		receiver := name
		if values.Lookup(method.Obj().Pkg(), method.Obj().Name()) == nil {
			receiver = "*" + name
		}
		r.add("method (%s) %s%s", receiver, method.Obj().Name(), r.signature(method.Obj().(*types.Func)))
	}
}

// fields records the exported fields of a struct, also those of what is embedded in it under a name that is not exported. seen
// is the structs that this one is embedded in.
func (r *recorder) fields(name string, s *types.Struct, seen []*types.Struct) {
	for i := range s.NumFields() {
		f := s.Field(i)
		switch {
		case f.Exported() && f.Embedded():
			r.add("type %s struct, embeds %s%s", name, r.of(f.Type()), tag(s.Tag(i)))
		case f.Exported():
			r.add("type %s struct, %s %s%s", name, f.Name(), r.of(f.Type()), tag(s.Tag(i)))
		case f.Embedded():
			t := f.Type()
			if pointer, ok := t.Underlying().(*types.Pointer); ok {
				t = pointer.Elem()
			}
			if inner, ok := t.Underlying().(*types.Struct); ok && !slices.Contains(seen, inner) {
				r.fields(name, inner, append(slices.Clip(seen), s))
			}
		}
	}
	if len(seen) == 0 && slices.ContainsFunc(slices.Collect(s.Fields()), func(f *types.Var) bool { return !f.Exported() }) {
		r.add("type %s struct, unexported fields", name) // with the first of them, users can no longer write T{x, y}
	}
}

func tag(t string) string {
	if t == "" {
		return ""
	}
	return " `" + t + "`"
}

// iface records an interface: its methods, those of what it embeds included, and the types that it is limited to.
func (r *recorder) iface(title, name string, i *types.Interface) {
	r.add("type %s interface", title)
	closed := false
	for m := range i.Methods() {
		if m.Exported() {
			r.add("type %s interface, %s%s", name, m.Name(), r.signature(m))
		} else {
			closed = true
		}
	}
	if closed {
		r.add("type %s interface, unexported methods", name) // nobody else can implement it
	}
	if i.IsMethodSet() {
		return
	}
	for t := range i.EmbeddedTypes() {
		r.add("type %s interface, %s", name, r.of(t))
	}
}
