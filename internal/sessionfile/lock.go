package sessionfile

import (
	"errors"
	"os"
)

// ErrLocked refuses a session file that another worker uses.
var ErrLocked = errors.New("another worker uses it, and must have ended first")

// A Lock is the right to a session file, which one worker at a time has. It ends with the process, however that ends.
type Lock struct{ file *os.File }

// lockSuffix is of the file that is locked. It stays: whoever removed it could lock another one than those who have it open.
const lockSuffix = ".lock"

// TakeLock locks the session file at path, which need not be there. The error is ErrLocked if somebody else has. Where the system knows no locks
// that end with the process, everybody gets one.
func TakeLock(path string) (*Lock, error) {
	file, err := os.OpenFile(path+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(file); err != nil {
		file.Close()
		return nil, err
	}
	return &Lock{file}, nil
}

// Release ends the lock. Nil is none.
func (l *Lock) Release() {
	if l != nil {
		_ = l.file.Close()
	}
}
