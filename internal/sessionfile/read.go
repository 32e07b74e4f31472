package sessionfile

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrDamaged says that a file is not a session file, or not all of one.
var ErrDamaged = errors.New("it is damaged: it is not what a worker has written")

// ErrVersion says that a file was written by another version of this package, in another form.
var ErrVersion = errors.New("it was written by another version of wspush")

// Read reads the file at path. The error is fs.ErrNotExist if there is none, and ErrDamaged or ErrVersion if nobody can read it.
func Read(path string) (*File, error) {
	// Before it is opened, which for a pipe would wait for a writer. A symbolic link is not followed: Remove would leave what it leads to, and
	// Write could not replace it.
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if info, err = file.Stat(); err != nil {
		return nil, err
	}
	f, err := decode(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// Decode reads what Encode has returned. The errors are those of Read.
func Decode(b []byte) (*File, error) { return decode(bytes.NewReader(b), int64(len(b))) }

// decode reads a file of so many bytes. Nothing of it is believed before all of it has proved to be whole.
func decode(file io.ReadSeeker, size int64) (*File, error) {
	body := size - sha256.Size
	if body < int64(len(magic)) {
		return nil, ErrDamaged
	}
	hash := sha256.New()
	if _, err := io.CopyN(hash, file, body); err != nil {
		return nil, err
	}
	sum := make([]byte, sha256.Size)
	if _, err := io.ReadFull(file, sum); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(io.LimitReader(file, body), int(min(body, 1<<16)))
	first := make([]byte, len(magic))
	if _, err := io.ReadFull(r, first); err != nil {
		return nil, err
	}
	if name, _, _ := strings.Cut(magic, "1"); string(first) != magic && strings.HasPrefix(string(first), name) {
		return nil, ErrVersion
	}
	if string(first) != magic || subtle.ConstantTimeCompare(sum, hash.Sum(nil)) == 0 {
		return nil, ErrDamaged
	}
	f, err := decodeRecords(r, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return f, nil
}

// decodeRecords reads the records of a file that has so many bytes.
func decodeRecords(r *bufio.Reader, size int64) (*File, error) {
	f := new(File)
	var room []byte
	for started := false; ; {
		k, err := r.ReadByte()
		switch {
		case err == io.EOF && started:
			return f, nil
		case err == io.EOF:
			return nil, errors.New("it is empty")
		case err != nil:
			return nil, err
		}
		n, err := binary.ReadUvarint(r)
		if err != nil || n > uint64(size) {
			return nil, errForm
		}
		if uint64(cap(room)) < n {
			room = make([]byte, n)
		}
		if _, err := io.ReadFull(r, room[:n]); err != nil {
			return nil, err
		}
		if started != (kind(k) != startKind) {
			return nil, errForm
		}
		started = true
		if err := f.read(kind(k), &form{b: room[:n], isReading: true}); err != nil {
			return nil, err
		}
	}
}

// read adds what is in a record.
func (f *File) read(k kind, from *form) error {
	switch k {
	case startKind:
		from.start(&f.Start)
	case sharedKind:
		f.Shared = append(f.Shared, append([]byte(nil), from.b...))
	case sessionKind:
		var s Session
		if from.session(&s); from.err != nil {
			return from.err
		}
		if err := f.check(&s); err != nil {
			return err
		}
		f.Sessions = append(f.Sessions, s)
	case tombstoneKind:
		var t Tombstone
		from.tombstone(&t)
		f.Tombstones = append(f.Tombstones, t)
	default:
		return errForm
	}
	return from.err
}

// maxNumber is a number that no message gets, and beyond which numbers must not run over.
const maxNumber = 1 << 62

// check gives the messages of a session their data, and reports whether the session can be.
func (f *File) check(s *Session) error {
	if s.Released > s.Confirmed || s.Confirmed > s.Begun || s.Begun-s.Released > uint64(len(s.Messages)) || s.Begun > maxNumber {
		return fmt.Errorf("the session has %d messages, of which %d, %d and %d are said to be released, confirmed and begun",
			len(s.Messages), s.Released, s.Confirmed, s.Begun)
	}
	for i := range s.Messages {
		m := &s.Messages[i]
		switch {
		case m.Shared < 0 || m.Shared > len(f.Shared):
			return fmt.Errorf("a message is said to be like the %dth of %d", m.Shared, len(f.Shared))
		case m.Shared > 0:
			m.Data = f.Shared[m.Shared-1]
		}
	}
	return nil
}
