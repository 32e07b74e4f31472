package check

import (
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// A process that has ended does not run, though nobody has collected it yet.
func TestGroupRuns(t *testing.T) {
	c := exec.Command("cat") // until its input ends
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if !groupRuns(c.Process.Pid) {
		t.Error("it does not run")
	}
	in.Close()
	if !await(10*time.Second, func() bool { return !groupRuns(c.Process.Pid) }) {
		t.Error("it runs for ever")
	}
	if err := syscall.Kill(-c.Process.Pid, 0); err != nil {
		t.Errorf("it has been collected: %v", err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
}
