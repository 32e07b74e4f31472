package sessionfile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// magic begins every session file. A later form of it gets another number, if whoever knows only this one would make something wrong of it.
const magic = "wspush sessions 1\n"

// kind is what a record of the file is. In the file, it is followed by the size of the record, and the record.
type kind byte

const (
	startKind     kind = iota + 1 // the first one, once
	sharedKind                    // the data of a message, and nothing else
	sessionKind                   // after what is shared
	tombstoneKind                 // after the sessions
)

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

// Encode returns what Write would write.
func Encode(f *File) ([]byte, error) {
	var b bytes.Buffer
	err := encode(&b, f)
	return b.Bytes(), err
}

func encode(w io.Writer, f *File) error {
	hash := sha256.New()
	both := io.MultiWriter(w, hash)
	if _, err := io.WriteString(both, magic); err != nil {
		return err
	}
	e := encoder{to: both}
	e.write(startKind, func(form *form) { form.start(&f.Start) })
	for _, data := range f.Shared {
		e.write(sharedKind, func(form *form) { form.b = append(form.b, data...) })
	}
	for i := range f.Sessions {
		e.write(sessionKind, func(form *form) { form.session(&f.Sessions[i]) })
	}
	for i := range f.Tombstones {
		e.write(tombstoneKind, func(form *form) { form.tombstone(&f.Tombstones[i]) })
	}
	if e.err != nil {
		return e.err
	}
	_, err := w.Write(hash.Sum(nil))
	return err
}

// encoder writes records, until one fails.
type encoder struct {
	to   io.Writer
	room []byte // of the last record
	err  error
}

func (e *encoder) write(k kind, fields func(*form)) {
	if e.err != nil {
		return
	}
	f := form{b: e.room[:0]}
	if fields(&f); f.err != nil {
		e.err = f.err
		return
	}
	e.room = f.b
	head := binary.AppendUvarint([]byte{byte(k)}, uint64(len(f.b)))
	if _, e.err = e.to.Write(head); e.err == nil {
		_, e.err = e.to.Write(f.b)
	}
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
