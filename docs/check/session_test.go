package check

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// checkCommands runs a page's commands in a folder, or in one of its own.
func checkCommands(t *testing.T, dir string, sources *Sources, lines ...string) []Problem {
	t.Helper()
	own := t.TempDir()
	if dir == "" {
		dir = own
	}
	problems, err := page(lines...).CheckCommands(dir, own, sources)
	if err != nil {
		t.Fatal(err)
	}
	return problems
}

func TestCheckCommands(t *testing.T) {
	sources := newSources()
	if err := sources.add("all", "set -e\nmake everything -k # or make less\n# make more\n\t// make most\n"); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		lines []string
		want  string
	}{
		"what is printed":     {[]string{"$ echo a; echo b >&2", "a", "b"}, ""},
		"nothing printed":     {[]string{"$ true", "$ true"}, ""},
		"parts left out":      {[]string{"$ seq 10", "1", "…", "8", "…", "10"}, ""},
		"left out in a line":  {[]string{"$ echo one two three", "one … three"}, ""},
		"further lines":       {[]string{"$ echo \\", "a", "a"}, ""},
		"a here document":     {[]string{"$ cat <<'END'", "$ a", "END", "$ a"}, "exit status"},
		"one shell":           {[]string{"$ x=5; cd /", "$ echo $x; pwd", "5", "/"}, ""},
		"a failure, shown":    {[]string{"$ echo no; (exit 3)", "no", "# exit status: 3"}, ""},
		"a carriage return":   {[]string{"$ printf 'a\\r\\n\\r\\n'", "a"}, ""},
		"no line end":         {[]string{"$ printf a", "a"}, ""},
		"another time of day": {[]string{"$ echo 10:11:12 took 1.5s since 2026-01-02T03:04:05.6Z", "23:59:59 took 0.25s since 2025-01-02T03:04:05Z"}, ""},
		"input is nothing":    {[]string{"$ cat"}, ""},

		"another output":          {[]string{"$ echo a", "b"}, "line 2: echo a: prints\na\n"},
		"more output":             {[]string{"$ echo a; echo b", "a"}, "prints\na\nb\n"},
		"less output":             {[]string{"$ echo a", "a", "b"}, "prints\na\n"},
		"output not shown":        {[]string{"$ echo a"}, "prints\na\n"},
		"another number":          {[]string{"$ echo 5", "6"}, "prints\n5\n"},
		"another version":         {[]string{"$ echo HTTP/1.1 v1.2.3 127.0.0.1", "HTTP/1.1 v1.2.4 127.0.0.1"}, "prints"},
		"a failure":               {[]string{"$ (exit 3)", "$ false"}, "line 2: (exit 3): exit status 3, want 0"},
		"… whatever it prints":    {[]string{"$ false", "…"}, "exit status 1, want 0"},
		"a failure that is none":  {[]string{"$ true", "# exit status: 3"}, "exit status 0, want 3"},
		"no such command":         {[]string{"$ no-such-command"}, "exit status 127"},
		"bad syntax":              {[]string{"$ if", "$ echo still there", "still there"}, "line 2: if: exit status"},
		"the end of the shell":    {[]string{"$ exit 0", "$ true"}, "line 2: exit 0: it has ended the shell"},
		"output of no command":    {[]string{"a", "$ true"}, "line 2: output of no command: a"},
		"no command":              {nil, "line 1: this block has no command"},
		"no command but output":   {[]string{"a"}, "line 1: this block has no command"},
		"no client":               {[]string{"$ true", `# the client receives: "1"`}, "line 3: there is no client"},
		"nonsense about a client": {[]string{"$ true", "# the client receives 1"}, "line 3: this says nothing that can be checked"},
	} {
		if wrong := want(checkCommands(t, "", sources, append(append([]string{"'''console"}, tt.lines...), "'''")...), tt.want); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
	for name, tt := range map[string]struct{ run, line, want string }{
		"elsewhere":             {"by all", "$ make everything # at once", ""},
		"elsewhere, not there":  {"by all", "$ make nothing", "all does not run this: make nothing"},
		"elsewhere, a remark":   {"by all", "$ make less", "all does not run this: make less"},
		"elsewhere, a comment":  {"by all", "$ make more", "all does not run this: make more"},
		"elsewhere, indented":   {"by all", "$ make most", "all does not run this: make most"},
		"elsewhere, no file":    {"by none", "$ make everything", "there is no such file"},
		"an unknown directive":  {"backgrund", "$ true", "this is background, quickstart or by FILE"},
		"a server that prints":  {"background", "$ echo ready; sleep 60\nready", ""},
		"… something else":      {"background", "$ echo sorry; exit 1\nready", "has ended, but\nsorry"},
		"a server that ends":    {"background", "$ true\nready", "has ended"},
		"no such example":       {"background", "$ go run ./examples/none", "has no -listen"},
		"quickstart, not there": {"quickstart", "$ true", "the quickstart: it does not run"},
	} {
		problems := checkCommands(t, "", sources, "<!-- run: "+tt.run+" -->", "'''console", tt.line, "'''")
		if wrong := want(problems, tt.want); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
}

// A page that needs what is not installed is not the page's fault.
func TestMissing(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(bash, filepath.Join(dir, "bash")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	for _, line := range []string{"$ curl x", "$ true | curl x", "$ x=$(curl x)", "$ true; curl \\\nx"} {
		problems, err := page("'''console", line, "'''").CheckCommands(dir, t.TempDir(), nil)
		if tool := new(missing); !errors.As(err, &tool) || tool.tool != "curl" || len(problems) > 0 {
			t.Errorf("%s: %v, %v", line, problems, err)
		}
	}
}

// What a page starts is ended with it, and what it starts in turn.
func TestEnds(t *testing.T) {
	dir := t.TempDir()
	problems := checkCommands(t, dir, nil, "<!-- run: background -->", "'''console",
		"$ sleep 60 & echo $! >child; echo ready; wait", "ready", "'''", "'''console", "$ cp child kept", "'''")
	if wrong := want(problems, ""); wrong != "" {
		t.Fatal(wrong)
	}
	awaitEnd(t, filepath.Join(dir, "kept"))
}

// awaitEnd waits until the process has ended whose id a file has.
func awaitEnd(t *testing.T, name string) {
	t.Helper()
	line, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line)))
	if err != nil {
		t.Fatal(err)
	}
	ended := func() bool {
		state, _ := processState(fmt.Sprintf("/proc/%d/stat", pid))
		return syscall.Kill(pid, 0) != nil || state == "Z" // to be collected by process 1, whenever it does
	}
	if !await(10*time.Second, ended) {
		t.Errorf("process %d is still there", pid)
	}
}

