// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// file is the present file of a log, and rotates it. Lines are in it whole and on disk, or not at all.
//
// It does its own rotation: the usual library, lumberjack, keeps its file to itself, so that neither it nor the folder can be
// flushed before going on; it names rotated files by the clock, so that a clock set back puts them out of order and two
// rotations within a millisecond overwrite one another; and it makes a new file, silently, when the present one cannot be opened.
type file struct {
	path       string
	maxSize    int64
	maxBackups int
	// sync flushes a file to disk.
	sync func(*os.File) error

	lock *os.File
	f    *os.File
	// size is how many bytes of the file are whole lines on disk.
	size int64
	// remains is how many bytes a failed write may have left behind size.
	remains int64
	// rotated: the present file was rotated away, and the next is not made yet.
	rotated bool
}

// openFile locks the log's file and opens it. The end of its chain is nil when there is no record yet; torn are the bytes of an
// unfinished line that it removed from the end of the file.
func openFile(s *file) (end *v1alpha1.AuditAnchor, torn []byte, err error) {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return nil, nil, err
	}
	if s.lock, err = os.OpenFile(s.path+lockSuffix, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, nil, err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s is being written by another process; give each operator a file of its own", s.path), s.close())
	}
	if end, torn, err = s.resume(); err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	return end, torn, nil
}

// lockSuffix makes the name of the file that a log's only writer keeps locked.
const lockSuffix = ".lock"

// resume opens the present file and looks for the end of the chain: in it, or in the youngest file that was rotated away.
func (s *file) resume() (*v1alpha1.AuditAnchor, []byte, error) {
	if err := s.open(); err != nil {
		return nil, nil, err
	}
	end, whole, torn, err := readEnd(s.f)
	if err != nil {
		return nil, nil, err
	}
	s.size, s.remains = whole, int64(len(torn))
	if err := s.clean(); err != nil {
		return nil, nil, err
	}
	if end != nil {
		return end, torn, nil
	}
	backups, err := s.backups()
	if err != nil || len(backups) == 0 {
		return nil, torn, err
	}
	last, err := os.Open(backups[len(backups)-1])
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = last.Close() }()
	end, _, cut, err := readEnd(last)
	if err == nil && (end == nil || len(cut) > 0) {
		err = unreadable(last.Name(), errors.New("it does not end with a record"))
	}
	return end, torn, err
}

// open opens the present file, and makes it if there is none.
func (s *file) open() (err error) {
	if s.f, err = os.OpenFile(s.path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		s.f = nil
		return err
	}
	if err := s.syncFolder(); err != nil {
		return s.abandon(err) // nothing is acknowledged under a name that is not on disk
	}
	return nil
}

// syncFolder makes the file's name outlive a power failure.
func (s *file) syncFolder() error {
	folder, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	return s.sync(folder)
}

// readEnd reads a file's last record, nil if there is none. whole is the length of all whole lines, torn what stands behind.
func readEnd(f *os.File) (end *v1alpha1.AuditAnchor, whole int64, torn []byte, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, nil, err
	}
	// The last whole line and the torn one behind it are in there: no line is longer than maxLine.
	content := make([]byte, min(info.Size(), 2*maxLine))
	start := info.Size() - int64(len(content))
	if _, err := f.ReadAt(content, start); err != nil {
		return nil, 0, nil, err
	}
	length := bytes.LastIndexByte(content, '\n') + 1
	content, torn = content[:length], content[length:]
	switch {
	case len(torn) >= maxLine:
		return nil, 0, nil, unreadable(f.Name(), errors.New("its last line is longer than any record"))
	case length == 0:
		return nil, 0, torn, nil
	}
	last := content[:length-1]
	record, err := unseal(last[bytes.LastIndexByte(last, '\n')+1:])
	if err != nil {
		return nil, 0, nil, unreadable(f.Name(), err)
	}
	anchor := record.anchor()
	return &anchor, start + int64(length), torn, nil
}

func unreadable(name string, cause error) error {
	return fmt.Errorf("the end of %s cannot be relied on: %w; move the file away, and find out who could write it", name, cause)
}

