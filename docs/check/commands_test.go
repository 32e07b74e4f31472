package check

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Limits for a machine that is busy with other things.
const (
	commandTimeout = 2 * time.Minute // go run compiles
	clientTimeout  = 5 * time.Second
)

// Pages show these where each run has something else.
const (
	pageID      = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	pageAddress = "127.0.0.1:48775" // of the push listener
	quickstart  = "go run ./examples/quickstart"
)

var (
	wordID   = regexp.MustCompile(`\bID\b`)
	remark   = regexp.MustCompile(`(?m)(^|\s)(#|//).*$`)
	listen   = regexp.MustCompile(`127\.0\.0\.1:80\d\d\b`) // what examples listen on
	example  = regexp.MustCompile(`^go run (?:\./(examples/\w+)|-C (examples/\w+) \.)`)
	defaults = regexp.MustCompile(`"listen", "(127\.0\.0\.1:80\d\d)"`)
	tools    = regexp.MustCompile(`(?:^|[|&;(]) *(curl|http|node|npm|openssl|jq|python3) `)
	here     = regexp.MustCompile(`<<(\w+)$`)
	status   = regexp.MustCompile(`^# exit status: (\d+)$`)
	says     = regexp.MustCompile(`^# the client (?:receives: ("(?:[^"\\]|\\.)*"|binary, \d+ bytes)|is (closed: \d+ ".*"))$`)
)

// step is a command of a page, and what the page shows after it.
type step struct {
	line   int
	text   string
	output []string
	client []string // what the client gets
	status int
}

