// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Options of a log.
type Options struct {
	// Path of the file. Its folder is made if it is missing. Required.
	Path string
	// Stdout gets every line too, after it is on disk. Nil means nowhere.
	Stdout io.Writer
	// MaxSizeMB is the size, in MiB, at which the file is rotated; 0 means 100.
	MaxSizeMB int
	// MaxBackups is how many rotated files are kept; 0 keeps all.
	MaxBackups int
	// Clock stamps the records. Required.
	Clock clock.PassiveClock
}

// ErrClosed is what Append returns after Close.
var ErrClosed = errors.New("the audit log is closed")

// maxBatch is how many records share one write and one flush at most.
const maxBatch = 64

// Log appends records. It is safe for concurrent use.
type Log struct {
	clock  clock.PassiveClock
	stdout io.Writer
	wake   chan struct{}
	done   chan struct{}

	mu      sync.Mutex
	pending []*entry
	closed  bool
	failure error
	// since is when the present commit began; zero while there is none.
	since time.Time

	// What follows belongs to whoever commits: Open, and then one goroutine.
	file *file
	end  v1alpha1.AuditAnchor
	// events of the log itself, to be recorded before anything else.
	events []string
}

// entry is a record on its way. A nil entry only finds out whether the log can be written.
type entry struct {
	record Record
	anchor v1alpha1.AuditAnchor
	err    error
	done   chan struct{}
}

// Open opens the log and goes on with its chain. Only one process can hold it open. If a crash left part of a line at the end of
// the file, it is removed, and a record says so.
func Open(o Options) (*Log, error) {
	if o.MaxSizeMB == 0 {
		o.MaxSizeMB = 100
	}
	return open(o, &file{path: o.Path, maxSize: int64(o.MaxSizeMB) << 20, maxBackups: o.MaxBackups, sync: (*os.File).Sync})
}

func open(o Options, f *file) (*Log, error) {
	end, torn, err := openFile(f)
	if err != nil {
		return nil, err
	}
	l := &Log{clock: o.Clock, stdout: o.Stdout, wake: make(chan struct{}, 1), done: make(chan struct{}), file: f}
	if end == nil {
		end = &v1alpha1.AuditAnchor{Writer: uuid.NewString(), Hash: origin}
	}
	l.end = *end
	if len(torn) > 0 {
		l.events = append(l.events, describeTorn(torn))
		l.commit(nil)
	}
	if err := l.Healthy(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	go l.run()
	return l, nil
}

// describeTorn says what was removed from the end of the file, so that whoever suspects more than a crash has something to go by.
func describeTorn(torn []byte) string {
	const start = `{"timestamp":"`
	looks := "they are the beginning of a record, as a crash leaves it"
	if n := min(len(start), len(torn)); string(torn[:n]) != start[:n] {
		looks = "they are not the beginning of a record: a power failure can leave such bytes, and so can an editor"
	}
	return fmt.Sprintf("%d bytes of an unfinished line were removed from the end of the file; %s; their SHA-256 is %x", len(torn), looks, sha256.Sum256(torn))
}

// Append writes one record. It returns the record's anchor when the record is on disk, in order, and printed. An error means that
// it is not, or may not be: what it tells of must not become usable. Records that come at the same time share one flush. When
// ctx is done first, the record may be written all the same.
func (l *Log) Append(ctx context.Context, r Record) (v1alpha1.AuditAnchor, error) {
	if err := ctx.Err(); err != nil {
		return v1alpha1.AuditAnchor{}, err
	}
	e := &entry{record: r, done: make(chan struct{})}
	if !l.enqueue(e) {
		return v1alpha1.AuditAnchor{}, ErrClosed
	}
	select {
	case <-e.done:
		return e.anchor, e.err
	case <-ctx.Done():
		return v1alpha1.AuditAnchor{}, fmt.Errorf("waiting for the audit log: %w", ctx.Err())
	}
}

func (l *Log) enqueue(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if e != nil {
		l.pending = append(l.pending, e)
	}
	select {
	case l.wake <- struct{}{}:
	default: // the goroutine is awake already, or about to be
	}
	return true
}

// hangs is how long a flush may take until the log is unhealthy: a disk or a server that does not answer fails nothing.
const hangs = 10 * time.Second

// Healthy is the last failure; nil if the log could be written, or was not tried. A flush that does not return is a
// failure, too. After one each call has the log tried again without waiting for it, so that a log that can be written
// again is found healthy soon, even if nobody has anything to record.
func (l *Log) Healthy() error {
	l.mu.Lock()
	failure, since := l.failure, l.since
	l.mu.Unlock()
	if took := l.clock.Now().Sub(since); !since.IsZero() && took > hangs {
		return fmt.Errorf("writing the audit log %s: the disk has not answered for %s", l.file.path, took.Round(time.Second))
	}
	if failure != nil {
		l.enqueue(nil)
	}
	return failure
}

// Close writes what is on its way, closes the file and lets another process have it.
func (l *Log) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	if first {
		close(l.wake)
	}
	l.mu.Unlock()
	<-l.done
	if !first {
		return nil
	}
	return l.file.close()
}

// run commits what is pending until the log is closed.
func (l *Log) run() {
	defer close(l.done)
	for range l.wake {
		l.commit(l.take())
		for batch := l.take(); len(batch) > 0; batch = l.take() {
			l.commit(batch)
		}
	}
}

func (l *Log) take() []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := min(len(l.pending), maxBatch)
	batch := l.pending[:n:n]
	l.pending = l.pending[n:]
	return batch
}

// commit stores a batch, prints it, and tells everybody in it.
func (l *Log) commit(batch []*entry) {
	l.begins(l.clock.Now())
	err := l.store(batch)
	l.begins(time.Time{})
	if err != nil {
		err = fmt.Errorf("writing the audit log %s: %w", l.file.path, err)
		if len(l.events) == 0 { // the first failure since something was stored is the one that says most
			l.events = append(l.events, fmt.Sprintf("from %s on, records could not be written: %v", l.now(), err))
		}
	}
	l.mu.Lock()
	l.failure = err
	l.mu.Unlock()
	for _, e := range batch {
		if err != nil {
			e.anchor, e.err = v1alpha1.AuditAnchor{}, err
		}
		close(e.done)
	}
}

func (l *Log) begins(at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.since = at
}

func (l *Log) store(batch []*entry) error {
	happened, err := l.file.ready(l.end)
	if err != nil {
		return err
	}
	if happened != "" {
		l.events = append(l.events, happened)
	}
	lines, end := l.seal(batch)
	if len(lines) == 0 {
		return nil
	}
	if err := l.file.store(lines, l.end.Seq); err != nil {
		return err
	}
	l.end, l.events = end, nil
	if l.stdout == nil {
		return nil
	}
	if _, err := l.stdout.Write(lines); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// seal puts the log's own events and a batch behind the end of the chain. A record that cannot be part of it gets its error.
func (l *Log) seal(batch []*entry) ([]byte, v1alpha1.AuditAnchor) {
	all := batch
	if len(l.events) > 0 {
		event := &entry{record: Record{Event: EventRecovered, Reason: strings.Join(l.events, "; ")}}
		all = append([]*entry{event}, batch...)
	}
	var lines bytes.Buffer
	now, end := l.now(), l.end
	for _, e := range all {
		e.record.Timestamp = now
		var line []byte
		if line, e.anchor, e.err = seal(e.record, end); e.err == nil {
			end = e.anchor
			lines.Write(line)
			lines.WriteByte('\n')
		}
	}
	return lines.Bytes(), end
}

func (l *Log) now() string { return l.clock.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00") }
