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
	// Of each of these, the last groups are where the link leads to: only one of them is there.
	inlineLink = regexp.MustCompile(`\]\(\s*(?:<([^<>\n]+)>|((?:[^()<>\s]|\([^()\s]*\))+))(?:\s+(?:"[^"]*"|'[^']*'|\([^()]*\)))?\s*\)`)
	definition = regexp.MustCompile(`(?m)^ {0,3}\[([^\]]+)\]:\s*(?:<([^<>\n]+)>|(\S+))`)
	autoLink   = regexp.MustCompile(`<([a-z]+:[^>\s]+)>`)
	attribute  = regexp.MustCompile(`(?i)\b(?:href|src)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>]+))`)
	sourceSet  = regexp.MustCompile(`(?i)\bsrcset\s*=\s*(?:"([^"]*)"|'([^']*)')`)
	bareLink   = regexp.MustCompile(`(?i)\b((?:https?|ftp)://[^\s<>"']*|www\.[^\s<>"']+)`)

	// What is left of links that none of those has matched.
	linkUnseen = regexp.MustCompile(`(?i)\]\(|\b(?:href|src|srcset)\s*=`)

	reference  = regexp.MustCompile(`(?:\[([^\[\]]+))?\]\[([^\]]*)\]`)
	anchor     = regexp.MustCompile(`(?i)<a\s+(?:name|id)="([^"]+)"`)
	sourceLine = regexp.MustCompile(`^L([0-9]+)(?:-L([0-9]+))?$`)
)

// Link is where a page points to.
type Link struct {
	Line   int
	Target string
}

// Links are the page's links, those of its HTML and pictures as well. What looks like a link and cannot be read is a problem.
func (p *Page) Links() ([]Link, []Problem) {
	var links []Link
	prose := p.Prose
	// take blanks out what it has found, so that it is not found again as a part of something else.
	take := func(pattern *regexp.Regexp, skip int, add func(line int, target string)) {
		for _, at := range pattern.FindAllStringIndex(prose, -1) {
			groups := pattern.FindStringSubmatch(prose[at[0]:at[1]])
			add(lineOf(prose, at[0]), strings.Join(groups[1+skip:], ""))
		}
		prose = pattern.ReplaceAllStringFunc(prose, blankOut)
	}
	one := func(line int, target string) { links = append(links, Link{line, target}) }
	take(inlineLink, 0, one)
	take(definition, 1, one)
	take(autoLink, 0, one)
	take(attribute, 0, one)
	take(sourceSet, 0, func(line int, targets string) {
		for candidate := range strings.SplitSeq(targets, ",") {
			if fields := strings.Fields(candidate); len(fields) > 0 {
				one(line, fields[0])
			}
		}
	})
	take(bareLink, 0, one)
	var problems []Problem
	for _, at := range linkUnseen.FindAllStringIndex(prose, -1) {
		line := lineOf(prose, at[0])
		problems = append(problems, problemf(line, "this link cannot be read, write it more simply: %s", strings.Split(p.Prose, "\n")[line-1]))
	}
	return links, problems
}

// CheckLinks follows the page's links within root, and looks whether those that lead elsewhere are well-formed.
func (p *Page) CheckLinks(root string) []Problem {
	links, problems := p.Links()
	for _, link := range links {
		if wrong := p.follow(root, link.Target); wrong != "" {
			problems = append(problems, problemf(link.Line, "%s: %s", link.Target, wrong))
		}
	}
	defined := map[string]bool{}
	for _, m := range definition.FindAllStringSubmatch(p.Prose, -1) {
		defined[label(m[1])] = true
	}
	for _, m := range reference.FindAllStringSubmatchIndex(p.Prose, -1) {
		name := p.Prose[m[4]:m[5]]
		if name == "" && m[2] >= 0 {
			name = p.Prose[m[2]:m[3]]
		}
		// A name of nothing is one in code, which Prose does not have.
		if label(name) == "" || !defined[label(name)] {
			problems = append(problems, problemf(lineOf(p.Prose, m[0]), "[%s] is not defined", name))
		}
	}
	return problems
}

// label is a name of a definition, as names are compared.
func label(name string) string { return strings.ToLower(strings.Join(strings.Fields(name), " ")) }

// follow says what is wrong with a link, or nothing.
func (p *Page) follow(root, target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return "this is no URL"
	case u.Scheme == "mailto":
		return ""
	case u.Scheme != "" || u.Host != "":
		if u.Scheme != "https" || !strings.Contains(u.Host, ".") || u.User != nil {
			return "a link to elsewhere is https, and names a host"
		}
		return ""
	case strings.HasPrefix(u.Path, "/"):
		return "a link within the repository is relative to its page"
	case u.Path == "":
		return p.findAnchor(u.Fragment)
	}
	file := path.Join(path.Dir(p.Path), u.Path)
	if file == ".." || strings.HasPrefix(file, "../") {
		return "this leads out of the repository"
	}
	name := filepath.Join(root, filepath.FromSlash(file))
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "there is no such file"
	case u.Fragment == "":
		return ""
	case info.IsDir():
		return "a folder has no anchors"
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	if strings.HasSuffix(file, ".md") {
		return Parse(file, string(text)).findAnchor(u.Fragment)
	}
	m := sourceLine.FindStringSubmatch(u.Fragment)
	if m == nil {
		return "the anchor of a source is a line"
	}
	for _, digits := range m[1:] {
		if n, err := strconv.Atoi(digits); digits != "" && (err != nil || n > strings.Count(string(text), "\n")) {
			return "the file has no such line"
		}
	}
	return ""
}

func (p *Page) findAnchor(fragment string) string {
	if !p.Anchors()[fragment] {
		return "no heading of " + p.Path + " has this anchor"
	}
	return ""
}

// Anchors are what the page's headings can be linked to by, as GitHub names them, and its own <a name>.
func (p *Page) Anchors() map[string]bool {
	anchors := map[string]bool{}
	for _, h := range p.Headings {
		base := Slug(h)
		name := base
		for n := 1; anchors[name]; n++ {
			name = base + "-" + strconv.Itoa(n)
		}
		anchors[name] = true
	}
	for _, m := range anchor.FindAllStringSubmatch(p.Prose, -1) {
		anchors[m[1]] = true
	}
	return anchors
}

var (
	linkText = regexp.MustCompile(`!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])`)
	tag      = regexp.MustCompile(`</?[a-zA-Z][^>]*>`)
)

// Slug is the anchor that GitHub gives to a heading: its text in lower case, with hyphens for blanks, and nothing else that is
// neither a letter nor a digit.
func Slug(heading string) string {
	text := tag.ReplaceAllString(linkText.ReplaceAllString(heading, "$1"), "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(text))
}
