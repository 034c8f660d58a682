// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Options of a log.
type Options struct {
	// Path of the file. Its folder is made if it is missing. Required.
	Path string
	// Stdout gets every line too.
	Stdout io.Writer
	// MaxSizeMB is the size, in MiB, at which the file is rotated.
	MaxSizeMB int
	// MaxBackups is how many rotated files are kept; 0 keeps all.
	MaxBackups int
	// Clock stamps the records.
	Clock clock.PassiveClock
}

// Log appends records. It is safe for concurrent use.
type Log struct {
	options Options
	lock    *os.File
	file    *lumberjack.Logger

	mu      sync.Mutex
	pending []*entry
	writing bool
	failure error

	// What follows is used only by whoever is writing.
	writer string
	seq    int64
	prev   string
	size   int64
}

// entry is a record on its way.
type entry struct {
	record Record
	anchor v1alpha1.AuditAnchor
	err    error
	done   chan struct{}
}

// Open opens the log and goes on with its chain. Only one process can hold it open.
func Open(o Options) (*Log, error) {
	if err := os.MkdirAll(filepath.Dir(o.Path), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(o.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is being written by another process; give each operator a file of its own", o.Path), lock.Close())
	}
	l := &Log{options: o, lock: lock, writer: uuid.NewString(), prev: origin,
		file: &lumberjack.Logger{Filename: o.Path, MaxSize: o.MaxSizeMB, MaxBackups: o.MaxBackups}}
	torn, err := l.resume()
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if torn > 0 {
		_, err = l.Append(context.Background(), Record{Event: EventRecovered, Reason: fmt.Sprintf("%d bytes of a line that was cut short were removed", torn)})
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// resume finds the end of the chain, and removes a line that a crash cut short: nobody was told that it was written.
func (l *Log) resume() (torn int, err error) {
	content, err := os.ReadFile(l.options.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	whole := bytes.LastIndexByte(content, '\n') + 1
	torn = len(content) - whole
	if torn > 0 {
		if err := os.Truncate(l.options.Path, int64(whole)); err != nil {
			return 0, err
		}
	}
	l.size = int64(whole)
	if whole > 0 {
		return torn, l.follow(content[:whole])
	}
	backups, err := filepath.Glob(backupPattern(l.options.Path))
	if err != nil || len(backups) == 0 {
		return torn, err
	}
	// Their names carry the time of rotation: the last in order is the youngest.
	content, err = os.ReadFile(backups[len(backups)-1])
	if err != nil {
		return 0, err
	}
	return torn, l.follow(content)
}

// backupPattern matches what the rotation makes of a file's name.
func backupPattern(path string) string {
	extension := filepath.Ext(path)
	return path[:len(path)-len(extension)] + "-*" + extension
}

// follow takes the chain up behind the last line.
func (l *Log) follow(content []byte) error {
	content = bytes.TrimRight(content, "\n")
	last := content[bytes.LastIndexByte(content, '\n')+1:]
	var r Record
	if err := json.Unmarshal(last, &r); err != nil || r.Writer == "" || r.Hash == "" {
		return fmt.Errorf("the last line of the audit log is no record; move the file away, and look into how that came about")
	}
	l.writer, l.seq, l.prev = r.Writer, r.Seq, r.Hash
	return nil
}

// Append writes one record and returns its anchor when the record is on disk. An error means that it is not, or may not be:
// what it tells of must not become usable. Records that come at the same time share one fsync.
func (l *Log) Append(_ context.Context, r Record) (v1alpha1.AuditAnchor, error) {
	e := &entry{record: r, done: make(chan struct{})}
	l.mu.Lock()
	l.pending = append(l.pending, e)
	if !l.writing {
		l.writing = true
		for len(l.pending) > 0 {
			batch := l.pending
			l.pending = nil
			l.mu.Unlock()
			err := l.commit(batch)
			l.mu.Lock()
			l.failure = err
		}
		l.writing = false
	}
	l.mu.Unlock()
	<-e.done
	return e.anchor, e.err
}

// Healthy is the last failure; nil once a record could be written again.
func (l *Log) Healthy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// Close closes the file and lets another process have it.
func (l *Log) Close() error { return errors.Join(l.file.Close(), l.lock.Close()) }

// commit writes a batch and tells everybody in it.
func (l *Log) commit(batch []*entry) error {
	seq, prev := l.seq, l.prev
	lines, err := l.seal(batch)
	if err == nil {
		err = l.store(lines)
	}
	if err != nil {
		l.seq, l.prev = seq, prev
		err = fmt.Errorf("writing %s: %w", l.options.Path, err)
	} else if l.options.Stdout != nil {
		_, err = l.options.Stdout.Write(lines)
	}
	for _, e := range batch {
		e.err = err
		close(e.done)
	}
	return err
}

func (l *Log) seal(batch []*entry) ([]byte, error) {
	var lines bytes.Buffer
	stamp := l.options.Clock.Now().UTC().Format(time.RFC3339Nano)
	for _, e := range batch {
		l.seq++
		r := &e.record
		r.Timestamp, r.Writer, r.Seq, r.Prev = stamp, l.writer, l.seq, l.prev
		if r.Scope == nil {
			r.Scope = []string{}
		}
		line, err := r.seal()
		if err != nil {
			return nil, err
		}
		l.prev = r.Hash
		e.anchor = v1alpha1.AuditAnchor{Writer: r.Writer, Seq: r.Seq, Hash: r.Hash}
		lines.Write(line)
		lines.WriteByte('\n')
	}
	return lines.Bytes(), nil
}

// store writes the lines in one piece, so that a rotation never parts them, and returns when they are on disk under the log's
// name. A file that was removed or replaced under the log is an error; the next write makes a new one, and the chain goes on.
func (l *Log) store(lines []byte) error {
	if _, err := l.file.Write(lines); err != nil {
		return errors.Join(err, l.undo())
	}
	size, err := l.sync()
	switch {
	case err != nil:
		return errors.Join(err, l.undo())
	case size != l.size+int64(len(lines)) && size != int64(len(lines)):
		return errors.Join(errors.New("the file was changed by somebody else"), l.undo())
	}
	l.size = size
	return nil
}

// sync flushes the file behind the log's name, whoever opened it, and tells its size.
func (l *Log) sync() (int64, error) {
	f, err := os.OpenFile(l.options.Path, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	if err := f.Sync(); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// undo takes half a line away again, and lets the next write open the file anew.
func (l *Log) undo() error {
	closing := l.file.Close()
	info, err := os.Stat(l.options.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		l.size = 0
		return closing
	case err != nil:
		return err
	case info.Size() > l.size:
		return errors.Join(closing, os.Truncate(l.options.Path, l.size))
	default:
		l.size = info.Size()
		return closing
	}
}
