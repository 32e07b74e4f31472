package check

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Drawings in light and dark are the same but for their colours, and say in words what they show.
func TestPictures(t *testing.T) {
	light, err := filepath.Glob("../pictures/*-light.svg")
	if err != nil || len(light) == 0 {
		t.Fatalf("there are no drawings (%v)", err)
	}
	colour := regexp.MustCompile(`#[0-9a-f]{6}\b`)
	for _, name := range light {
		var drawings [2][]byte
		for i, name := range []string{name, name[:len(name)-len("light.svg")] + "dark.svg"} {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, tag := range []string{"<title id=", "<desc id="} {
				if !bytes.Contains(text, []byte(tag)) {
					t.Errorf("%s has no %s", name, tag)
				}
			}
			drawings[i] = colour.ReplaceAll(text, []byte("colour"))
		}
		if !bytes.Equal(drawings[0], drawings[1]) {
			t.Errorf("%s and its dark twin differ in more than colours", name)
		}
	}
}