// steps splits a console block into commands.
func (b block) steps() (steps []step, problems []string) {
	for i := 0; i < len(b.lines); i++ {
		line, at := b.lines[i], b.line+1+i
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			for strings.HasSuffix(text, `\`) && i+1 < len(b.lines) {
				i++
				text += "\n" + b.lines[i]
			}
			for end := here.FindStringSubmatch(text); end != nil && i+1 < len(b.lines) && b.lines[i] != end[1]; {
				i++
				text += "\n" + b.lines[i]
			}
			steps = append(steps, step{line: at, text: text})
			continue
		}
		if len(steps) == 0 {
			problems = append(problems, problem(at, "output of no command: %s", line))
			continue
		}
		s := &steps[len(steps)-1]
		if m := status.FindStringSubmatch(line); m != nil {
			s.status, _ = strconv.Atoi(m[1])
		} else if m := says.FindStringSubmatch(line); m != nil {
			s.client = append(s.client, m[1]+m[2])
		} else if strings.HasPrefix(line, "# the client ") {
			problems = append(problems, problem(at, "this cannot be checked: %s", line))
		} else {
			s.output = append(s.output, line)
		}
	}
	return steps, problems
}

// missing returns a tool that a command of the page needs and that is not installed, or "".
func (p *page) missing() string {
	for _, b := range p.blocks {
		for _, line := range b.lines {
			text, ok := strings.CutPrefix(line, "$ ")
			if !ok || b.language != "console" || strings.HasPrefix(b.run, "by ") {
				continue
			}
			for _, m := range tools.FindAllStringSubmatch(text, -1) {
				if _, err := exec.LookPath(m[1]); err != nil {
					return m[1]
				}
			}
		}
	}
	return ""
}

// session runs the commands of one page, each in a bash of its own, in the root of the repository.
type session struct {
	t        *testing.T
	root     string
	files    map[string]string
	env      []string
	ports    map[string]string // free addresses, by those that the page shows
	client   *client           // of the quickstart, or nil
	servers  []*process
	last     int // the line of the last command
	problems []string
}

// checkCommands runs the page's commands.
func (p *page) checkCommands(t *testing.T, root string, files map[string]string) []string {
	t.Helper()
	s := &session{t: t, root: root, files: files, env: environment(t), ports: map[string]string{}}
	for _, b := range p.blocks {
		if b.language == "console" {
			s.block(b)
		}
	}
	s.nothingElse()
	if s.client != nil {
		s.client.close()
	}
	for _, server := range s.servers {
		server.end()
	}
	return s.problems
}

// environment returns an environment in which curl and httpie behave as on a terminal without configuration.
func environment(t *testing.T) []string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		".curlrc":     "no-progress-meter\n",
		"config.json": `{"default_options": ["--print=hb", "--pretty=none"]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return append(os.Environ(), "LC_ALL=C.UTF-8", "CURL_HOME="+dir, "HTTPIE_CONFIG_DIR="+dir, "NETRC=/dev/null",
		"no_proxy=127.0.0.1", "NO_PROXY=127.0.0.1")
}

func (s *session) problemf(line int, format string, args ...any) {
	s.problems = append(s.problems, problem(line, format, args...))
}

func (s *session) block(b block) {
	steps, problems := b.steps()
	s.problems = append(s.problems, problems...)
	if len(steps) == 0 {
		s.problemf(b.line, "this block has no command")
		return
	}
	file, elsewhere := strings.CutPrefix(b.run, "by ")
	switch {
	case elsewhere:
		s.elsewhere(file, steps)
		return
	case b.run != "" && b.run != "background" && b.run != "quickstart":
		s.problemf(b.line, "run: %s: this can be background, quickstart or by FILE", b.run)
		return
	}
	for i, step := range steps {
		s.nothingElse()
		s.last = step.line
		starts := b.run == "background" || b.run == "quickstart" && strings.HasPrefix(step.text, quickstart)
		if b.run == "quickstart" && i == 0 && !starts && !s.serve(step.line) {
			return
		}
		if starts {
			s.background(step)
		} else {
			s.foreground(step)
		}
	}
}

// elsewhere checks that a file has the commands, outside its comments.
func (s *session) elsewhere(file string, steps []step) {
	text := remark.ReplaceAllString(s.files[file], "")
	for _, step := range steps {
		bare, _, _ := strings.Cut(step.text, " #")
		if bare = strings.TrimSpace(bare); !strings.Contains(text, bare) {
			s.problemf(step.line, "%s does not run this: %s", file, bare)
		}
	}
}

// serve makes sure that a quickstart runs and a client is connected to it.
func (s *session) serve(line int) bool {
	if s.ports["127.0.0.1:8080"] == "" {
		s.background(step{line: line, text: quickstart, output: []string{"Open http://127.0.0.1:8080/"}})
	}
	if s.client != nil && s.client.gone() {
		s.client.close()
		s.client = nil
	}
	if s.client == nil {
		var err error
		if s.client, err = connect(s.ports["127.0.0.1:8080"]); err != nil {
			s.problemf(line, "no client can connect to the quickstart: %v", err)
		}
	}
	return s.client != nil
}

func (s *session) foreground(step step) {
	p := s.start(step.text)
	select {
	case <-p.ended:
	case <-time.After(commandTimeout):
		s.problemf(step.line, "%s: takes longer than %v", step.text, commandTimeout)
	}
	p.end()
	output := s.asShown(p.output())
	if status := p.cmd.ProcessState.ExitCode(); status != step.status {
		s.problemf(step.line, "%s: exit status %d, want %d\n%s", step.text, status, step.status, output)
	} else if !shows(step.output, output, false) {
		s.problemf(step.line, "%s: prints\n%s\nand not\n%s", step.text, clean(output), strings.Join(step.output, "\n"))
	}
	for _, want := range step.client {
		if s.client == nil {
			s.problemf(step.line, "there is no client: run: quickstart connects one")
		} else if got := s.client.next(clientTimeout); got != want {
			s.problemf(step.line+1, "the client does not get %s, but %s", want, got)
		}
	}
}

// background starts a server, and waits until it has printed what the page shows.
func (s *session) background(step step) {
	text := strings.TrimSpace(strings.TrimSuffix(step.text, "&"))
	if m := example.FindStringSubmatch(text); m != nil && !strings.Contains(text, " -listen") {
		standard := defaults.FindStringSubmatch(s.files[m[1]+m[2]+"/main.go"])
		if standard == nil {
			s.problemf(step.line, "%s has no -listen with a default", m[1]+m[2])
			return
		}
		text = m[0] + " -listen " + standard[1] + strings.TrimPrefix(text, m[0])
	}
	p := s.start(text)
	s.servers = append(s.servers, p)
	deadline := time.After(commandTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if shows(step.output, s.asShown(p.output()), true) {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-p.ended:
			s.problemf(step.line, "%s: has ended, and printed\n%s", step.text, clean(p.output()))
		case <-deadline:
			s.problemf(step.line, "%s: has printed only\n%s", step.text, clean(p.output()))
		}
		return
	}
	if strings.HasPrefix(step.text, quickstart) {
		s.serve(step.line)
	}
}

// nothingElse checks that the client has got nothing that the page does not show.
func (s *session) nothingElse() {
	if s.client == nil {
		return
	}
	if got := s.client.rest(); len(got) > 0 {
		s.problemf(s.last, "the client also gets %s", strings.Join(got, ", "))
	}
}

// actual replaces the ID and the addresses that the page shows.
func (s *session) actual(text string) string {
	text = listen.ReplaceAllStringFunc(text, func(shown string) string {
		if s.ports[shown] == "" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				s.t.Fatal(err)
			}
			s.ports[shown] = l.Addr().String()
			l.Close()
		}
		return s.ports[shown]
	})
	if s.client != nil {
		text = wordID.ReplaceAllString(text, s.client.id)
		text = strings.NewReplacer(pageID, s.client.id, pageAddress, s.client.address).Replace(text)
	}
	return text
}

// asShown does the reverse.
func (s *session) asShown(output string) string {
	for shown, actual := range s.ports {
		output = strings.ReplaceAll(output, actual, shown)
	}
	if s.client != nil {
		output = strings.NewReplacer(s.client.id, pageID, s.client.address, pageAddress).Replace(output)
	}
	return output
}

// process is a bash that runs one command, as the leader of a process group.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   string // the file that it prints to
	ended chan struct{}
}

// start starts a command. The caller ends it with end.
func (s *session) start(text string) *process {
	s.t.Helper()
	out, err := os.CreateTemp(s.t.TempDir(), "")
	if err != nil {
		s.t.Fatal(err)
	}
	defer out.Close()
	p := &process{t: s.t, cmd: exec.Command("bash", "--noprofile", "--norc", "-c", s.actual(text)), out: out.Name(), ended: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = s.root, s.env, out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	return p
}

// output returns what the command has printed so far.
func (p *process) output() string {
	text, err := os.ReadFile(p.out)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

// end ends the command with everything that it has started: by SIGTERM, and after 10 s by SIGKILL.
func (p *process) end() {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM)
	// Not only for bash and go run, which end at once: what they have started may have something to end in its turn.
	over, look := time.After(10*time.Second), time.NewTicker(10*time.Millisecond)
	defer look.Stop()
	for isOver := false; !isOver && syscall.Kill(group, 0) == nil; {
		select {
		case <-look.C:
		case <-over:
			isOver = true
		}
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-p.ended
}
