package bulk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wspush/wspush/internal/bulk"
	"github.com/wspush/wspush/internal/testutil"
	"github.com/wspush/wspush/internal/wire"
)

// noDeadline is a ReadControl for bodies that are there.
type noDeadline struct{}

func (noDeadline) SetReadDeadline(time.Time) error { return nil }

// readLines reads a checked body, and returns the texts of its lines and the error that ends them.
func readLines(body io.Reader) (texts []string, end error) {
	in := bulk.NewInput(body, noDeadline{}, bulk.InputConfig{})
	var running sync.WaitGroup
	running.Go(in.Run)
	defer running.Wait()
	defer in.Stop()
	lines := bulk.NewLines(in, 1<<20, true)
	for {
		line, err := lines.Next()
		switch {
		case err != nil:
			return texts, err
		case len(line) == 0:
			continue
		}
		p, err := bulk.Parse(line)
		if err != nil {
			return texts, fmt.Errorf("a line that is whole cannot be read: %w", err)
		}
		texts = append(texts, string(p.Data))
	}
}

// sentBody is the body of a checked request with these texts, as the client sends it.
func sentBody(t testing.TB, texts ...string) []byte {
	t.Helper()
	var body bytes.Buffer
	for i, text := range texts {
		line, err := appendLine(nil, bulk.Line{To: []string{id}, Type: wire.Text, Data: []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		body.Write(bulk.AppendChecked(nil, i+1, line))
		body.WriteByte('\n')
	}
	return body.Bytes()
}

// Whatever is done to a body, what is read of it is how it began.
func TestDamage(t *testing.T) {
	texts := []string{"one", "two", "two", "four"} // the second and the third differ only in their number
	whole := string(sentBody(t, texts...))
	lines := strings.SplitAfter(whole, "\n")[:4]
	for name, test := range map[string]struct {
		body string
		read int
		end  error
	}{
		"whole":                     {whole, 4, io.EOF},
		"no last line feed":         {strings.TrimSuffix(whole, "\n"), 4, io.EOF},
		"carriage returns":          {strings.ReplaceAll(whole, "\n", "\r\n"), 4, io.EOF},
		"blank lines":               {"\n" + lines[0] + "\n \n" + lines[1] + lines[2] + "\n" + lines[3] + "\n", 4, io.EOF},
		"nothing":                   {"", 0, io.EOF},
		"the end is missing":        {lines[0] + lines[1], 2, io.EOF}, // which the number of lines tells
		"the first is missing":      {lines[1] + lines[2] + lines[3], 0, bulk.ErrDamaged},
		"one is missing":            {lines[0] + lines[2] + lines[3], 1, bulk.ErrDamaged},
		"one comes twice":           {lines[0] + lines[1] + lines[1] + lines[2], 2, bulk.ErrDamaged},
		"two change places":         {lines[0] + lines[2] + lines[1], 1, bulk.ErrDamaged},
		"the first has no head":     {lines[0][10:] + lines[1], 0, bulk.ErrDamaged},
		"the last is cut":           {lines[0] + lines[1][:len(lines[1])-5], 1, bulk.ErrDamaged},
		"a brace is missing":        {lines[0] + lines[1][:len(lines[1])-2] + "\n", 1, bulk.ErrDamaged},
		"two are joined":            {lines[0] + lines[1][:40] + lines[3][40:], 1, bulk.ErrDamaged},
		"two are joined at the end": {lines[0] + strings.TrimSuffix(lines[1], "\n") + lines[2], 1, bulk.ErrDamaged},
		"a gap from head to head":   {lines[0] + lines[1][:16] + lines[3][16:], 1, bulk.ErrDamaged}, // before the sums, with nothing else missing
		"the sums change places":    {lines[0][:16] + lines[3][16:24] + lines[0][24:], 0, bulk.ErrDamaged},
		"a letter changes":          {strings.Replace(whole, "two", "twp", 1), 1, bulk.ErrDamaged},
		"no check":                  {`{"to":"` + id + `","text":"one"}` + "\n", 0, bulk.ErrDamaged},
		"another form":              {strings.Replace(whole, `"seq":1`, `"seq": 1`, 1), 0, bulk.ErrDamaged},
		"a zero before":             {strings.Replace(whole, `"seq":1`, `"seq":01`, 1), 0, bulk.ErrDamaged},
		"only the check":            {whole[:strings.Index(whole, `"to"`)] + "\n", 0, bulk.ErrDamaged},
		"nonsense":                  {"x\n", 0, bulk.ErrDamaged},
	} {
		got, err := readLines(strings.NewReader(test.body))
		if err != test.end || !slices.Equal(got, texts[:min(test.read, len(texts))]) {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
	}
}

// The line that docs/push-api.md shows is one.
func TestDocumented(t *testing.T) {
	docs, err := os.ReadFile("../../docs/push-api.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ *(\{"seq":1,.*)$`).FindSubmatch(docs)
	if line == nil {
		t.Fatal("there is no checked line")
	}
	if got, err := readLines(bytes.NewReader(line[1])); err != io.EOF || !slices.Equal(got, []string{"hello"}) {
		t.Errorf("%s is read as %q, %v", line[1], got, err)
	}
}

// A line that is too long counts if it is whole, and the next one is read. One that is too long because others have been joined
// is damage, wherever it is cut into parts.
func TestTooLongChecked(t *testing.T) {
	const limit = 1000
	fits := strings.Repeat("x", limit-200)
	long := sentBody(t, "one", strings.Repeat("x", 2*limit), "three")
	end := bytes.LastIndexByte(long[:len(long)-1], '\n') + 1 // of the second line
	two := sentBody(t, "one", fits, fits, "four")
	hole := bytes.IndexByte(two[bytes.IndexByte(two, '\n')+1:], '\n') // in the end of the second line
	whole := []error{nil, bulk.ErrLineTooLong, nil, io.EOF}
	damaged := []error{nil, bulk.ErrDamaged}
	for name, test := range map[string]struct {
		body []byte
		then []error
	}{
		"whole":                 {long, whole},
		"carriage return":       {bytes.ReplaceAll(long, []byte("\n"), []byte(" \r\n")), whole},
		"space before it":       {bytes.Replace(long, []byte("\n"), []byte("\n \t"), 1), whole},
		"the last":              {long[:end-1], []error{nil, bulk.ErrLineTooLong, io.EOF}},
		"joined":                {slices.Concat(long[:end-500], long[end:]), damaged},
		"joined by a hole":      {slices.Concat(two[:hole], two[hole+100:]), damaged},
		"without its line feed": {slices.Concat(long[:end-1], long[end:]), damaged},
		"cut":                   {long[:end-5], damaged},
		"another number":        {bytes.Replace(long, []byte(`"seq":2`), []byte(`"seq":3`), 1), damaged},
		"a letter":              {bytes.Replace(long, []byte("xxx"), []byte("xyx"), 1), damaged},
		"no head":               {slices.Concat(sentBody(t, "one"), bytes.Repeat([]byte("x"), 2*limit), []byte("}\n")), damaged},
		"spaces":                {slices.Concat(sentBody(t, "one"), bytes.Repeat([]byte(" "), 2*limit), []byte("\n")), damaged},
	} {
		for _, part := range []int{1, 7, 600, 1 << 20} {
			in := bulk.NewInput(&parts{bytes.NewReader(test.body), part}, noDeadline{}, bulk.InputConfig{})
			var running sync.WaitGroup
			running.Go(in.Run)
			lines := bulk.NewLines(in, limit, true)
			for i, want := range test.then {
				if _, err := lines.Next(); err != want {
					t.Errorf("%s in parts of %d bytes: line %d: %v, want %v", name, part, i+1, err, want)
				}
			}
			in.Stop()
			running.Wait()
		}
	}
}

// parts is a reader that returns at most so many bytes at once.
type parts struct {
	io.Reader
	size int
}

func (p *parts) Read(b []byte) (int, error) { return p.Reader.Read(b[:min(len(b), p.size)]) }

// FuzzDamage takes pieces of a body and puts them together in any way.
func FuzzDamage(f *testing.F) {
	f.Add([]byte{0, 0, 255, 255})
	f.Add([]byte{0, 0, 0, 60, 0, 120, 1, 0})
	f.Add([]byte{0, 90, 0, 200, 0, 90, 0, 200})
	f.Fuzz(func(t *testing.T, cuts []byte) {
		texts := []string{"one", "two", "two", "a line that is longer than the others", "", "six"}
		whole := sentBody(t, texts...)
		var body []byte
		for ; len(cuts) >= 4; cuts = cuts[4:] {
			from := (int(cuts[0])<<8 + int(cuts[1])) % (len(whole) + 1)
			to := min(from+int(cuts[2])<<8+int(cuts[3]), len(whole))
			body = append(body, whole[from:to]...)
		}
		got, err := readLines(bytes.NewReader(body))
		if len(got) > len(texts) || !slices.Equal(got, texts[:len(got)]) {
			t.Errorf("%q is read as %q", body, got)
		}
		if err != io.EOF && err != bulk.ErrDamaged {
			t.Error(err)
		}
	})
}

// loser is a handler whose request comes to it with parts missing: once the answer has begun, its body loses ranges of bytes.
type loser struct {
	body io.Reader
	rand *rand.Rand
	odds int // of losing a range, in each read
}

func (l *loser) Read(p []byte) (int, error) {
	n, err := l.body.Read(p[:1+l.rand.IntN(len(p))])
	if n > 0 && l.rand.IntN(100) < l.odds {
		from := l.rand.IntN(n)
		to := from + 1 + l.rand.IntN(n-from)
		if l.rand.IntN(3) == 0 { // at the boundary of a line
			from = bytes.LastIndexByte(p[:from], '\n') + 1
			if end := bytes.IndexByte(p[to:n], '\n'); end >= 0 {
				to += end + 1
			}
		}
		n = from + copy(p[from:], p[to:n])
	}
	return n, err
}

// When ranges of bytes get lost on the way, a line is answered only if it has come whole and in its turn, and nothing after a gap
// is read. What is not sent has never been received; what has been written has been received once.
func TestLostRanges(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			odds := 1 + random.IntN(30)
			var received []string // by one request, which is waited for
			handled := make(chan struct{})
			url := testutil.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(handled)
				rc := http.NewResponseController(w)
				_ = rc.EnableFullDuplex()
				w.Header().Set("Content-Type", wire.NDJSON)
				_ = rc.Flush()
				in := bulk.NewInput(&loser{r.Body, rand.New(rand.NewPCG(seed, 2)), odds}, rc, bulk.InputConfig{Idle: time.Minute, Within: time.Minute})
				var running sync.WaitGroup
				running.Go(in.Run)
				defer func() {
					_ = rc.Flush()
					in.Stop()
					running.Wait()
					in.Linger(5*time.Second, 8<<20) // as a worker does
				}()
				lines := bulk.NewLines(in, 1<<20, true)
				var out []byte
				for {
					if !lines.Ready() {
						_, _ = w.Write(out)
						_ = rc.Flush()
						out = out[:0]
					}
					line, err := lines.Next()
					if err != nil {
						var why *bulk.Refusal
						if errors.Is(err, bulk.ErrDamaged) {
							why = &bulk.Refusal{Type: bulk.TypeDamaged}
						}
						_, _ = w.Write(bulk.AppendLast(out, lines.Count(), why))
						return
					}
					if len(line) == 0 {
						continue
					}
					p, err := bulk.Parse(line)
					if err != nil {
						t.Errorf("line %d: %v", lines.Count(), err)
						continue
					}
					received = append(received, string(p.Data))
					out = bulk.Key{Line: lines.Count(), Index: -1}.AppendWritten(out)
				}
			}))
			r := begin(t, client(t, nil), url, 1<<20)
			var sent []string
			var outcomes []sending
			for i := range 200 {
				text := fmt.Sprintf("%d %s", i, strings.Repeat("x", random.IntN(300)))
				b, n := line(t, 1, text)
				s := newSending()
				if err := r.Send(context.Background(), b, n, s.done); err == bulk.ErrEnded {
					break // a gap has been seen already
				} else if err != nil {
					t.Fatal(err)
				}
				sent, outcomes = append(sent, text), append(outcomes, s)
			}
			r.CloseSend()
			wait(t, r)
			<-handled
			written, lost := 0, false
			for i, s := range outcomes {
				o := s.wait(t)
				switch {
				case o.err == nil && o.answer.Status == 204 && written == i:
					written++
				case errors.Is(o.err, bulk.ErrLost): // the server's end can overtake the end of the answer: unknown is true as well
					lost = true
				case isNotSent(o) && i >= len(received):
				default:
					t.Errorf("seed %d: line %d of %d written: %v", seed, i, written, o)
				}
			}
			if written > len(received) || !slices.Equal(received[:written], sent[:written]) || !lost && written < len(received) {
				t.Errorf("seed %d: %d written, %d received", seed, written, len(received))
			}
			if written < len(sent) && !lost && !r.NeedsWhole() {
				t.Errorf("seed %d: a gap was not noticed", seed)
			}
		})
	}
}
