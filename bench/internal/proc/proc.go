// Package proc reads what a process costs.
package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the processor time that a process has used so far, in user space and in the kernel, in all of its threads.
//
// It asks the process's CPU-time clock (clock_getcpuclockid(3)), which counts nanoseconds; /proc/PID/stat has the same
// number in ticks of 10 ms.
func CPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED of a whole process
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|sched, &t); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// RSS returns the resident memory of a process in bytes. It reads smaps_rollup, which counts pages: the kernel keeps the
// number in /proc/PID/status per processor, and may be off by some hundred kilobytes.
func RSS(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	name := "Rss:"
	if err != nil {
		data, err = os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		name = "VmRSS:"
	}
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		fields := bytes.Fields(line)
		if len(fields) == 3 && string(fields[0]) == name {
			kb, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory: it has ended", pid)
}
