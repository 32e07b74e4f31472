package check

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// How long things may take, with a machine in mind on which much else goes on.
const (
	commandTimeout = 2 * time.Minute // go run compiles
	serverTimeout  = 2 * time.Minute
	clientTimeout  = 5 * time.Second
)

// What stands in pages for what is chosen anew each time.
const (
	pageID      = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"
	pageAddress = "127.0.0.1:48775" // of the push listener
	quickstart  = "go run ./examples/quickstart"
)

var (
	wordID   = regexp.MustCompile(`\bID\b`)
	remark   = regexp.MustCompile(`(^|\s)(#|//).*$`)
	listen   = regexp.MustCompile(`127\.0\.0\.1:80\d\d\b`) // what examples listen on
	program  = regexp.MustCompile(`^go run (\./examples/\w+)`)
	defaults = regexp.MustCompile(`"listen", "(127\.0\.0\.1:80\d\d)"`)
	tools    = regexp.MustCompile(`(?:^|[|&;(])\s*(curl|http|node|npm|nginx|chromium|openssl|jq|python3)\s`)
)

// session runs the commands of one page.
type session struct {
	root     string
	shell    *shell
	sources  *Sources
	ports    map[string]string // free addresses, by what stands for them in the page
	client   *client           // of the quickstart, or nil
	last     int               // the line of the command before
	patience time.Duration     // how long a command may take
	gone     bool              // whether the shell is of no more use
	started  bool              // whether the quickstart has been
	problems []Problem
}

// missing is a tool that a page needs and that is not installed.
type missing struct{ tool string }

func (m *missing) Error() string { return m.tool + " is not installed" }

// CheckCommands runs the page's commands in root, with a folder of its own for what it has to write. The error is about the means,
// not the page: a tool is missing, or bash.
func (p *Page) CheckCommands(root, dir string, sources *Sources) ([]Problem, error) {
	if !slices.ContainsFunc(p.Blocks, func(b Block) bool { return b.Language == "console" }) {
		return nil, nil
	}
	env, err := environment(dir)
	if err != nil {
		return nil, err
	}
	shell, err := startShell(root, dir, env)
	if err != nil {
		return nil, err
	}
	s := &session{root: root, shell: shell, sources: sources, ports: map[string]string{}, patience: commandTimeout}
	err = s.blocks(p.Blocks)
	s.close()
	return s.problems, err
}