// ready makes sure that the present file is the one that was last written, and as it was left. If somebody removed, emptied or
// replaced it and the chain can go on, happened says what they did.
func (s *file) ready(end v1alpha1.AuditAnchor) (happened string, err error) {
	if err := s.clean(); err != nil {
		return "", err
	}
	if same, err := s.inPlace(s.size); same || err != nil {
		return "", err
	}
	if s.f != nil {
		_ = s.f.Close() // every line in it was flushed as it was written
		s.f = nil
	}
	if err := s.open(); err != nil {
		return "", err
	}
	last, whole, torn, err := readEnd(s.f)
	if err != nil {
		return "", s.abandon(err)
	}
	switch {
	case len(torn) > 0 || (last != nil && *last != end):
		return "", s.abandon(unreadable(s.path, fmt.Errorf("somebody else wrote to it, or replaced it: its last record is not number %d, the last that was written", end.Seq)))
	case last != nil:
		happened = fmt.Sprintf("the file was replaced by another that ends with the same record %d", end.Seq)
	case !s.rotated && end.Seq > 0:
		happened = fmt.Sprintf("the file was removed, moved away or emptied by somebody else; the last record before that is number %d", end.Seq)
	}
	s.size, s.rotated = whole, false
	return happened, nil
}

// abandon lets the next attempt look at the file anew.
func (s *file) abandon(cause error) error {
	err := s.f.Close()
	s.f = nil
	return errors.Join(cause, err)
}

// inPlace: the file under the log's name is the one that is open, and of this size.
func (s *file) inPlace(size int64) (bool, error) {
	if s.f == nil {
		return false, nil
	}
	named, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := s.f.Stat()
	return err == nil && os.SameFile(named, open) && open.Size() == size, err
}

// clean removes what a failed write left behind, so that the file has whole lines only. What somebody else wrote stays.
func (s *file) clean() error {
	if s.remains == 0 {
		return nil
	}
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > s.size && info.Size() <= s.size+s.remains {
		if err := s.f.Truncate(s.size); err != nil {
			return err
		}
	}
	if err := s.sync(s.f); err != nil {
		return err
	}
	s.remains = 0
	return nil
}

// store writes the lines behind record number last, in one piece, and returns when they are on disk under the log's name. After
// an error none of them is in the log; if they could not be removed at once, the next call of ready does it.
func (s *file) store(lines []byte, last int64) error {
	if s.size > 0 && s.size+int64(len(lines)) > s.maxSize {
		if err := s.rotate(last); err != nil {
			return err
		}
	}
	s.remains = int64(len(lines))
	_, err := s.f.Write(lines)
	if err == nil {
		err = s.sync(s.f)
	}
	if err == nil {
		var same bool
		if same, err = s.inPlace(s.size + int64(len(lines))); err == nil && !same {
			err = errors.New("somebody else removed, replaced or changed the file while it was written")
		}
	}
	if err != nil {
		return errors.Join(err, s.clean())
	}
	s.size, s.remains = s.size+int64(len(lines)), 0
	return nil
}

// rotate gives the present file a name that carries the number of its last record, and begins the next.
func (s *file) rotate(last int64) error {
	name := s.backup(last)
	if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s is in the way of rotation; move it away", name), err)
	}
	if err := os.Rename(s.path, name); err != nil {
		return err
	}
	s.rotated, s.size = true, 0
	if err := s.abandon(nil); err != nil {
		return err
	}
	if err := s.open(); err != nil {
		return err
	}
	s.rotated = false
	return s.prune()
}

// prune removes the oldest files beyond those that are to be kept.
func (s *file) prune() error {
	backups, err := s.backups()
	if err != nil || s.maxBackups == 0 || len(backups) <= s.maxBackups {
		return err
	}
	for _, name := range backups[:len(backups)-s.maxBackups] {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	return s.syncFolder()
}

func (s *file) backup(last int64) string {
	extension := filepath.Ext(s.path)
	return fmt.Sprintf("%s-%012d%s", strings.TrimSuffix(s.path, extension), last, extension)
}

// backups are the files that were rotated away, in the order of their records.
func (s *file) backups() ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(s.path))
	if err != nil {
		return nil, err
	}
	var numbers []int64
	extension := filepath.Ext(s.path)
	prefix := strings.TrimSuffix(filepath.Base(s.path), extension) + "-"
	for _, e := range entries {
		digits := strings.TrimSuffix(strings.TrimPrefix(e.Name(), prefix), extension)
		last, err := strconv.ParseInt(digits, 10, 64)
		if err == nil && e.Name() == filepath.Base(s.backup(last)) {
			numbers = append(numbers, last)
		}
	}
	slices.Sort(numbers)
	names := make([]string, 0, len(numbers))
	for _, last := range numbers {
		names = append(names, s.backup(last))
	}
	return names, nil
}

// close closes the file and lets another process have the log.
func (s *file) close() error {
	var err error
	if s.f != nil {
		err = s.f.Close()
	}
	return errors.Join(err, s.lock.Close())
}
