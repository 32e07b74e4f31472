package check

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

var (
	// In each of these, a link is the only group.
	links = []*regexp.Regexp{
		regexp.MustCompile(`\]\(([^()\s]+)\)`),
		regexp.MustCompile(`(?m)^\[[^\]]+\]: (\S+)$`),
		regexp.MustCompile(`\b(?:href|src|srcset)="([^"\s]+)"`),
	}
	unread     = regexp.MustCompile(`(?i)\]\(|\]\[|\b(?:href|src|srcset)\s*=`)
	sourceLine = regexp.MustCompile(`^L(\d+)$`)
	linkText   = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// checkLinks follows the page's links within root. Links to elsewhere are not followed.
func (p *page) checkLinks(root string) (problems []string) {
	prose := p.prose
	for _, pattern := range links {
		for _, at := range pattern.FindAllStringSubmatchIndex(prose, -1) {
			target := prose[at[2]:at[3]]
			if wrong := p.follow(root, target); wrong != "" {
				problems = append(problems, problem(lineOf(prose, at[2]), "%s: %s", target, wrong))
			}
		}
		prose = pattern.ReplaceAllStringFunc(prose, blank)
	}
	for _, at := range unread.FindAllStringIndex(prose, -1) {
		problems = append(problems, problem(lineOf(prose, at[0]), "this link cannot be read; write it more simply"))
	}
	return problems
}

func lineOf(s string, at int) int { return 1 + strings.Count(s[:at], "\n") }

// follow returns what is wrong with a link, or "".
func (p *page) follow(root, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return err.Error()
	case u.Scheme == "mailto":
		return ""
	case u.Scheme != "" || u.Host != "":
		if u.Scheme != "https" || u.Host == "" {
			return "links to elsewhere are https"
		}
		return ""
	case u.Path == "":
		return p.findAnchor(u.Fragment)
	}
	file := path.Join(path.Dir(p.path), u.Path)
	if !filepath.IsLocal(file) {
		return "there is no such file in the repository"
	}
	name := filepath.Join(root, file)
	if _, err := os.Stat(name); err != nil {
		return "there is no such file"
	}
	if u.Fragment == "" {
		return ""
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	if strings.HasSuffix(file, ".md") {
		return parse(file, string(text)).findAnchor(u.Fragment)
	}
	m := sourceLine.FindStringSubmatch(u.Fragment)
	if m == nil {
		return "the anchor of a source file is a line"
	}
	if n, err := strconv.Atoi(m[1]); err != nil || n > strings.Count(string(text), "\n") {
		return "there is no such line"
	}
	return ""
}

// findAnchor looks for the heading to which GitHub gives this anchor.
func (p *page) findAnchor(fragment string) string {
	seen := map[string]int{}
	for _, h := range p.headings {
		name := slug(h)
		seen[name]++
		if n := seen[name] - 1; n > 0 {
			name += "-" + strconv.Itoa(n)
		}
		if name == fragment {
			return ""
		}
	}
	return "there is no such heading in " + p.path
}

// slug is GitHub's anchor for a heading.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, linkText.ReplaceAllString(heading, "$1"))
}
