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

// What would not be checked is found fault with.
func TestParseUnseen(t *testing.T) {
	for source, tell := range map[string]string{
		"text\n\n> '''go\n> x()\n> '''":               "line 3: code here is not seen",
		"- '''go\n  x()\n  '''":                       "line 1: code here is not seen",
		"1. ~~~\n   x\n   ~~~":                        "line 1: code here is not seen",
		"text '''@@ text":                             "line 1: code here is not seen",
		"'''a`b\nx\n'''":                              "line 1: code here is not seen",
		">     go run .":                              "line 1: code here is not seen",
		"-     go run .":                              "line 1: code here is not seen",
		"text\n<PRE class=x>x</pre>":                  "line 2: code in <pre> is not seen",
		"`<pre>` and a `<!-- run: comment -->`":       "",
		"<prefix> <!-- it may be run at any time -->": "",

		"<!-- run: background -->\n'''console\n$ x\n'''":   "",
		"<!-- run: background -->\n\n'''console\n$ x\n'''": "line 1: this stands directly above no fence",
		"x\n<!--run: background-->\n'''console\n$ x\n'''":  "line 2: this stands directly above no fence",
		"<!-- run: -->\n'''console\n$ x\n'''":              "line 1: this stands directly above no fence",
		"<!-- run background -->\n'''console\n$ x\n'''":    "line 1: this stands directly above no fence",
		"<!-- Run: background -->\n'''console\n$ x\n'''":   "line 1: this stands directly above no fence",
		"<!-- run:\nbackground -->\n'''console\n$ x\n'''":  "line 1: this stands directly above no fence",
		"<!-- run: background -->\n\n    $ x":              "line 1: this stands directly above no fence",
		"<!-- run: background -->\n'''go\nx\n'''":          "line 2: run: background is for a block marked console",
	} {
		if wrong := want(page(source).Problems, tell); wrong != "" {
			t.Errorf("%s: %s", source, wrong)
		}
	}
}

// Code is what is indented by four more than the item that it belongs to.
func TestParseItems(t *testing.T) {
	for source, code := range map[string]string{
		"- a\n\n      code":               "code",
		"- a\n\n    text":                 "",
		"- a\n      text":                 "",
		"10. a\n\n       text":            "",
		"10. a\n\n        code":           "code",
		"- a\n  - b\n\n      text":        "",
		"- a\n  - b\n\n        code":      "code",
		"- a\n  - b\n\n  a\n\n      code": "code",
		"- a\n- b\n\ntext\n\n    code":    "code",
		"- a\nlazy\n\n  a\n\n    text":    "",
		"\tcode":                          "code",
	} {
		var got string
		if blocks := page(source).Blocks; len(blocks) > 0 {
			got = blocks[0].Lines[0]
		}
		if got != code {
			t.Errorf("%q: the code is %q, want %q", source, got, code)
		}
	}
}
