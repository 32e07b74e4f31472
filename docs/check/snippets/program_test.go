package snippets

import (
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// startProgram starts a program as the leader of a process group, which is ended with the test.
func startProgram(t *testing.T, name string, args ...string) {
	t.Helper()
	startProgramTo(t, t.Output(), name, args...)
}

// startProgramTo is startProgram for a program whose output the test reads.
func startProgramTo(t *testing.T, out io.Writer, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
}

// need skips the test if a tool is missing, but in CI fails it.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}