// environment is that of this process, without what would make curl and httpie behave in another way than on a terminal of nobody
// in particular.
func environment(dir string) ([]string, error) {
	for name, content := range map[string]string{
		".curlrc":     "no-progress-meter\n",
		"config.json": `{"default_options": ["--print=hb", "--pretty=none"]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	return append(os.Environ(), "LC_ALL=C.UTF-8", "CURL_HOME="+dir, "HTTPIE_CONFIG_DIR="+dir, "NETRC=/dev/null",
		"no_proxy=127.0.0.1,localhost,::1", "NO_PROXY=127.0.0.1,localhost,::1", "PATH="+os.Getenv("PATH")+":/usr/sbin"), nil
}

// blocks runs those of them that have commands. The error is not the page's.
func (s *session) blocks(blocks []Block) error {
	for _, b := range blocks {
		if b.Language != "console" || s.gone {
			continue
		}
		if err := s.block(b); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) close() {
	s.nothingElse()
	if s.client != nil {
		s.client.close()
	}
	if s.shell.close() && !s.gone {
		s.problemf(s.last, "a command up to here goes on after the page: run: background is for that")
	}
}

func (s *session) problemf(line int, format string, args ...any) {
	s.problems = append(s.problems, problemf(line, format, args...))
}

// block runs a block. The error is not the page's.
func (s *session) block(b Block) error {
	steps, problems := steps(b)
	s.problems = append(s.problems, problems...)
	file, elsewhere := strings.CutPrefix(b.Run, "by ")
	switch {
	case elsewhere:
		s.elsewhere(file, b, steps)
		return nil
	case b.Run != "" && b.Run != "background" && b.Run != "quickstart":
		s.problemf(b.Line, "run: %s: this is background, quickstart or by FILE", b.Run)
		return nil
	}
	for i, step := range steps {
		s.nothingElse()
		s.last = step.line
		for _, tool := range tools.FindAllStringSubmatch(step.text, -1) {
			if _, err := exec.LookPath(tool[1]); err != nil && (tool[1] != "nginx" || !exists("/usr/sbin/nginx")) {
				return &missing{tool[1]}
			}
		}
		if b.Run == "quickstart" && i == 0 && !strings.HasPrefix(step.text, quickstart) {
			if err := s.serve(); err != nil {
				s.problemf(step.line, "the quickstart: %v", err)
				return nil
			}
		}
		if b.Run == "background" || b.Run == "quickstart" && strings.HasPrefix(step.text, quickstart) {
			s.background(step)
		} else {
			s.foreground(step)
		}
		if s.gone {
			break
		}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// elsewhere looks whether the file that is said to run the block's commands does so.
func (s *session) elsewhere(file string, b Block, steps []step) {
	lines, ok := s.sources.files[file]
	if !ok {
		s.problemf(b.Line, "run: by %s: there is no such file", file)
		return
	}
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(remark.ReplaceAllString(line, "") + "\n")
	}
	for _, step := range steps {
		bare, _, _ := strings.Cut(step.text, " #")
		if bare = strings.TrimSpace(bare); !strings.Contains(text.String(), bare) {
			s.problemf(step.line, "%s does not run this: %s", file, bare)
		}
	}
}

// serve sees to it that there are a quickstart and a client that is connected to it.
func (s *session) serve() error {
	if !s.started {
		s.background(step{text: quickstart, output: []string{"Open http://127.0.0.1:8080/"}})
	}
	if s.client != nil && !s.client.gone() {
		return nil
	}
	if s.client != nil {
		s.client.close()
		s.client = nil
	}
	server, ok := s.ports["127.0.0.1:8080"]
	if !ok {
		return fmt.Errorf("it does not run")
	}
	var err error
	s.client, err = connect(server)
	return err
}

func (s *session) foreground(step step) {
	text, err := s.actual(step.text)
	if err != nil {
		s.problemf(step.line, "%v", err)
		return
	}
	output, status, err := s.shell.run(text, s.patience)
	output = s.asShown(output)
	switch {
	case err != nil:
		s.problemf(step.line, "%s: %v\n%s", step.text, err, output)
		s.gone = true
		return
	case status != step.status:
		s.problemf(step.line, "%s: exit status %d, want %d\n%s", step.text, status, step.status, output)
	case !shows(outputPattern(step.output, false), output):
		s.problemf(step.line, "%s: prints\n%s\nand not\n%s", step.text, clean(output), strings.Join(step.output, "\n"))
	}
	s.expect(step)
}

// background starts a command that goes on, and waits until it has printed what the page shows.
func (s *session) background(step step) {
	isQuickstart := strings.HasPrefix(step.text, quickstart)
	s.started = s.started || isQuickstart // once, even if it fails
	text := strings.TrimSuffix(strings.TrimSpace(step.text), "&")
	text, err := s.onFreePort(strings.TrimSpace(text))
	if err == nil {
		text, err = s.actual(text)
	}
	if err != nil {
		s.problemf(step.line, "%v", err)
		return
	}
	file, pid, err := s.shell.runOn(text)
	if err != nil {
		s.problemf(step.line, "%s: %v", step.text, err)
		s.gone = true
		return
	}
	pattern := outputPattern(step.output, true)
	var output string
	var ended bool
	if !await(serverTimeout, func() bool {
		ended = !groupRuns(pid) // before what it printed is read
		printed, _ := os.ReadFile(file)
		output = s.asShown(string(printed))
		return shows(pattern, output) || ended
	}) || ended {
		how := "does not print in time what is shown"
		if ended {
			how = "has ended"
		}
		s.problemf(step.line, "%s: %s, but\n%s", step.text, how, clean(output))
		return
	}
	if isQuickstart {
		if err := s.serve(); err != nil {
			s.problemf(step.line, "a client of the quickstart: %v", err)
		}
	}
	s.expect(step)
}

// nothingElse looks whether the client has got what the page does not say. It comes before the next command, which that would be
// taken for an effect of.
func (s *session) nothingElse() {
	if s.client == nil {
		return
	}
	if got := s.client.rest(); len(got) > 0 {
		s.problemf(s.last, "the client also gets %s", strings.Join(got, ", "))
	}
}

// expect looks whether the client gets what the page says.
func (s *session) expect(step step) {
	for _, e := range step.client {
		if s.client == nil {
			s.problemf(e.line, "there is no client: run: quickstart connects one")
			return
		}
		if got, ok := s.client.await(e.what, clientTimeout); !ok {
			s.problemf(e.line, "the client does not get %s, but %s", e.what, strings.Join(got, ", "))
			return // what comes next is out of step
		}
	}
}

// onFreePort adds to a command that runs one of the examples where to listen, unless it says so itself.
func (s *session) onFreePort(text string) (string, error) {
	m := program.FindStringSubmatch(text)
	if m == nil || strings.Contains(text, " -listen") {
		return text, nil
	}
	source := s.sources.files[strings.TrimPrefix(m[1], "./")+"/main.go"]
	standard := defaults.FindStringSubmatch(strings.Join(source, "\n"))
	if standard == nil {
		return "", fmt.Errorf("%s has no -listen with a default", m[1])
	}
	return m[0] + " -listen " + standard[1] + strings.TrimPrefix(text, m[0]), nil
}

// actual puts the client's ID and addresses, and free ports, in place of those in the page.
func (s *session) actual(text string) (string, error) {
	for _, shown := range listen.FindAllString(text, -1) {
		if s.ports[shown] == "" {
			free, err := freeAddress()
			if err != nil {
				return "", err
			}
			s.ports[shown] = free
		}
	}
	text = listen.ReplaceAllStringFunc(text, func(shown string) string { return s.ports[shown] })
	if s.client != nil {
		text = wordID.ReplaceAllString(text, s.client.id)
		text = strings.NewReplacer(pageID, s.client.id, pageAddress, s.client.address).Replace(text)
	}
	return text, nil
}

// asShown is the other way round.
func (s *session) asShown(output string) string {
	for shown, free := range s.ports {
		output = strings.ReplaceAll(output, free, shown)
	}
	if s.client != nil {
		output = strings.NewReplacer(s.client.id, pageID, s.client.address, pageAddress).Replace(output)
	}
	return output
}

// freeAddress is one on loopback that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
