package sessionfile

import (
	"bufio"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// magic begins every session file. A later form of it gets another number.
const magic = "wspush sessions 1\n"

// A record is one piece of the file. Exactly one field is set.
type record struct {
	Start     *Start
	Shared    []byte
	Session   *Session
	Tombstone *Tombstone
}

// Check reports whether a session file could be written at path, as far as that can be known before there is one to write. It removes what a
// Write that was cut off has left.
func Check(path string) error {
	if err := remove(path + tempSuffix); err != nil {
		return err
	}
	return write(path+checkSuffix, func(io.Writer) error { return nil }, true)
}

// Write writes f to path, which only its owner may read. There is all of it or nothing: whoever opens the file in between finds none. The
// error says fs.ErrExist if there is a file already, which stays as it is: it is that of another worker, whose sessions nobody has taken yet.
func Write(path string, f *File) error {
	return write(path, func(w io.Writer) error { return encode(w, f) }, false)
}

const (
	tempSuffix  = ".tmp"   // of the file while it is written
	checkSuffix = ".check" // of the file that Check writes
)

// write has a file written under another name, and then gives it its own. If trial is set, it removes it again.
func write(path string, content func(io.Writer) error, trial bool) (err error) {
	temp := path + tempSuffix
	if err := remove(temp); err != nil {
		return err
	}
	// O_EXCL: whoever else can write to the directory must not choose what is written to, or who may read it.
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove(temp)) }()
	if err := fill(file, content); err != nil {
		file.Close()
		return fmt.Errorf("%s: %w", temp, err)
	}
	if err := file.Close(); err != nil {
		return err
	}
	if trial {
		if err := remove(path); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, remove(path)) }()
	}
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.close()
	if err := os.Link(temp, path); err != nil { // unlike a rename, it never replaces a file
		return err
	}
	if err := dir.sync(); err != nil {
		return errors.Join(err, remove(path)) // whoever is told that it is not written deals with what is in it
	}
	return nil
}

// fill writes the content and has the system write it to the disk.
func fill(file *os.File, content func(io.Writer) error) error {
	buffered := bufio.NewWriterSize(file, 1<<16)
	if err := content(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return file.Sync()
}

func encode(w io.Writer, f *File) error {
	hash := sha256.New()
	both := io.MultiWriter(w, hash)
	if _, err := io.WriteString(both, magic); err != nil {
		return err
	}
	e := gob.NewEncoder(both)
	if err := e.Encode(record{Start: &f.Start}); err != nil {
		return err
	}
	for _, data := range f.Shared {
		if err := e.Encode(record{Shared: data}); err != nil {
			return err
		}
	}
	for i := range f.Sessions {
		if err := e.Encode(record{Session: &f.Sessions[i]}); err != nil {
			return err
		}
	}
	for i := range f.Tombstones {
		if err := e.Encode(record{Tombstone: &f.Tombstones[i]}); err != nil {
			return err
		}
	}
	_, err := w.Write(hash.Sum(nil))
	return err
}

// Remove removes the file, for good as far as the system can tell.
func Remove(path string) error {
	dir, err := openDir(path) // while the file is still there: without a descriptor, it stays
	if err != nil {
		return err
	}
	defer dir.close()
	if err := os.Remove(path); err != nil {
		return err
	}
	return dir.sync()
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// A directory is that of a file which is to come or to go.
type directory struct{ file *os.File } // nil on Windows

// openDir opens the directory of a file, before anything changes in it.
func openDir(path string) (directory, error) {
	if runtime.GOOS == "windows" {
		return directory{}, nil // which cannot sync one
	}
	file, err := os.Open(filepath.Dir(path))
	return directory{file}, err
}

// sync has the system write to the disk what has come or gone.
func (d directory) sync() error {
	if d.file == nil {
		return nil
	}
	return d.file.Sync()
}

func (d directory) close() {
	if d.file != nil {
		_ = d.file.Close()
	}
}
