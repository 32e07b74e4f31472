package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// thisMachine describes where the benchmark runs.
func thisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), Go: runtime.Version()}
	if model, ok := field("/proc/cpuinfo", "model name"); ok {
		m.CPU = model
	}
	if total, ok := field("/proc/meminfo", "MemTotal"); ok {
		if kb, err := strconv.ParseFloat(strings.TrimSuffix(total, " kB"), 64); err == nil {
			m.Memory = fmt.Sprintf("%.0f GB", kb/(1<<20))
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = "Linux " + string(regexp.MustCompile(`^[0-9]+(\.[0-9]+)?`).Find(name.Release[:]))
	}
	return m
}

// field returns the first value of that name from a file with lines of the form "name: value".
func field(file, name string) (string, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	for line := range bytes.Lines(data) {
		key, value, _ := strings.Cut(string(line), ":")
		if strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// checkDescriptors reports an error if a process may not have as many descriptors as it will need.
func checkDescriptors(conns int) error {
	const others = 200 // publishers, and whatever a server opens besides
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if need := uint64(conns + others); limit.Max < need {
		return fmt.Errorf("a process needs %d descriptors here, and may have %d: see ulimit -Hn", need, limit.Max)
	}
	return nil
}

// modules are where the servers' libraries come from.
var modules = map[string]string{
	"coder":   "github.com/coder/websocket",
	"gorilla": "github.com/gorilla/websocket",
	"gws":     "github.com/lxzan/gws",
	"melody":  "github.com/olahol/melody",

	"nats-server": "github.com/nats-io/nats-server/v2",
}

// versionOf returns the version of the library that a server is built with.
func versionOf(name, program string) string {
	if name == "wspush" {
		// Without locks, since git would otherwise refresh its index.
		revision, err := output("git", "--no-optional-locks", "describe", "--always", "--dirty")
		if err != nil {
			return "of this directory"
		}
		return revision
	}
	if info, err := buildinfo.ReadFile(program); err == nil {
		for _, dep := range info.Deps {
			if dep.Path == modules[name] {
				return dep.Version
			}
		}
	}
	return "unknown"
}
