package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The last note of a process that was killed may be torn, and costs no other.
func TestReadNotes(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notes")
	text := `{"ID":"a","User":"u1","Groups":["g1"]}` + "\n" + `{"ID":"a","Cause":"away","Unconfirmed":[{"To":"a","Seq":3,"Written":true}]}` + "\n" + `{"ID":"b","Us`
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w := sessionWorkers{notes: []string{name, name + "missing"}}
	faults := 0
	all := w.read(func(string, ...any) { faults++ })
	if len(all) != 2 || len(all[0]) != 2 || len(all[1]) != 0 || faults != 1 {
		t.Fatalf("%+v, %d faults", all, faults)
	}
	if n := all[0][1]; n.ID != "a" || n.Cause != "away" || len(n.Unconfirmed) != 1 || n.Unconfirmed[0].Seq != 3 || !n.Unconfirmed[0].Written {
		t.Errorf("%+v", n)
	}
}
