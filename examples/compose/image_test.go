//go:build linux

package compose

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// image is what the Dockerfile makes, as far as the test follows it.
type image struct {
	dir        string // its root folder, which has nothing but the program
	entrypoint string
	uid        uint32
}

var (
	goBuild  = regexp.MustCompile(`^RUN (?:--mount=\S+ )*(CGO_ENABLED=0 go build .* -o )/users \.$`)
	ownUser  = regexp.MustCompile(`^USER (\d+):\d+$`)
	oneEntry = regexp.MustCompile(`^ENTRYPOINT \["([^"]+)"\]$`)
)

// build runs the Dockerfile's go build in a copy of the context that Docker would have. The other lines have to be what it expects.
func build(t *testing.T, from *types.BuildConfig) *image {
	t.Helper()
	dockerfile := filepath.Join(from.Context, from.Dockerfile)
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(read(t, dockerfile), "")
	text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
	first, final, ok := strings.Cut(text, "\nFROM scratch\n")
	if !ok {
		t.Fatalf("there is no stage FROM scratch in\n%s", text)
	}
	i := &image{dir: filepath.Join(t.TempDir(), "image")}
	if err := os.Mkdir(i.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(first), "\n") {
		match := goBuild.FindStringSubmatch(line)
		switch {
		case match != nil:
			cmd := exec.CommandContext(t.Context(), "sh", "-c", match[1]+filepath.Join(i.dir, "users")+" .")
			cmd.Dir = buildContext(t, from.Context, dockerfile+".dockerignore")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
		case strings.HasPrefix(line, "FROM golang:"), line == "WORKDIR /src", line == "COPY . .", line == "":
		default:
			t.Errorf("what does this do? %s", line)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(final), "\n") {
		user, entry := ownUser.FindStringSubmatch(line), oneEntry.FindStringSubmatch(line)
		switch {
		case user != nil:
			uid, err := strconv.ParseUint(user[1], 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			i.uid = uint32(uid)
		case entry != nil:
			i.entrypoint = entry[1]
		case line == "COPY --from=build /users /users", strings.Contains(line, "/ca-certificates.crt "):
		default:
			t.Errorf("what does this do? %s", line)
		}
	}
	if i.uid == 0 || i.entrypoint != "/users" {
		t.Errorf("%+v", i)
	}
	return i
}

// buildContext copies what the Dockerfile can see.
func buildContext(t *testing.T, from, ignoreFile string) (dir string) {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(read(t, ignoreFile)))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	// Here as anywhere: a secret in the context is one in the cache of the builder.
	for _, secret := range []string{".env", "examples/compose/.env", ".git/config"} {
		if ok, err := ignored.MatchesOrParentMatches(secret); err != nil || !ok {
			t.Errorf("%s is in the context (%v)", secret, err)
		}
	}
	dir = t.TempDir()
	err = filepath.WalkDir(from, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		ignore, err := ignored.MatchesOrParentMatches(filepath.ToSlash(relative))
		switch {
		case err != nil:
			return err
		case ignore && entry.IsDir():
			return fs.SkipDir
		case ignore, !entry.IsDir() && !entry.Type().IsRegular():
			return nil
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(dir, relative), 0o755)
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, relative), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// command runs the program as a container would: with this environment, and, as root can have it, as the image's user in a file system
// in which there is nothing else.
func (i *image) command(environment []string, args ...string) *exec.Cmd {
	if os.Getuid() != 0 {
		return &exec.Cmd{Path: i.dir + i.entrypoint, Args: append([]string{i.entrypoint}, args...), Env: environment, Dir: i.dir}
	}
	return &exec.Cmd{
		Path: i.entrypoint, Args: append([]string{i.entrypoint}, args...), Env: environment, Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{Chroot: i.dir, Credential: &syscall.Credential{Uid: i.uid, Gid: i.uid}},
	}
}
