package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is a module's files by name.
type source map[string]string

// put writes the files, and a go.mod, into dir.
func (s source) put(t *testing.T, dir string) {
	t.Helper()
	files := source{"go.mod": "module example.com/thing\n\ngo 1.25\n"}
	for name, content := range s {
		files[name] = content
	}
	for name, content := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// checked is check, of the module in dir alone.
func checked(t *testing.T, dir string, write bool) []string {
	t.Helper()
	findings, err := check(dir, []string{"."}, write)
	if err != nil {
		t.Fatal(err)
	}
	return findings
}

const thing = `// Package thing is a thing.
package thing

// Limit is a limit.
const Limit = 10

// Options are options.
type Options struct {
	Size int // in bytes
}

// New makes one.
func New(opts *Options) error { return nil }

// Pair is two.
type Pair struct {
	A int // one
	B int // two
}

type result struct{ Size int }

func (*result) Do() {}

// Start makes a result.
func Start() map[string]*result { return nil }

type inner struct{ n int }

func (inner) Len() int { return 0 }

// Outer is another name.
type Outer = inner
`

// Whatever changes what users can write is a difference; what does not is none.
func TestChange(t *testing.T) {
	dir := t.TempDir()
	source{"thing.go": thing}.put(t, dir)
	if findings := checked(t, dir, true); len(findings) > 0 {
		t.Fatalf("while recording: %q", findings)
	}
	for name, test := range map[string]struct {
		old, new string
		want     []string // the lines that differ
	}{
		"nothing":              {},
		"a comment":            {old: "New makes one.", new: "New makes another."},
		"a body":               {old: "return nil", new: "panic(0)"},
		"something unexported": {old: "// New", new: "type unused struct{}\n\n// New"},
		"an added field": {old: "in bytes", new: "in bytes\n\tColour string // of paint",
			want: []string{"+ type Options struct, Colour string"}},
		"a field less": {old: "Size int", new: "", want: []string{"- type Options struct, Size int"}},
		"a field's type": {old: "Size int", new: "Size int64",
			want: []string{"- type Options struct, Size int", "+ type Options struct, Size int64"}},
		"an unexported field": {old: "in bytes", new: "in bytes\n\tn int", want: []string{"+ type Options struct, unexported fields"}},
		"a signature": {old: "New(opts *Options)", new: "New(opts Options)",
			want: []string{"- func New(opts *Options) error", "+ func New(opts Options) error"}},
		"a result": {old: "error { return nil }", new: "{}",
			want: []string{"+ func New(opts *Options)", "- func New(opts *Options) error"}},
		"a constant less":  {old: "const Limit", new: "const limit", want: []string{"- const Limit = 10"}},
		"a value":          {old: "= 10", new: "= 11", want: []string{"- const Limit = 10", "+ const Limit = 11"}},
		"a constant typed": {old: "Limit = 10", new: "Limit int = 10", want: []string{"- const Limit = 10", "+ const Limit int = 10"}},
		"a new method": {old: "// New", new: "// Len is a length.\nfunc (o Options) Len() int { return 0 }\n\n// New",
			want: []string{"+ method (Options) Len() int"}},
		"the order of fields": {old: "A int // one\n\tB int", new: "B int // one\n\tA int",
			want: []string{"~ type Pair struct, A int", "~ type Pair struct, B int"}},
		"no longer comparable": {old: "in bytes", new: "in bytes\n\tn []int",
			want: []string{"+ type Options struct", "- type Options struct, comparable", "+ type Options struct, unexported fields"}},
		"a method less of a result": {old: ") Do() {", new: ") do() {", want: []string{"- method (*result) Do()"}},
		"a field less of a result":  {old: "struct{ Size int }", new: "struct{}", want: []string{"- type result struct, Size int"}},
		"a method less of an alias": {old: ") Len() int {", new: ") len() int {", want: []string{"- method (Outer) Len() int"}},
		"an alias of something no longer comparable": {old: "n int }", new: "n []int }",
			want: []string{"+ type Outer struct", "- type Outer struct, comparable"}},
	} {
		t.Run(name, func(t *testing.T) {
			source{"thing.go": strings.Replace(thing, test.old, test.new, 1)}.put(t, dir)
			findings := checked(t, dir, false)
			if test.want == nil {
				if len(findings) > 0 {
					t.Errorf("found %q", findings)
				}
				return
			}
			if len(findings) != 1 {
				t.Fatalf("found %q; want one finding", findings)
			}
			lines := strings.Split(findings[0], "\n")
			var got []string
			for _, line := range lines[1 : len(lines)-1] {
				got = append(got, strings.TrimSpace(line))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q; want %q", got, test.want)
			}
			if lines[0] != "api/thing.txt: the exported API is another:" || lines[len(lines)-1] != advice {
				t.Errorf("the finding does not say where, and what to do: %q", findings[0])
			}
		})
	}
}

// What is exported is recorded, each in a line, and nothing else is.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	source{
		"internal/hidden/hidden.go": "package hidden\n\ntype Kind int\n\nfunc (Kind) String() string { return \"\" }\n\n" +
			"type Level string\n\nfunc (Level) Name() string { return \"\" }\n",
		"cmd/main.go":      "package main\n\nfunc main() {}\n",
		"sub/deep/deep.go": "// Package deep is deep.\npackage deep\n\n// Zero is nothing.\nvar Zero error\n",
		"thing.go": `// Package thing is a thing.
package thing

import (
	"context"
	"iter"
	"net/http"

	"example.com/thing/internal/hidden"
)

// Kind is a kind.
type Kind = hidden.Kind

// Names are names.
type Names []string

// Add adds.
func (n *Names) Add(name string) {}

// Len is a length.
func (n Names) Len() int { return len(n) }

func (n Names) unseen() {}

type base struct{ Inner int }

// Close closes.
func (*base) Close() error { return nil }

// Outer embeds.
type Outer struct {
	*base
	http.Handler
	Tagged int ` + "`json:\"tagged\"`" + ` // has a tag
}

// Doer does.
type Doer interface {
	// Do does.
	Do(ctx context.Context) error
	closed()
}

// Number is a number.
type Number interface{ ~int | ~float64 }

// Set is a set.
type Set[T comparable] struct{ m map[T]bool }

// All is all.
func (s *Set[T]) All() iter.Seq[T] { return nil }

// Sum adds up.
func Sum[N Number](list ...N) (sum N) { return }

// First returns from within a loop over a function.
func First(all iter.Seq[int]) int {
	for i := range all {
		return i
	}
	return 0
}

type small interface{ ~int8 | ~int16 }

// Least is least.
func Least[N small](level func(N) hidden.Level, list ...N) N { return list[0] }

type chain struct{ next *chain }

// Next is the next, of a hidden type that leads to itself.
func (c *chain) Next() *chain { return c.next }

type pair = struct {
	X int
	Y map[string]*chain
}

// Start is where it starts.
var Start struct{ First [2]pair }

// One is a kind, two a secret.
const (
	One Kind = iota + 1 // the first
	two
)
`}.put(t, dir)
	if findings := checked(t, dir, true); len(findings) > 0 {
		t.Fatalf("while recording: %q", findings)
	}
	for name, want := range map[string]string{
		"sub-deep.txt": "var Zero error\n",
		"thing.txt": `const One Kind = 1
func First(all iter.Seq[int]) int
func Least[N small](level func(N) example.com/thing/internal/hidden.Level, list ...N) N
func Sum[N Number](list ...N) (sum N)
method (*Names) Add(name string)
method (*Set) All() iter.Seq[T]
method (*chain) Next() *chain
method (Kind) String() string
method (Names) Len() int
method (Outer) Close() error
method (Outer) ServeHTTP(net/http.ResponseWriter, *net/http.Request)
method (example.com/thing/internal/hidden.Level) Name() string
type Doer interface
type Doer interface, Do(ctx context.Context) error
type Doer interface, unexported methods
type Kind = example.com/thing/internal/hidden.Kind
type Kind int
type Names []string
type Number interface
type Number interface, ~int | ~float64
type Outer struct, comparable
type Outer struct, Inner int
type Outer struct, embeds net/http.Handler
type Outer struct, Tagged int ` + "`json:\"tagged\"`" + `
type Outer struct, unexported fields
type Set[T comparable] struct
type Set struct, unexported fields
type chain struct, comparable
type chain struct, unexported fields
type example.com/thing/internal/hidden.Level string
type pair = struct{X int; Y map[string]*chain}
type small interface
type small interface, ~int8 | ~int16
var Start struct{First [2]pair}
`,
	} {
		got, err := os.ReadFile(filepath.Join(dir, "api", name))
		if err != nil {
			t.Error(err)
			continue
		}
		diff := difference(strings.Split(want, "\n"), strings.Split(string(got), "\n"))
		if len(diff) > 0 {
			t.Errorf("api/%s:\n%s", name, strings.Join(diff, "\n"))
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "api"))
	if err != nil || len(files) != 2 {
		t.Errorf("there are %d records; want 2 (%v)", len(files), err)
	}
	if findings := checked(t, dir, false); len(findings) > 0 {
		t.Errorf("right after recording: %q", findings)
	}
}

