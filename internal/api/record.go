package main

import (
	"fmt"
	"go/types"
	"slices"
	"strings"
)

// record returns a line for whatever users of a package can depend on: what it exports, and the hidden types that this leads to.
// Lines are sorted, but for those of a struct, which has its fields in their order.
func record(p *types.Package) []string {
	r := &recorder{pkg: p, done: map[*types.TypeName]bool{}}
	for _, name := range p.Scope().Names() {
		if object := p.Scope().Lookup(name); object.Exported() {
			r.object(object)
		}
	}
	for len(r.hidden) > 0 {
		next := r.hidden[0]
		r.hidden = r.hidden[1:]
		if !r.done[next] {
			r.typeName(next)
		}
	}
	slices.SortFunc(r.blocks, slices.Compare[[]string])
	return slices.Concat(r.blocks...)
}

// recorder gathers the lines of a package's record.
type recorder struct {
	pkg    *types.Package
	blocks [][]string               // of lines that stay together
	hidden []*types.TypeName        // types that have been named, and which no other record has
	done   map[*types.TypeName]bool // those that are recorded
}

func (r *recorder) add(format string, args ...any) {
	r.blocks = append(r.blocks, []string{fmt.Sprintf(format, args...)})
}

// qualify names the packages of types, by their whole path: there are two packages rand.
func (r *recorder) qualify(p *types.Package) string {
	if p == r.pkg {
		return ""
	}
	return p.Path()
}

// of names a type, and notes the hidden ones in it.
func (r *recorder) of(t types.Type) string {
	eachName(t, func(o *types.TypeName) {
		if r.hides(o) {
			r.hidden = append(r.hidden, o)
		}
	})
	return types.TypeString(t, r.qualify)
}

// hides reports whether users cannot name a type, or only by an alias, so that what they can do with it is recorded here or nowhere.
func (r *recorder) hides(o *types.TypeName) bool {
	switch p := o.Pkg(); p {
	case nil: // error, comparable, any
		return false
	case r.pkg:
		return !o.Exported()
	default:
		return slices.Contains(strings.Split(p.Path(), "/"), "internal")
	}
}

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
	r.done[o] = true
	name := o.Name()
	if path := r.qualify(o.Pkg()); path != "" {
		name = path + "." + name
	}
	alias, ok := o.Type().(*types.Alias)
	if !ok {
		named := o.Type().(*types.Named)
		r.definition(name+r.parameters(named.TypeParams()), name, named)
		return
	}
	r.add("type %s%s = %s", name, r.parameters(alias.TypeParams()), r.of(alias.Rhs()))
	// A hidden type is recorded under the name that users have for it.
	if named, ok := types.Unalias(alias).(*types.Named); ok && o.Exported() && r.hides(named.Obj()) {
		r.done[named.Obj()] = true
		r.definition(name, name, named)
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
		lines := []string{fmt.Sprintf("type %s struct", title)}
		if types.Comparable(named) {
			lines[0] += ", comparable" // with ==, and usable as the key of a map
		}
		r.blocks = append(r.blocks, append(lines, r.fields(name, under, nil)...))
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

// fields returns a line for each exported field of a struct, also those of what is embedded in it under a name that is not
// exported. seen is the structs that this one is embedded in.
func (r *recorder) fields(name string, s *types.Struct, seen []*types.Struct) (lines []string) {
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	for i := range s.NumFields() {
		f := s.Field(i)
		switch {
		case f.Exported() && f.Embedded():
			add("type %s struct, embeds %s%s", name, r.of(f.Type()), tag(s.Tag(i)))
		case f.Exported():
			add("type %s struct, %s %s%s", name, f.Name(), r.of(f.Type()), tag(s.Tag(i)))
		case f.Embedded():
			t := f.Type()
			if pointer, ok := t.Underlying().(*types.Pointer); ok {
				t = pointer.Elem()
			}
			if inner, ok := t.Underlying().(*types.Struct); ok && !slices.Contains(seen, inner) {
				lines = append(lines, r.fields(name, inner, append(slices.Clip(seen), s))...)
			}
		}
	}
	if len(seen) == 0 && slices.ContainsFunc(slices.Collect(s.Fields()), func(f *types.Var) bool { return !f.Exported() }) {
		add("type %s struct, unexported fields", name) // with the first of them, users can no longer write T{x, y}
	}
	return lines
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
