package check

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCheckLinks(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a b.md":  "# One `two`\n# One two\n```\n# No heading\n```\n",
		"c.go":    "1\n2\n",
		"pic.svg": "<svg/>",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for source, tell := range map[string]string{
		"[x](a%20b.md)": "",
		"[x](c.go#L2) [x](a%20b.md#one-two) [x](a%20b.md#one-two-1)":                      "",
		"# Here it *is*\n[x](#here-it-is)":                                                "",
		"<a name=\"spot\"></a> [x](#spot)":                                                "",
		"[x](https://example.com/y?z=(1)) [x](https://example.com/y)":                     "",
		"[text over\nlines](c.go \"title\")":                                              "",
		"[x][y]\n\n[y]: c.go":                                                             "",
		"`[x](gone.go)` ``a ` [x](gone.go)`` <!-- [x](gone.go) -->":                       "",
		"a ` b [x](c.go)":                                                                 "",
		"<picture><source srcset=\"pic.svg 1x, c.go 2x\"><img src=\"pic.svg\"></picture>": "",
		"<https://example.com> <mailto:a@example.com>":                                    "",
		"[x](gone.go)":                             "line 1: gone.go: there is no such file",
		"text\n\n[text over\nlines](gone.go)":      "line 4: gone.go: there is no such file",
		"a `b\n\n`c [x](gone.go)":                  "no such file",
		"![x](gone.svg)":                           "no such file",
		"[x][y]\n\n[y]: gone.go":                   "gone.go: there is no such file",
		"[x][y]":                                   "[y] is not defined",
		"<img src=\"gone.svg\">":                   "no such file",
		"<source srcset=\"pic.svg, gone.svg 2x\">": "gone.svg: there is no such file",
		"<a href=\"gone.md\">x</a>":                "no such file",
		"[x](c.go 'title') [x](c.go (title)) [x](<a b.md> \"title\")": "",
		"[x](gone.go 'title')":                     "no such file",
		"[x](gone.go (title))":                     "no such file",
		"[x](<a gone.md>)":                         "a gone.md: there is no such file",
		"[x]: <c.go> 'title'\n\n[x][] [X][]":       "",
		"[y]: <gone.go>":                           "gone.go: there is no such file",
		"a\n[x](a(b(c)))":                          "line 2: this link cannot be read",
		"[x]()":                                    "cannot be read",
		"[x](<c.go>":                               "cannot be read",
		"<a href='c.go'>x</a> <img src = pic.svg>": "",
		"<a href='gone.md'>x</a>":                  "gone.md: there is no such file",
		"<a href=gone.md>x</a>":                    "gone.md: there is no such file",
		"<a href = \"gone.md\">x</a>":              "gone.md: there is no such file",
		"<img\nsrc='gone.png'>":                    "line 2: gone.png: there is no such file",
		"<img srcset='pic.svg, gone.svg 2x'>":      "gone.svg: there is no such file",
		"<a href=\"c.go>":                          "cannot be read",
		"[x][]":                                    "[x] is not defined",
		"[`x`][]\n\n[`y`]: c.go":                   "is not defined",
		"[`x`][]":                                  "is not defined",
		"See https://example.com/x, and so on.":    "",
		"See http://example.com/x.":                "is https",
		"See www.example.com.":                     "no such file",
		"[x](a%20b.md#gone)":                       "no heading of a b.md has this anchor",
		"[x](a%20b.md#one-two-2)":                  "no heading",
		"[x](a%20b.md#no-heading)":                 "no heading",
		"# Here\n[x](#there)":                      "no heading of page.md",
		"[x](c.go#L3)":                             "no such line",
		"[x](c.go#main)":                           "the anchor of a source is a line",
		"[x](../x.md)":                             "out of the repository",
		"[x](/c.go)":                               "relative to its page",
		"[x](http://example.com/)":                 "is https",
		"[x](https://localhost/)":                  "names a host",
		"[x](https:///path)":                       "names a host",
		"[x](javascript:0)":                        "is https",
		"[x](https://exa%zzmple.com)":              "this is no URL",
	} {
		if wrong := want(page(source).CheckLinks(root), tell); wrong != "" {
			t.Errorf("%s: %s", source, wrong)
		}
	}
}

// The anchors are those that GitHub gives to these headings.
func TestSlug(t *testing.T) {
	for heading, slug := range map[string]string{
		"Quick start":                        "quick-start",
		"When may a publisher forget it?":    "when-may-a-publisher-forget-it",
		"`worker.Push` & [links](x.md), too": "workerpush--links-too",
		"snake_case – and dashes":            "snake_case--and-dashes",
		"Größe":                              "größe",
		"API Gateway's @connections":         "api-gateways-connections",
		"One. Two: 3.0":                      "one-two-30",
		"<b>Bold</b> **too**":                "bold-too",
	} {
		if got := Slug(heading); got != slug {
			t.Errorf("%q: %q, want %q", heading, got, slug)
		}
	}
}
