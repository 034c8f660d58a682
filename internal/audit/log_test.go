// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

var morning = time.Date(2026, 3, 14, 9, 26, 53, 589793000, time.UTC)

// begin is the end of a chain that has no record yet.
func begin(writer string) v1alpha1.AuditAnchor {
	return v1alpha1.AuditAnchor{Writer: writer, Hash: origin}
}

// full is a record with something in every field.
func full() Record {
	return Record{
		TaskID: "pr-184", Actor: "openclaw-agent", Repo: "web-app", Environment: "preview", Capability: "publish-preview-build",
		LeaseID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Provider: "aws-sts", Scope: []string{"s3:PutObject"}, TTLSeconds: 900,
		Approval: ApprovalGranted, Outcome: "completed_without_reuse", Event: EventEnded,
		Requester: "system:serviceaccount:agents:web-app-bot", Namespace: "agents", Request: "publish-pr-184", Grant: "publish-pr-184",
		Job: "valetkey-publish-pr-184", Policy: "preview-builds", ApprovedBy: []string{"alice@example.com"}, Digest: strings.Repeat("ab", 32),
		CredentialID: "ASIAEXAMPLE", Session: "agent-9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731-1", Attempt: 1, Revocation: "AtExpiry",
		ExposedUntil: "2026-03-14T09:41:53Z", Reason: "the Job succeeded",
	}
}

// told is a log under test, and what it acknowledged.
type told struct {
	*Log
	t       testing.TB
	path    string
	stdout  *bytes.Buffer
	syncs   int
	anchors []v1alpha1.AuditAnchor
}

