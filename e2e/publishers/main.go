// Command publishers runs the code of docs/publishers.md, taken out of the page, against a worker; and measures what the page's table of
// traps says about other people's HTTP clients. Its argument is the root of the repository. It prints "ok - WHAT" or "not ok - WHAT" for
// each check.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const token = "a-token-of-the-test"

var failed atomic.Bool

func check(what string, err error) {
	if err == nil {
		fmt.Println("ok -", what)
		return
	}
	failed.Store(true)
	fmt.Printf("not ok - %s\n    %s\n", what, strings.ReplaceAll(err.Error(), "\n", "\n    "))
}

func main() {
	log.SetFlags(0)
	if err := run(os.Args[1]); err != nil {
		log.Fatal("not ok - ", err)
	}
	if failed.Load() {
		os.Exit(1)
	}
}

func run(root string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	p, err := readPage(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "publishers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := newSite(ctx)
	if err != nil {
		return err
	}
	defer s.close()

	// Two at a time: most of what they take is the time in which an interpreter starts.
	var all sync.WaitGroup
	slots := make(chan bool, 2)
	each := func(f func()) {
		all.Go(func() {
			slots <- true
			defer func() { <-slots }()
			f()
		})
	}
	for _, name := range slices.Sorted(maps.Keys(languages)) {
		each(func() {
			at := filepath.Join(dir, name)
			check("the page's code for "+name, errors.Join(os.Mkdir(at, 0o700), runLanguage(ctx, s, at, languages[name], p.code[name])))
		})
	}
	for _, name := range slices.Sorted(maps.Keys(trapPrograms)) {
		each(func() {
			got, err := measure(ctx, s, dir, trapPrograms[name])
			if err == nil && got != p.traps[name] {
				err = fmt.Errorf("the page says %q, but it is %q", p.traps[name], got)
			}
			check("traps of "+name, err)
		})
	}
	all.Wait()
	return nil
}

// runLanguage runs the page's code for one client.
func runLanguage(ctx context.Context, s *site, dir string, l language, code string) error {
	code = l.head + strings.ReplaceAll(code, "https://push.example.com/ws", s.url) + l.tail
	files := map[string]string{l.file: code, "netrc": "machine 127.0.0.1 login somebody password else\n"}
	if l.others[0] != "" {
		files[l.others[0]] = l.others[1]
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if l.prepare != nil {
		if out, err := command(ctx, dir, l.prepare...); err != nil || out != "" {
			return fmt.Errorf("%v: %w: %s", l.prepare, err, out)
		}
	}
	sc, err := newScene(ctx, s)
	if err != nil {
		return err
	}
	defer sc.close()
	args := slices.Clone(l.command)
	for _, c := range sc.cases {
		args = append(args, c.kind, c.to, c.query, c.message)
	}
	out, err := command(ctx, dir, args...)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if err != nil || len(lines) != len(sc.cases) {
		return fmt.Errorf("%d lines for %d pushes, %w:\n%s", len(lines), len(sc.cases), err, out)
	}
	var wrong []error
	for i, c := range sc.cases {
		word, body, _ := strings.Cut(lines[i], " ")
		if word != c.want || !strings.Contains(body, c.body) {
			wrong = append(wrong, fmt.Errorf("%s is %s %s, want %s, with %s", c.what, word, body, c.want, c.body))
		}
	}
	return errors.Join(append(wrong, sc.received())...)
}

// command runs a program in dir, and returns what it prints.
func command(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = dir
	// The locale says which encoding Java uses.
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "WSPUSH_TOKEN="+token, "NETRC="+filepath.Join(dir, "netrc"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// measure returns the row of a client in the page's table.
func measure(ctx context.Context, s *site, dir string, p trapProgram) (t trap, err error) {
	if err := os.WriteFile(filepath.Join(dir, p.file), []byte(p.text), 0o600); err != nil {
		return t, err
	}
	if p.prepare != nil {
		if out, err := command(ctx, dir, p.prepare...); err != nil {
			return t, fmt.Errorf("%v: %w: %s", p.prepare, err, out)
		}
	}
	status := func(url, message string) string {
		out, err := command(ctx, dir, append(slices.Clone(p.command), url, message)...)
		if err != nil {
			return "an error"
		}
		return strings.TrimSpace(out)
	}
	in, err := connect(ctx, s.open, "")
	if err != nil {
		return t, err
	}
	defer in.close()
	t.user = status(in.address, "hello")
	in.drain()
	t.userColon = status(strings.Replace(in.address, "@", ":@", 1), "hello")
	in.drain()
	if t.arrives = status(in.path(), "grüße"); t.arrives == "204" {
		m, ok := in.next()
		if !ok || m.data != "grüße" {
			return t, fmt.Errorf("%q has arrived", m.data)
		}
		t.arrives = m.kind
	}
	path := "/lost/" + p.file
	_ = status(s.proxy+path, "hello")
	t.sends = map[int64]string{1: "once", 2: "twice"}[s.count(path)]
	return t, nil
}
