//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// bounds are how the memory of workers is bounded.
type bounds struct {
	parent string // the folder of a cgroup (version 2) that lends memory to others; "": there is none, and memory is watched
}

// newBounds looks for a cgroup in which others can be made: one above this process whose memory controller is passed on.
func newBounds() *bounds {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return new(bounds)
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if b := boundsIn(root, string(text)); b.parent != "" {
			return b
		}
	}
	return new(bounds)
}

// boundsIn is newBounds for one place where cgroups of version 2 may be. own is /proc/self/cgroup.
func boundsIn(root, own string) *bounds {
	for line := range strings.Lines(own) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
			b := &bounds{parent: filepath.Join(root, path)}
			passedOn, err := os.ReadFile(filepath.Join(b.parent, "cgroup.subtree_control"))
			if err == nil && slices.Contains(strings.Fields(string(passedOn)), "memory") {
				if g, err := b.group(); err == nil {
					g.remove()
					return b
				}
			}
			if path == "/" {
				break
			}
		}
	}
	return new(bounds)
}

// String says how memory is bounded.
func (b *bounds) String() string {
	if b.parent == "" {
		return fmt.Sprintf("%s of memory: peak RSS and what the kernel has for its sockets are watched", size(memory))
	}
	return fmt.Sprintf("%s of memory: in a cgroup", size(memory))
}

// cgroup is one for a single process.
type cgroup struct {
	folder string
	dir    *os.File
}

// group makes a cgroup for a worker; nil without an error if there can be none.
func (b *bounds) group() (*cgroup, error) {
	if b.parent == "" {
		return nil, nil
	}
	folder, err := os.MkdirTemp(b.parent, "wspush-limits-")
	if err != nil {
		return nil, err
	}
	g := &cgroup{folder: folder}
	_ = os.WriteFile(filepath.Join(g.folder, "memory.swap.max"), []byte("0"), 0o644) // not every kernel has it
	err = os.WriteFile(filepath.Join(g.folder, "memory.max"), []byte(strconv.Itoa(memory)), 0o644)
	if err == nil {
		g.dir, err = os.Open(g.folder)
	}
	if err != nil {
		g.remove()
		return nil, err
	}
	return g, nil
}

// enter has a process begin in the cgroup.
func (g *cgroup) enter(attr *syscall.SysProcAttr) {
	attr.UseCgroupFD, attr.CgroupFD = true, int(g.dir.Fd())
}

// peak returns the most memory that the cgroup has had, with what the kernel has for it; 0 where the kernel does not say.
func (g *cgroup) peak() int64 {
	text, err := os.ReadFile(filepath.Join(g.folder, "memory.peak"))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n
}

// remove removes the cgroup, whose process has ended. It may be called on nil.
func (g *cgroup) remove() {
	if g == nil {
		return
	}
	if g.dir != nil {
		_ = g.dir.Close()
	}
	_ = os.Remove(g.folder)
}
