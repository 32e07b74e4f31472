package main

import "go/types"

// eachName calls f with each type that is named where a type is written out: not with those that the named ones are made of.
func eachName(t types.Type, f func(*types.TypeName)) {
	all := func(list *types.TypeList) {
		for t := range list.Types() {
			eachName(t, f)
		}
	}
	switch t := t.(type) {
	case *types.Named:
		f(t.Obj())
		all(t.TypeArgs())
	case *types.Alias:
		f(t.Obj())
		all(t.TypeArgs())
	case *types.Map:
		eachName(t.Key(), f)
		eachName(t.Elem(), f)
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		eachName(t.Elem(), f)
	case *types.Signature:
		for p := range t.TypeParams().TypeParams() {
			eachName(p.Constraint(), f)
		}
		for v := range t.Params().Variables() {
			eachName(v.Type(), f)
		}
		for v := range t.Results().Variables() {
			eachName(v.Type(), f)
		}
	case *types.Struct:
		for v := range t.Fields() {
			eachName(v.Type(), f)
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			eachName(m.Type(), f)
		}
		for t := range t.EmbeddedTypes() {
			eachName(t, f)
		}
	case *types.Union:
		for term := range t.Terms() {
			eachName(term.Type(), f)
		}
	}
}
