package sessionfile

import (
	"path/filepath"
	"runtime"
	"testing"
)

// One worker at a time has a session file.
func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sessions")
	l, err := TakeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" {
		if _, err := TakeLock(path); err != ErrLocked {
			t.Errorf("a second one: %v", err)
		}
	}
	l.Release()
	again, err := TakeLock(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
	if _, err := TakeLock(filepath.Join(path, "none", "sessions")); err == nil {
		t.Error("no directory is no error")
	}
}
