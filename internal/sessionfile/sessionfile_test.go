package sessionfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// example has something in every field.
func example() *File {
	now := time.Unix(1e9, 5)
	return &File{
		Start:  Start{Port: 48775, Instance: 1 << 63, TicketKey: []byte("key")},
		Shared: [][]byte{[]byte("shared"), nil, []byte("by several")},
		Sessions: []Session{{
			ID: "id", Handler: "handler", Path: "/ws", Tickets: [][16]byte{{1}, {2}}, User: "ann", Groups: []string{"a", "b"}, Value: []byte("v"), HasValue: true,
			RemoteAddr: "1", UserAgent: "2", Protocol: "3", ConnectedAt: now, LastActive: now.Add(1), RoundTrip: 2,
			Window: 3, Remaining: 4, MaxUnconfirmed: 5, Lost: Lost{"lost", 1006, "reason", "error"}, Released: 6, Confirmed: 7, Begun: 8,
			Messages: []Message{
				{Binary: true, Written: true, Data: []byte("\x00\xff"), Mark: 1<<64 - 1}, {Shared: 1, Waits: true}, {Shared: 3, Confirm: true},
				{Shared: 2, Hasty: true}, {Patient: true},
			},
			Moves: 9, Earlier: []Owner{{"a", 1 << 63}, {"b", 0}}, Marks: []uint64{1, 1 << 63},
		}, {ID: "another"}},
		Tombstones: []Tombstone{{ID: "id", Handler: "h", Path: "/p", Tickets: [][16]byte{{3}}, Expired: true, Code: 4000, Reason: "r", Remaining: 9}},
	}
}

// filled is example with the data of its shared messages.
func filled() *File {
	f := example()
	for i := range f.Sessions[0].Messages {
		if m := &f.Sessions[0].Messages[i]; m.Shared > 0 {
			m.Data = f.Shared[m.Shared-1]
		}
	}
	return f
}

// What is written is read, only its owner may read it, and nothing else is left behind.
func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sessions")
	if err := os.WriteFile(path+tempSuffix, []byte("of a write that was cut off"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err != nil {
		t.Fatal(err)
	}
	only(t, dir)
	if _, err := Read(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before: %v", err)
	}
	if err := Write(path, example()); err != nil {
		t.Fatal(err)
	}
	only(t, dir, "sessions")
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	f, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filled(); !reflect.DeepEqual(f, want) {
		t.Errorf("\n%+v\n%+v", f, want)
	}
	if m := f.Sessions[0].Messages; &m[1].Data[0] != &f.Shared[0][0] {
		t.Error("data that is shared is there twice")
	}
	if err := Write(path, new(File)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another file in its place: %v", err)
	}
	if err := Check(path); err != nil {
		t.Errorf("with a file that is there: %v", err)
	}
	if again, err := Read(path); err != nil || !reflect.DeepEqual(f, again) {
		t.Errorf("read again: %v", err)
	}
	only(t, dir, "sessions")
	if err := Remove(path); err != nil {
		t.Fatal(err)
	}
	only(t, dir)
}

// only ends the test unless these are the files in the directory.
func only(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !reflect.DeepEqual(got, names) {
		t.Fatalf("there are %q", got)
	}
}

// A file that cannot be written is an error at once.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{
		"no directory":                 filepath.Join(dir, "none", "sessions"),
		"a directory in its place":     filepath.Join(dir, "dir"),
		"one that cannot be replaced":  filepath.Join(dir, "full"),
		"a name that is far too long ": filepath.Join(dir, strings.Repeat("x", 300)),
	} {
		if strings.HasSuffix(path, "full") {
			if err := os.MkdirAll(filepath.Join(path+tempSuffix, "x"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasSuffix(path, "dir") {
			if err := os.Mkdir(path, 0o700); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "regular") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err := Check(path); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

// What is no file of its own is not waited for, and not followed.
func TestReadOther(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("not every user can make a symbolic link")
	}
	dir := t.TempDir()
	target, path := filepath.Join(dir, "target"), filepath.Join(dir, "sessions")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a link to nothing", "a link to a session file"} {
		if _, err := Read(path); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "regular") {
			t.Errorf("%s: %v", name, err)
		}
		if err := Write(target, example()); err != nil && name == "a link to nothing" {
			t.Fatal(err)
		}
	}
}

// Whatever has been cut off or changed is damaged, wherever that is.
func TestDamaged(t *testing.T) {
	var whole bytes.Buffer
	if err := encode(&whole, example()); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		cut := whole.Bytes()[:n]
		if _, err := decode(bytes.NewReader(cut), int64(n)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		changed := bytes.Clone(whole.Bytes())
		changed[n] ^= 0x10
		if _, err := decode(bytes.NewReader(changed), int64(len(changed))); err == nil {
			t.Fatalf("changed at %d: no error", n)
		}
	}
	longer := append(whole.Bytes(), 0)
	if _, err := decode(bytes.NewReader(longer), int64(len(longer))); !errors.Is(err, ErrDamaged) {
		t.Errorf("with a byte more: %v", err)
	}
	other := signed([]byte(strings.Replace(magic, "1", "2", 1) + "whatever"))
	if _, err := decode(bytes.NewReader(other), int64(len(other))); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "version") {
		t.Errorf("of another version: %v", err)
	}
}

func signed(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// What cannot be is an error even if the file is whole.
func TestImpossible(t *testing.T) {
	for name, change := range map[string]func(*Session){
		"more begun than there are":      func(s *Session) { s.Begun = s.Released + 6 },
		"more confirmed than begun":      func(s *Session) { s.Confirmed = 9 },
		"more released than confirmed":   func(s *Session) { s.Released = 8 },
		"numbers that run over":          func(s *Session) { s.Released, s.Confirmed, s.Begun = 1<<63, 1<<63, 1<<63 },
		"a message like none":            func(s *Session) { s.Messages[0].Shared = 4 },
		"a message like one before them": func(s *Session) { s.Messages[0].Shared = -1 },
	} {
		f := example()
		change(&f.Sessions[0])
		var b bytes.Buffer
		if err := encode(&b, f); err != nil {
			t.Fatal(err)
		}
		if _, err := decode(bytes.NewReader(b.Bytes()), int64(b.Len())); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, empty := range []string{magic, ""} {
		b := signed([]byte(empty))
		if _, err := decode(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

// No file makes reading panic or take much more than the file has.
func FuzzDecode(f *testing.F) {
	var whole bytes.Buffer
	if err := encode(&whole, example()); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimPrefix(whole.Bytes()[:whole.Len()-sha256.Size], []byte(magic)))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, records []byte) {
		b := signed(append([]byte(magic), records...))
		file, err := decode(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Error(err)
			}
			return
		}
		var again bytes.Buffer
		if err := encode(&again, file); err != nil {
			t.Error(err)
		}
	})
}
