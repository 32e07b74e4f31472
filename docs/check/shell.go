package check

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// shell is a bash that runs a page's commands one after the other. It is for one goroutine.
type shell struct {
	dir    string // the shell's own, for scripts and their output
	bash   *exec.Cmd
	stdin  *os.File
	answer *os.File // a line for each command: its status, or the process id of one that goes on
	lines  *bufio.Reader
	count  int
	groups []int // process groups of what goes on
}

// startShell starts bash in the folder root.
func startShell(root, dir string, env []string) (*shell, error) {
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	answer, out, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return nil, err
	}
	defer out.Close()
	bash := exec.Command("bash", "--noprofile", "--norc", "-s")
	bash.Dir, bash.Env, bash.Stdin = root, env, in
	bash.ExtraFiles = []*os.File{out} // descriptor 3
	bash.SysProcAttr = processGroup()
	if err := bash.Start(); err != nil {
		stdin.Close()
		answer.Close()
		return nil, err
	}
	s := &shell{dir: dir, bash: bash, stdin: stdin, answer: answer, lines: bufio.NewReader(answer)}
	if err := s.endAll(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// endAll has bash end, with itself, all that goes on, for the case that this process is killed before close. It is the best that can
// be done, and not certain: now and then, a bash that is told to end while a command runs does so without its trap.
func (s *shell) endAll() error {
	var groups strings.Builder
	for _, group := range s.groups {
		fmt.Fprintf(&groups, " -%d", group)
	}
	_, err := fmt.Fprintf(s.stdin, "trap 'kill --%s -%d' EXIT\n", &groups, s.bash.Process.Pid)
	return err
}

// run runs a command and returns what it prints and its exit status. A shell whose command takes too long is of no more use.
func (s *shell) run(text string, timeout time.Duration) (output string, status int, err error) {
	name, err := s.script(text)
	if err != nil {
		return "", 0, err
	}
	status, err = s.ask(fmt.Sprintf(". %s </dev/null >%s 2>&1 3>&-; echo $? >&3\n", quoted(name), quoted(name+".out")), timeout)
	printed, readErr := os.ReadFile(name + ".out")
	if err == nil {
		err = readErr
	}
	return string(printed), status, err
}

// runOn starts a command that goes on, as the leader of a process group, and returns the file that it prints into and its process id.
func (s *shell) runOn(text string) (output string, pid int, err error) {
	name, err := s.script(text)
	if err != nil {
		return "", 0, err
	}
	output = name + ".out"
	line := fmt.Sprintf("set -m; . %s </dev/null >%s 2>&1 3>&- & set +m; echo $! >&3\n", quoted(name), quoted(output))
	pid, err = s.ask(line, 10*time.Second)
	if err == nil {
		s.groups = append(s.groups, pid)
		err = s.endAll()
	}
	return output, pid, err
}

// quoted is s as one word of the shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (s *shell) script(text string) (string, error) {
	s.count++
	name := filepath.Join(s.dir, strconv.Itoa(s.count)+".sh")
	return name, os.WriteFile(name, []byte(text+"\n"), 0o600)
}

// ask has the shell do something, and returns the number that it answers with.
func (s *shell) ask(line string, timeout time.Duration) (int, error) {
	if _, err := s.stdin.WriteString(line); err != nil {
		return 0, err
	}
	if err := s.answer.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return 0, err
	}
	answer, err := s.lines.ReadString('\n')
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, fmt.Errorf("it takes longer than %v", timeout)
	case err != nil:
		return 0, errors.New("it has ended the shell")
	}
	return strconv.Atoi(strings.TrimSpace(answer))
}

// close ends the shell and all that it has started. It reports whether run has left something that goes on.
func (s *shell) close() (left bool) {
	for _, group := range s.groups {
		endGroup(group)
	}
	_, _ = s.stdin.WriteString("trap - EXIT\n") // what is left is to be seen here
	s.stdin.Close()                             // the end of its input, and so of bash
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.bash.Wait()
	}()
	defer s.answer.Close()
	group := s.bash.Process.Pid
	select {
	case <-ended:
		// What has been told to end may take a moment, and so may whoever collects its exit status.
		if await(5*time.Second, func() bool { return !groupRuns(group) }) {
			return false
		}
	case <-time.After(time.Second): // a command of it hangs
		_ = s.bash.Process.Kill()
		<-ended
	}
	endGroup(group)
	return true
}

// endGroup ends a process group that was started here: by SIGTERM, and after 10 s by SIGKILL.
func endGroup(group int) {
	if syscall.Kill(-group, syscall.SIGTERM) != nil {
		return // it has ended
	}
	if !await(10*time.Second, func() bool { return !groupRuns(group) }) {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
}

// await looks every now and then until done, and reports whether that came in time. What another process does cannot be waited
// for in another way.
func await(timeout time.Duration, done func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(timeout); !done(); <-tick.C {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