// A public package that comes or goes is a change, too.
func TestPackages(t *testing.T) {
	dir := t.TempDir()
	source{"a/a.go": "// Package a is one.\npackage a\n\n// A is one.\nvar A int\n"}.put(t, dir)
	checked(t, dir, true)
	if err := os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	findings := checked(t, dir, false)
	if len(findings) != 2 || !strings.HasPrefix(findings[0], "api/a.txt: ") || !strings.Contains(findings[0], "- var A int") ||
		!strings.HasPrefix(findings[1], "api/b.txt: ") || !strings.Contains(findings[1], "+ var A int") {
		t.Errorf("found %q", findings)
	}
	checked(t, dir, true)
	if findings := checked(t, dir, false); len(findings) > 0 {
		t.Errorf("after recording again: %q", findings)
	}
	if _, err := os.Stat(filepath.Join(dir, "api", "a.txt")); err == nil {
		t.Error("the record of a package that is gone is still there")
	}
}

// Code that does not compile is an error, not an empty record.
func TestBroken(t *testing.T) {
	dir := t.TempDir()
	source{"thing.go": "package thing\n\nvar X int = \"no\"\n"}.put(t, dir)
	if _, err := check(dir, []string{"."}, false); err == nil {
		t.Error("no error")
	}
}

// Whatever is exported needs a comment; types, functions and methods one that begins with their name.
func TestComments(t *testing.T) {
	dir := t.TempDir()
	source{
		"a/a.go": `// Package a is well explained.
package a

// An Outer is one, and has
// a second line.
type Outer struct {
	// A is the first.
	A int
	B int // the second

	// C and D are a pair.
	C int
	D int

	e int
}

// Do does.
func (*Outer) Do() {}

func (*Outer) undo() {}

type inner struct{ X int }

func (inner) Do() {}

// What can go wrong.
var (
	// ErrA: this.
	ErrA error
	ErrB error // that
)

// X is one.
const X = 1
`,
		"b/b.go": `// This is b.
package b

type Outer struct {
	A int

	// B is one.
	B int

	C int
}

// Does something.
func (o *Outer) Do() {}

// Sets.
type Set[T any] []T

func (Set[T]) Len() int { return 0 }

// What can go wrong.
var (
	ErrA error
)

// Doer does.
type Doer interface{
	Do()
}

const X = 1

// Newer makes no New.
func New() {}
`}.put(t, dir)
	want := []string{
		"example.com/thing/b/b.go:4: Outer has no comment that begins with its name",
		"example.com/thing/b/b.go:5: A has no comment",
		"example.com/thing/b/b.go:10: C has no comment",
		"example.com/thing/b/b.go:14: Do has no comment that begins with its name",
		"example.com/thing/b/b.go:17: Set has no comment that begins with its name",
		"example.com/thing/b/b.go:19: Len has no comment that begins with its name",
		"example.com/thing/b/b.go:23: ErrA has no comment",
		"example.com/thing/b/b.go:28: Do has no comment",
		"example.com/thing/b/b.go:31: X has no comment",
		"example.com/thing/b/b.go:34: New has no comment that begins with its name",
		`example.com/thing/b: no file has a comment that begins with "Package b"`,
	}
	got := checked(t, dir, true)
	if diff := difference(want, got); len(diff) > 0 {
		t.Errorf("%s", strings.Join(diff, "\n"))
	}
}
