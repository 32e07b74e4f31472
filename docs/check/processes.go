package check

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// groupRuns reports whether a process of the group runs. One that has ended, and that process 1 has not collected yet, does not,
// as far as /proc tells: some take half a minute for it.
func groupRuns(group int) bool {
	if syscall.Kill(-group, 0) != nil {
		return false
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		if state, of := processState(stat); of == group && state != "Z" && state != "X" {
			return true
		}
	}
	return len(stats) == 0
}

// processState returns the state and the group of a process by its file in /proc (proc(5)); nothing, if it has gone meanwhile.
func processState(stat string) (state string, group int) {
	text, _ := os.ReadFile(stat)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:])) // behind the name, which may hold anything
	if len(fields) < 3 {
		return "", 0
	}
	group, _ = strconv.Atoi(fields[2])
	return fields[0], group
}
