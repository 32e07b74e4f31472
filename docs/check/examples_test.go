package check

import (
	"regexp"
	"strings"
	"testing"
)

// A newcomer runs examples side by side, and beside the program that README.md begins with.
func TestPortsDiffer(t *testing.T) {
	_, files, _ := repository(t)
	port := regexp.MustCompile(`(?:"listen", |Addr: +)"127\.0\.0\.1:(\d+)"`)
	taken := map[string]string{}
	for path, text := range files {
		if path != "README.md" && (!strings.HasPrefix(path, "examples/") || !strings.HasSuffix(path, "/main.go")) {
			continue
		}
		found := port.FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Errorf("%s has %d ports to listen on by default, want 1", path, len(found))
			continue
		}
		if other := taken[found[0][1]]; other != "" {
			t.Errorf("%s and %s listen on the same port: %s", path, other, found[0][1])
		}
		taken[found[0][1]] = path
	}
	if len(taken) < 8 {
		t.Errorf("there are only %d programs", len(taken))
	}
}