// start opens a log whose flushes are only counted: what they do is not seen by a test that cannot cut the power.
func start(t testing.TB, path string, options ...func(*file)) *told {
	t.Helper()
	l, err := tryStart(t, path, options...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryStart(t testing.TB, path string, options ...func(*file)) (*told, error) {
	l := &told{t: t, path: path, stdout: &bytes.Buffer{}}
	f := &file{path: path, maxSize: 1 << 30, sync: func(*os.File) error { l.syncs++; return nil }}
	for _, option := range options {
		option(f)
	}
	var err error
	l.Log, err = open(Options{Path: path, Stdout: l.stdout, Clock: clocktesting.NewFakePassiveClock(morning)}, f)
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l, err
}

func maxSize(n int64) func(*file)  { return func(f *file) { f.maxSize = n } }
func maxBackups(n int) func(*file) { return func(f *file) { f.maxBackups = n } }
func event(reason string) Record   { return Record{Event: EventIssuing, Reason: reason} }
func (l *told) text() string       { return read1(l.t, l.path) }
func (l *told) lines() []string    { return strings.SplitAfter(strings.TrimSuffix(l.text(), "\n"), "\n") }
func (l *told) try(reason string) error {
	_, err := l.Append(context.Background(), event(reason))
	return err
}

func (l *told) append(records ...Record) {
	l.t.Helper()
	for _, r := range records {
		anchor, err := l.Append(context.Background(), r)
		if err != nil {
			l.t.Fatal(err)
		}
		l.anchors = append(l.anchors, anchor)
	}
}

func (l *told) appendN(n int) {
	l.t.Helper()
	for i := range n {
		l.append(event(fmt.Sprint("record ", i)))
	}
}

func (l *told) close() {
	l.t.Helper()
	if err := l.Close(); err != nil {
		l.t.Fatal(err)
	}
}

// files are the log's files, oldest first.
func (l *told) files() []string {
	l.t.Helper()
	files, err := logsIn(filepath.Dir(l.path))
	if err != nil {
		l.t.Fatal(err)
	}
	return files
}

// expectWhole verifies the log's files with everything that was acknowledged.
func expectWhole(t testing.TB, files []string, anchors ...v1alpha1.AuditAnchor) Report {
	t.Helper()
	report, err := Verify(files, owned(anchors))
	if err != nil {
		t.Fatalf("the log does not verify: %v", err)
	}
	return report
}

func owned(anchors []v1alpha1.AuditAnchor) []Anchor {
	var all []Anchor
	for _, a := range anchors {
		all = append(all, Anchor{AuditAnchor: a, Owner: fmt.Sprint("grant agents/g", a.Seq)})
	}
	return all
}

func expectReason(t testing.TB, line string, parts ...string) {
	t.Helper()
	for _, part := range append([]string{`"event":"recovered"`}, parts...) {
		if !strings.Contains(line, part) {
			t.Errorf("want %q in %s", part, line)
		}
	}
}

func read1(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func write1(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestARecordIsInTheFileAndOnStandardOutputWhenAppendReturns(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "new", "folder", "audit.log"))
	l.append(full())
	if !strings.HasPrefix(l.text(), `{"timestamp":"2026-03-14T09:26:53.589793Z","task_id":"pr-184",`) {
		t.Errorf("file: %s", l.text())
	}
	if diff := cmp.Diff(l.text(), l.stdout.String()); diff != "" {
		t.Errorf("standard output differs from the file:\n%s", diff)
	}
	if got := l.anchors[0]; got.Seq != 1 || len(got.Writer) != 36 || len(got.Hash) != 64 {
		t.Errorf("anchor: %+v", got)
	}
	expectWhole(t, l.files(), l.anchors...)
}

func TestFilesAndFoldersAreTheOperatorsAlone(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "folder", "audit.log"), maxSize(1))
	l.appendN(2)
	for path, want := range map[string]os.FileMode{
		filepath.Dir(l.path): 0o700 | os.ModeDir, l.path: 0o600, l.path + lockSuffix: 0o600, l.files()[0]: 0o600,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestEveryRecordIsFlushedBeforeAppendReturns(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	for range 3 {
		before := l.syncs
		l.appendN(1)
		if l.syncs != before+1 {
			t.Errorf("%d flushes for one record", l.syncs-before)
		}
	}
}

func TestTheChainGoesOnAcrossRestarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	var anchors []v1alpha1.AuditAnchor
	for range 4 {
		l := start(t, path)
		l.appendN(3)
		anchors = append(anchors, l.anchors...)
		l.close()
	}
	report := expectWhole(t, []string{path}, anchors...)
	if len(report.Segments) != 1 || report.Segments[0].Last != 12 || report.Found != 12 {
		t.Errorf("report: %+v", report)
	}
}

func TestManyAtATimeMakeOneChainInWhichEachKeepsItsOwnOrder(t *testing.T) {
	l, err := Open(Options{Path: filepath.Join(t.TempDir(), "audit.log"), Clock: clocktesting.NewFakePassiveClock(morning)})
	if err != nil {
		t.Fatal(err)
	}
	const people, each = 64, 20
	anchors := make([][]v1alpha1.AuditAnchor, people)
	var all sync.WaitGroup
	for i := range people {
		all.Go(func() {
			for j := range each {
				anchor, err := l.Append(t.Context(), event(fmt.Sprint(i, "/", j)))
				if err != nil {
					t.Error(err)
				}
				anchors[i] = append(anchors[i], anchor)
			}
		})
	}
	all.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for i, mine := range anchors {
		if !slices.IsSortedFunc(mine, func(a, b v1alpha1.AuditAnchor) int { return int(a.Seq - b.Seq) }) {
			t.Errorf("goroutine %d: its records are out of order", i)
		}
	}
	report := expectWhole(t, []string{l.file.path}, slices.Concat(anchors...)...)
	if report.Segments[0].Last != people*each || report.Found != people*each {
		t.Errorf("report: %+v", report)
	}
}

func TestRecordsThatComeDuringAFlushShareTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flushing, flushed := make(chan struct{}), make(chan struct{})
		l := start(t, filepath.Join(t.TempDir(), "audit.log"))
		count := 0
		l.file.sync = func(*os.File) error { count++; flushing <- struct{}{}; <-flushed; return nil }
		var all sync.WaitGroup
		returned := make(chan int64, maxBatch+1)
		one := func() { a, err := l.Append(t.Context(), event("")); returned <- a.Seq; _ = err }
		all.Go(one)
		<-flushing
		for range maxBatch {
			all.Go(one)
		}
		synctest.Wait()
		if len(returned) != 0 {
			t.Error("Append returned before the record was flushed")
		}
		flushed <- struct{}{}
		<-flushing
		synctest.Wait()
		if len(returned) != 1 {
			t.Errorf("%d returned after the first flush, want 1", len(returned))
		}
		flushed <- struct{}{}
		all.Wait()
		if count != 2 {
			t.Errorf("%d flushes for %d records, want 2", count, maxBatch+1)
		}
		l.file.sync = func(*os.File) error { return nil }
		expectWhole(t, l.files())
		l.close()
	})
}

func TestWhoStopsWaitingIsToldThatTheRecordMayNotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flushing, flushed := make(chan struct{}), make(chan struct{})
		l := start(t, filepath.Join(t.TempDir(), "audit.log"))
		l.file.sync = func(*os.File) error { flushing <- struct{}{}; <-flushed; return nil }
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() { _, err := l.Append(ctx, event("")); result <- err }()
		<-flushing
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("Append = %v, want that the context is cancelled", err)
		}
		if _, err := l.Append(ctx, event("")); !errors.Is(err, context.Canceled) {
			t.Errorf("Append with a context that is done = %v", err)
		}
		flushed <- struct{}{}
		l.close()
		if n := len(l.lines()); n != 1 {
			t.Errorf("%d records, want the one that was on its way", n)
		}
	})
}

func TestAClosedLogTakesNoMore(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(1)
	l.close()
	l.close()
	if err := l.try("late"); !errors.Is(err, ErrClosed) {
		t.Errorf("Append = %v, want ErrClosed", err)
	}
}

func TestCloseWritesWhatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		flushing, flushed := make(chan struct{}), make(chan struct{})
		l := start(t, filepath.Join(t.TempDir(), "audit.log"))
		l.file.sync = func(*os.File) error { flushing <- struct{}{}; <-flushed; return nil }
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := l.try(""); err != nil {
					t.Error(err)
				}
			})
		}
		<-flushing
		synctest.Wait()
		all.Go(func() { l.close() })
		synctest.Wait()
		close(flushed)
		<-flushing
		all.Wait()
		if n := len(l.lines()); n != 5 {
			t.Errorf("%d records, want 5", n)
		}
	})
}

func TestARecordThatIsTooLongHarmsNoOther(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(1)
	if err := l.try(strings.Repeat("x", maxLine)); err == nil || !strings.Contains(err.Error(), "a record has less than") {
		t.Errorf("Append = %v", err)
	}
	if err := l.Healthy(); err != nil {
		t.Errorf("Healthy = %v: nothing is wrong with the log", err)
	}
	l.append(event(strings.Repeat("x", maxLine-700)))
	l.close()
	l = start(t, l.path)
	l.appendN(1)
	expectWhole(t, l.files(), l.anchors...)
}

// refusing is a standard output that nobody reads.
type refusing struct{ err error }

func (r *refusing) Write(p []byte) (int, error) { return len(p), r.err }

func TestNothingIsAcknowledgedThatCouldNotBePrinted(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	stdout := &refusing{errors.New("broken pipe")}
	l.Log.stdout = stdout
	if err := l.try("first"); err == nil || !strings.Contains(err.Error(), "standard output: broken pipe") {
		t.Errorf("Append = %v", err)
	}
	stdout.err = nil
	l.appendN(1)
	if err := l.Healthy(); err != nil {
		t.Errorf("Healthy = %v", err)
	}
	expectReason(t, l.lines()[1], "from 2026-03-14T09:26:53.589793Z on", "broken pipe")
	expectWhole(t, l.files(), l.anchors...)
}

func TestAfterAFailureHealthTriesAgainByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"))
		l.appendN(1)
		trouble := errors.New("input/output error")
		var mu sync.Mutex
		l.file.sync = func(*os.File) error { mu.Lock(); defer mu.Unlock(); return trouble }
		if err := l.try("lost"); !errors.Is(err, trouble) {
			t.Errorf("Append = %v", err)
		}
		for range 3 {
			if err := l.Healthy(); !errors.Is(err, trouble) {
				t.Errorf("Healthy = %v while nothing can be written", err)
			}
			synctest.Wait()
		}
		mu.Lock()
		trouble = nil
		mu.Unlock()
		_ = l.Healthy()
		synctest.Wait()
		if err := l.Healthy(); err != nil {
			t.Errorf("Healthy = %v after the log could be written again", err)
		}
		if len(l.lines()) != 2 || strings.Contains(l.text(), "lost") {
			t.Errorf("want the first record and the log's own in\n%s", l.text())
		}
		expectReason(t, l.lines()[1], "records could not be written: writing the audit log", "input/output error")
		l.appendN(1)
		expectWhole(t, l.files(), l.anchors...)
		l.close()
	})
}

// What a process of its own needs, beside tests.
var (
	background = context.Background()
	realClock  = clock.RealClock{}
)

// readPrinted reads n records that a process printed.
func readPrinted(t *testing.T, out io.Reader, n int) []v1alpha1.AuditAnchor {
	t.Helper()
	var anchors []v1alpha1.AuditAnchor
	for lines := bufio.NewReader(out); len(anchors) < n; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		record, err := unseal(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			t.Fatal(err)
		}
		anchors = append(anchors, record.anchor())
	}
	return anchors
}

// TestHealthy_AFlushThatHangsIsAFailure: a disk that does not answer fails nothing, and nothing is recorded.
func TestHealthy_AFlushThatHangsIsAFailure(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(morning)
	flushing, goOn := make(chan struct{}), make(chan struct{})
	hangs := false
	f := &file{path: filepath.Join(t.TempDir(), "audit.log"), maxSize: 1 << 30, sync: func(*os.File) error {
		if hangs {
			flushing <- struct{}{}
			<-goOn
		}
		return nil
	}}
	l, err := open(Options{Path: f.path, Clock: clock}, f)
	if err != nil {
		t.Fatal(err)
	}
	hangs = true
	stored := make(chan error)
	go func() {
		_, err := l.Append(t.Context(), event("first"))
		stored <- err
	}()
	<-flushing
	clock.SetTime(morning.Add(5 * time.Second))
	if err := l.Healthy(); err != nil {
		t.Errorf("after five seconds: %v", err)
	}
	clock.SetTime(morning.Add(time.Minute))
	if err := l.Healthy(); err == nil || !strings.Contains(err.Error(), "the disk has not answered for 1m0s") {
		t.Errorf("after a minute: %v", err)
	}
	close(goOn)
	if err := errors.Join(<-stored, l.Healthy()); err != nil {
		t.Errorf("when it answered: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
