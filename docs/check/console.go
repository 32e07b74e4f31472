package check

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
)

// step is a command of a console block, and what the page shows after it.
type step struct {
	line   int
	text   string // the command, with its further lines
	output []string
	client []expectation
	status int // with which it is to exit
}

// expectation is something that a page says of the client.
type expectation struct {
	line int
	what string // as event.String puts it
}

var (
	hereDocument = regexp.MustCompile(`<<-?\s*['"]?(\w+)['"]?`)
	exitStatus   = regexp.MustCompile(`^# exit status: ([0-9]+)$`)
	receivesText = regexp.MustCompile(`^# the client receives: (".*")$`)
	receivesData = regexp.MustCompile(`^# the client receives: (binary, [0-9]+ bytes?)$`)
	closedWith   = regexp.MustCompile(`^# the client is closed: ([0-9]+) "(.*)"$`)
)

// steps takes a console block apart.
func steps(b Block) ([]step, []Problem) {
	var (
		steps    []step
		problems []Problem
	)
	for i := 0; i < len(b.Lines); i++ {
		line, at := b.Lines[i], b.Line+1+i
		if text, ok := strings.CutPrefix(line, "$ "); ok {
			for strings.HasSuffix(text, `\`) && i+1 < len(b.Lines) {
				i++
				text += "\n" + b.Lines[i]
			}
			if here := hereDocument.FindStringSubmatch(text); here != nil {
				for i+1 < len(b.Lines) {
					i++
					text += "\n" + b.Lines[i]
					if strings.TrimSpace(b.Lines[i]) == here[1] {
						break
					}
				}
			}
			steps = append(steps, step{line: at, text: text})
			continue
		}
		if len(steps) == 0 {
			if strings.TrimSpace(line) != "" {
				problems = append(problems, problemf(at, "output of no command: %s", line))
			}
			continue
		}
		s := &steps[len(steps)-1]
		if m := exitStatus.FindStringSubmatch(line); m != nil {
			s.status, _ = strconv.Atoi(m[1])
		} else if strings.HasPrefix(line, "# the client ") {
			e, ok := expect(line)
			if !ok {
				problems = append(problems, problemf(at, "this says nothing that can be checked: %s", line))
				continue
			}
			s.client = append(s.client, expectation{at, e})
		} else {
			s.output = append(s.output, line)
		}
	}
	if len(steps) == 0 {
		problems = append(problems, problemf(b.Line, "this block has no command"))
	}
	return steps, problems
}

// expect reads a line about the client.
func expect(line string) (string, bool) {
	if m := receivesText.FindStringSubmatch(line); m != nil {
		var text string
		if json.Unmarshal([]byte(m[1]), &text) != nil {
			return "", false
		}
		return event{text: text}.String(), true
	}
	if m := receivesData.FindStringSubmatch(line); m != nil {
		return m[1], true
	}
	if m := closedWith.FindStringSubmatch(line); m != nil {
		code, err := strconv.Atoi(m[1])
		return event{closed: true, code: code, text: m[2]}.String(), err == nil
	}
	return "", false
}