// What a command leaves is ended with the page, and is a problem.
func TestLeft(t *testing.T) {
	dir := t.TempDir()
	problems := checkCommands(t, dir, nil, "'''console", "$ sleep 60 & echo $! >child", "$ true", "'''")
	if wrong := want(problems, "line 3: a command up to here goes on after the page"); wrong != "" {
		t.Error(wrong)
	}
	awaitEnd(t, filepath.Join(dir, "child"))
}

// Folders may have any name.
func TestFolderName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a $folder")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	problems, err := page("'''console", "$ echo a", "a", "'''", "<!-- run: background -->", "'''console", "$ echo b; sleep 60", "b", "'''").
		CheckCommands(dir, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if wrong := want(problems, ""); wrong != "" {
		t.Error(wrong)
	}
}

// After a command that hangs, or has ended the shell, the page is not gone on with.
func TestStops(t *testing.T) {
	for _, line := range []string{"$ sleep 60", "$ exit 0"} {
		dir := t.TempDir()
		shell, err := startShell(dir, dir, os.Environ())
		if err != nil {
			t.Fatal(err)
		}
		s := &session{shell: shell, patience: 100 * time.Millisecond}
		err = s.blocks(page("'''console", line, "$ true", "'''", "'''console", "$ true", "'''").Blocks)
		s.close()
		if err != nil || len(s.problems) != 1 || s.problems[0].Line != 2 {
			t.Errorf("%s: %v, %v", line, s.problems, err)
		}
	}
}

// A command that hangs is given up, and ended with the shell.
func TestHangs(t *testing.T) {
	dir := t.TempDir()
	s, err := startShell(dir, dir, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, _, err := s.run("echo begun; sleep 60", 100*time.Millisecond); err == nil || !strings.Contains(err.Error(), "takes longer than") {
		t.Errorf("the error is %v", err)
	}
}

// The quickstart, with what a page may say of its client, right and wrong.
func TestQuickstart(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	problems := checkCommands(t, root(t), sources(t),
		"<!-- run: quickstart -->",
		"'''console",
		"$ go run ./examples/quickstart -v &",
		"Open http://127.0.0.1:8080/",
		"$ curl -d 123 http://ID@127.0.0.1:48775/ws",
		`# the client receives: "123"`,
		"$ curl http://127.0.0.1:48775/ws/@connections/1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",
		`{"connectionId":"1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed",…}`,
		"$ printf '\\x01\\x02' | curl --data-binary @- 'http://ID@127.0.0.1:48775/ws?type=binary'",
		"# the client receives: binary, 2 bytes",
		"$ curl -X DELETE 'http://ID@127.0.0.1:48775/ws?code=3000&reason=enough'",
		`# the client is closed: 3000 "enough"`,
		"$ curl -s -o /dev/null -w '%{http_code}\\n' -d 123 http://ID@127.0.0.1:48775/ws",
		"410",
		"$ curl -s -o /dev/null -w '%{http_code}\\n' http://127.0.0.1:8080/",
		"200",
		"'''",
		"<!-- run: quickstart -->",
		"'''console",
		"$ curl -d again http://ID@127.0.0.1:48775/ws",
		`# the client receives: "again"`,
		"'''")
	if wrong := want(problems, ""); wrong != "" {
		t.Error(wrong)
	}
	problems = checkCommands(t, root(t), sources(t),
		"<!-- run: quickstart -->",
		"'''console",
		"$ curl -d 123 http://ID@127.0.0.1:48775/ws; curl -X DELETE http://ID@127.0.0.1:48775/ws",
		`# the client receives: "124"`,
		"'''")
	if wrong := want(problems, `line 4: the client does not get "124", but "123", closed: 1000 ""`); wrong != "" {
		t.Error(wrong)
	}
	problems = checkCommands(t, root(t), sources(t),
		"<!-- run: quickstart -->",
		"'''console",
		"$ for i in 1 2; do curl -d 123 http://ID@127.0.0.1:48775/ws; done",
		`# the client receives: "123"`,
		"$ true",
		`# the client receives: "123"`,
		"$ curl -d 1 http://ID@127.0.0.1:48775/ws; curl -d 2 http://ID@127.0.0.1:48775/ws",
		`# the client receives: "2"`,
		"$ curl -d last http://ID@127.0.0.1:48775/ws",
		"'''")
	for _, wanted := range []string{
		`line 3: the client also gets "123"`,
		`line 6: the client does not get "123", but `,
		`line 8: the client does not get "2", but "1", "2"`,
		`line 9: the client also gets "last"`,
	} {
		if wrong := want(problems, wanted); wrong != "" {
			t.Error(wrong)
		}
	}
}
