package check

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	p := page(
		"# A title", // 1
		"",
		"- an item", // 3
		"",
		"    which goes on, and is no code",
		"",
		"Text.", // 7
		"",
		"    indented",
		"",
		"      code",
		"",
		"<!-- run: background -->", // 13
		"'''console",
		"$ true",
		"'''",
		"  ~~~go title", // 17
		"  a",
		"  ~~~",
		"'''", // 20: is never closed
		"'''not closed by this",
	)
	wantBlocks := []Block{
		{Line: 9, Lines: []string{"indented", "", "  code", ""}},
		{Line: 14, Language: "console", Run: "background", Lines: []string{"$ true"}},
		{Line: 17, Language: "go", Lines: []string{"a"}},
		{Line: 20, Lines: []string{"```not closed by this", ""}},
	}
	if len(p.Blocks) != len(wantBlocks) {
		t.Fatalf("there are %d blocks, want %d: %q", len(p.Blocks), len(wantBlocks), p.Blocks)
	}
	for i, b := range p.Blocks {
		w := wantBlocks[i]
		if b.Line != w.Line || b.Language != w.Language || b.Run != w.Run || !slices.Equal(b.Lines, w.Lines) {
			t.Errorf("block %d is %+q, want %+q", i, b, w)
		}
	}
	if !slices.Equal(p.Headings, []string{"A title"}) {
		t.Errorf("headings: %q", p.Headings)
	}
	if wrong := want(p.Problems, "line 20: this block is not closed"); wrong != "" {
		t.Error(wrong)
	}
}
