// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestACrashAtAnyByteOfTheLastWriteLosesNothingThatWasAcknowledged(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(2)
	acknowledged := l.text()
	l.append(full())
	l.close()
	last := strings.TrimPrefix(l.text(), acknowledged)
	for n := range len(last) + 1 {
		write1(t, l.path, acknowledged+last[:n])
		again := start(t, l.path)
		again.appendN(1)
		again.close()
		lines := again.lines()
		wantLines := 4
		if n == 0 {
			wantLines = 3
		}
		if len(lines) != wantLines {
			t.Fatalf("cut after %d of %d bytes: %d records, want %d", n, len(last), len(lines), wantLines)
		}
		if 0 < n && n < len(last) {
			expectReason(t, lines[2], fmt.Sprint(n, " bytes of an unfinished line"), "they are the beginning of a record")
		}
		expectWhole(t, []string{l.path}, append(again.anchors, l.anchors[:2]...)...)
	}
}

func TestWhatIsNotTheBeginningOfARecordIsSaidToBeSo(t *testing.T) {
	for name, torn := range map[string]string{
		"blocks that a power failure left empty": strings.Repeat("\x00", 4096),
		"a remark":                               "# nothing to see here",
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, filepath.Join(t.TempDir(), "audit.log"))
			l.appendN(1)
			l.close()
			write1(t, l.path, l.text()+torn)
			again := start(t, l.path)
			expectReason(t, again.lines()[1], "they are not the beginning of a record")
			expectWhole(t, []string{l.path}, l.anchors...)
		})
	}
}

func TestALogWhoseEndIsNoRecordIsNotGoneOnWith(t *testing.T) {
	for name, c := range map[string]struct {
		change func(content string) string
		want   string
	}{
		"a last line that is no record": {func(s string) string { return s + "hello\n" }, "the line is no audit record"},
		"an edited last line":           {func(s string) string { return strings.Replace(s, "record 1", "record 7", 1) }, "record 2 was changed"},
		"an empty last line":            {func(s string) string { return s + "\n" }, "the line is no audit record"},
		"megabytes without a line":      {func(s string) string { return s + strings.Repeat("x", maxLine) }, "its last line is longer than any record"},
		"two megabytes without a line":  {func(s string) string { return s + strings.Repeat("x", 2*maxLine) }, "its last line is longer than any record"},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, filepath.Join(t.TempDir(), "audit.log"))
			l.appendN(2)
			l.close()
			content := c.change(l.text())
			write1(t, l.path, content)
			_, err := tryStart(t, l.path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "move the file away") {
				t.Errorf("Open = %v, want %q and what to do", err, c.want)
			}
			if l.text() != content {
				t.Error("the evidence was changed")
			}
		})
	}
}

func TestTwoProcessesCannotWriteOneLog(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	if _, err := tryStart(t, l.path); err == nil || !strings.Contains(err.Error(), "is being written by another process") {
		t.Errorf("the second Open = %v", err)
	}
	l.appendN(1)
	l.close()
	start(t, l.path).appendN(1)
}

func TestRotation(t *testing.T) {
	t.Run("never parts a record or the chain", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(2000))
		l.appendN(20)
		files := l.files()
		if len(files) < 5 {
			t.Fatalf("%d files, want several", len(files))
		}
		report := expectWhole(t, files, l.anchors...)
		if report.Found != 20 {
			t.Errorf("%d anchors found, want 20", report.Found)
		}
		for _, name := range files {
			if content := read1(t, name); !strings.HasSuffix(content, "}\n") || len(content) > 2000 {
				t.Errorf("%s: %d bytes, ending in %q", name, len(content), content[len(content)-2:])
			}
		}
	})
	t.Run("happens only when the next record does not fit", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"))
		l.appendN(1)
		line := int64(len(l.text()))
		l.file.maxSize = 2 * line
		l.append(event("record 0"))
		if n := len(l.files()); n != 1 {
			t.Errorf("%d files when the second record fits to the byte, want 1", n)
		}
		l.append(event("record 0"))
		if n := len(l.files()); n != 2 {
			t.Errorf("%d files after the third record, want 2", n)
		}
	})
	t.Run("a record larger than a file has one to itself", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(10))
		l.appendN(3)
		if n := len(l.files()); n != 3 {
			t.Errorf("%d files for 3 records, want 3", n)
		}
		expectWhole(t, l.files(), l.anchors...)
	})
	t.Run("names files by their last record, so that they sort", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1))
		l.appendN(3)
		want := []string{"audit-000000000001.log", "audit-000000000002.log", "audit.log"}
		var got []string
		for _, f := range l.files() {
			got = append(got, filepath.Base(f))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	})
	t.Run("goes on after a restart, wherever it stopped", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "audit.log")
		var anchors []v1alpha1.AuditAnchor
		for range 12 {
			l := start(t, path, maxSize(1200))
			l.appendN(1)
			anchors = append(anchors, l.anchors...)
			l.close()
		}
		files, _ := logsIn(filepath.Dir(path))
		if report := expectWhole(t, files, anchors...); report.Found != 12 || len(files) < 3 {
			t.Errorf("%d files, report %+v", len(files), report)
		}
	})
	t.Run("survives a crash between renaming the file and making the next", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"))
		l.appendN(2)
		l.close()
		if err := os.Rename(l.path, l.file.backup(2)); err != nil {
			t.Fatal(err)
		}
		again := start(t, l.path)
		again.appendN(1)
		if again.anchors[0].Seq != 3 {
			t.Errorf("the chain goes on with record %d, want 3", again.anchors[0].Seq)
		}
		expectWhole(t, again.files(), append(l.anchors, again.anchors...)...)
	})
	t.Run("survives a crash in the first write of the next file", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1))
		l.appendN(2)
		l.close()
		write1(t, l.path, l.text()[:40])
		again := start(t, l.path)
		expectReason(t, again.lines()[0], "40 bytes of an unfinished line", `"seq":2`)
		expectWhole(t, again.files(), l.anchors[0])
	})
	t.Run("does not go on behind a rotated file that was cut", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"))
		l.appendN(2)
		l.close()
		write1(t, l.file.backup(2), l.text()[:len(l.text())-5])
		if err := os.Remove(l.path); err != nil {
			t.Fatal(err)
		}
		if _, err := tryStart(t, l.path); err == nil || !strings.Contains(err.Error(), "does not end with a record") {
			t.Errorf("Open = %v", err)
		}
	})
	t.Run("never overwrites a file", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1))
		l.appendN(1)
		write1(t, l.file.backup(1), "precious")
		if err := l.try("x"); err == nil || !strings.Contains(err.Error(), "is in the way of rotation") {
			t.Errorf("Append = %v", err)
		}
		if err := l.Healthy(); err == nil {
			t.Error("Healthy = nil")
		}
		if got := read1(t, l.file.backup(1)); got != "precious" {
			t.Errorf("it was overwritten with %q", got)
		}
		if err := os.Rename(l.file.backup(1), filepath.Join(filepath.Dir(l.path), "moved")); err != nil {
			t.Fatal(err)
		}
		l.appendN(1)
		expectWhole(t, l.files(), l.anchors...)
	})
	t.Run("keeps as many files as it was told to, the youngest", func(t *testing.T) {
		l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1), maxBackups(2))
		for _, other := range []string{"audit-note.log", "audit-7.log", "audit-000000000001.txt", "auditor-000000000001.log"} {
			write1(t, filepath.Join(filepath.Dir(l.path), other), "somebody else's")
		}
		l.appendN(12)
		backups, err := l.file.backups()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{l.file.backup(10), l.file.backup(11)}, backups); diff != "" {
			t.Errorf("rotated files (-want +got):\n%s", diff)
		}
		if others, _ := filepath.Glob(filepath.Join(filepath.Dir(l.path), "audit*[e7r1].*")); len(others) < 3 {
			t.Errorf("other people's files are gone; there is %v", others)
		}
		report := expectWhole(t, append(backups, l.path), l.anchors...)
		if report.Found != 3 || report.Older != 9 {
			t.Errorf("found %d, older %d; want 3 and 9", report.Found, report.Older)
		}
	})
}

func TestAFolderIsFlushedWhenAFileInItIsMadeOrRenamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	flushed := 0
	l := start(t, path, maxSize(1), func(f *file) {
		f.sync = func(f *os.File) error {
			if f.Name() == filepath.Dir(path) {
				flushed++
			}
			return nil
		}
	})
	for files := 1; files < 4; files++ {
		if flushed != files {
			t.Errorf("the folder was flushed %d times for %d files", flushed, files)
		}
		l.appendN(1 + 1/files) // the first fits, each other begins a file
	}
}

func TestSomebodyElsesHandOnTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, l *told)
		want string // what the log records of it; empty: nothing
		gap  bool   // records are gone, and the files verify all the same: only anchors show it
	}{
		"removed": {
			do:   func(t *testing.T, l *told) { must(t, os.Remove(l.path)) },
			want: "the file was removed, moved away or emptied by somebody else; the last record before that is number 2", gap: true,
		},
		"emptied": {
			do:   func(t *testing.T, l *told) { must(t, os.Truncate(l.path, 0)) },
			want: "the last record before that is number 2", gap: true,
		},
		"moved away within the folder": {
			do:   func(t *testing.T, l *told) { must(t, os.Rename(l.path, l.path+".1.log")) },
			want: "the last record before that is number 2",
		},
		"replaced by a copy": {
			do: func(t *testing.T, l *told) {
				content := l.text()
				must(t, os.Remove(l.path))
				write1(t, l.path, content)
			},
			want: "the file was replaced by another that ends with the same record 2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, filepath.Join(t.TempDir(), "audit.log"))
			l.appendN(2)
			c.do(t, l)
			l.appendN(2)
			line := l.lines()[slices.IndexFunc(l.lines(), func(s string) bool { return strings.Contains(s, `"event":"recovered"`) })]
			expectReason(t, line, c.want, `"seq":3`)
			report := expectWhole(t, l.files(), l.anchors...)
			if gone := report.Older == 2; gone != c.gap {
				t.Errorf("report: %+v; records gone: %v, want %v", report, gone, c.gap)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFileThatSomebodyElseWroteIsNotWrittenUntilItIsMovedAway(t *testing.T) {
	for name, content := range map[string]func(l *told) string{
		"a line more":                 func(l *told) string { return l.text() + "x\n" },
		"half a line more":            func(l *told) string { return l.text() + "x" },
		"a line less":                 func(l *told) string { return l.lines()[0] },
		"another log":                 func(*told) string { return sample(t, 3) },
		"a last line that was edited": func(l *told) string { return strings.Replace(l.text(), "record 1", "record 11", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t, filepath.Join(t.TempDir(), "audit.log"))
			l.appendN(2)
			foreign := content(l)
			write1(t, l.path, foreign)
			for range 2 {
				if err := l.try("x"); err == nil || !strings.Contains(err.Error(), "move the file away") {
					t.Errorf("Append = %v", err)
				}
			}
			if l.Healthy() == nil {
				t.Error("Healthy = nil")
			}
			if got := l.text(); got != foreign {
				t.Errorf("the evidence was changed: %q", got)
			}
			must(t, os.Rename(l.path, filepath.Join(filepath.Dir(l.path), "evidence")))
			l.appendN(1)
			expectReason(t, l.lines()[0], "records could not be written", "moved away", `"seq":3`)
			expectWhole(t, []string{l.path}, l.anchors...)
		})
	}
}

// sample is a log of n records, of a chain of its own.
func sample(t testing.TB, n int) string {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(n)
	l.close()
	return l.text()
}

func TestAFileThatIsRemovedWhileItIsWrittenAcknowledgesNothing(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(1)
	aside := filepath.Join(filepath.Dir(l.path), "audit-moved.log")
	l.file.sync = func(*os.File) error {
		if err := os.Rename(l.path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := l.try("lost"); err == nil || !strings.Contains(err.Error(), "while it was written") {
		t.Errorf("Append = %v", err)
	}
	l.file.sync = func(*os.File) error { return nil }
	if strings.Contains(read1(t, aside), "lost") {
		t.Error("the record was left in the file that was moved, and its number will be used again")
	}
	l.appendN(1)
	expectWhole(t, l.files(), l.anchors...)
}

func TestAFailedFlushLeavesNothingBehind(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(1)
	trouble := errors.New("input/output error")
	failures := 3 // the flush of the record, that of its removal, and that of its removal once more
	l.file.sync = func(*os.File) error {
		if failures--; failures >= 0 {
			return trouble
		}
		return nil
	}
	for range 2 {
		if err := l.try("lost"); !errors.Is(err, trouble) {
			t.Errorf("Append = %v", err)
		}
	}
	l.appendN(2)
	if strings.Contains(l.text(), `"reason":"lost"`) {
		t.Errorf("a record that was refused is in the log:\n%s", l.text())
	}
	expectReason(t, l.lines()[1], "input/output error")
	expectWhole(t, l.files(), l.anchors...)
}

// mount gives a folder a small file system of its own, until the test ends.
func mount(t *testing.T, size string) string {
	t.Helper()
	folder := t.TempDir()
	if err := unix.Mount("tmpfs", folder, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Skipf("only root can mount a file system for this test: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(folder, 0)) })
	return folder
}

func TestAFullDiskIsAnErrorAndTheLogStaysWhole(t *testing.T) {
	path := filepath.Join(mount(t, "64k"), "audit.log")
	l := start(t, path)
	record := event(strings.Repeat("x", 1000))
	var err error
	for err == nil {
		var anchor v1alpha1.AuditAnchor
		if anchor, err = l.Append(t.Context(), record); err == nil {
			l.anchors = append(l.anchors, anchor)
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("Append = %v, want that no space is left", err)
	}
	if !errors.Is(l.Healthy(), unix.ENOSPC) {
		t.Errorf("Healthy = %v", l.Healthy())
	}
	for range 3 {
		if err := l.try(strings.Repeat("y", 5000)); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("Append = %v", err)
		}
	}
	expectWhole(t, []string{path}, l.anchors...)
	must(t, unix.Mount("tmpfs", filepath.Dir(path), "tmpfs", unix.MS_REMOUNT, "size=1m"))
	l.appendN(3)
	if err := l.Healthy(); err != nil {
		t.Errorf("Healthy = %v after space returned", err)
	}
	expectReason(t, l.lines()[len(l.lines())-4], "no space left on device")
	expectWhole(t, []string{path}, l.anchors...)
	l.close()
}

func TestAFullDiskAtRotationIsAnErrorAndTheLogGoesOn(t *testing.T) {
	folder := mount(t, "1m,nr_inodes=4") // the folder, the lock, the file, and one more
	l := start(t, filepath.Join(folder, "audit.log"), maxSize(1))
	l.appendN(2)
	if err := l.try("x"); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("Append = %v, want that no space is left", err)
	}
	must(t, unix.Mount("tmpfs", folder, "tmpfs", unix.MS_REMOUNT, "size=1m,nr_inodes=100"))
	l.appendN(1)
	if strings.Contains(l.text(), "somebody else") {
		t.Errorf("the log blames somebody else for its own rotation:\n%s", l.text())
	}
	expectWhole(t, l.files(), l.anchors...)
	l.close()
}

func TestAFileSystemThatTurnsReadOnlyIsAnError(t *testing.T) {
	folder := mount(t, "1m")
	l := start(t, filepath.Join(folder, "audit.log"))
	l.appendN(1)
	l.close()
	must(t, unix.Mount("tmpfs", folder, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := tryStart(t, l.path); !errors.Is(err, unix.EROFS) {
		t.Errorf("Open = %v, want that the file system is read-only", err)
	}
	expectWhole(t, []string{l.path}, l.anchors...)
}

func TestAFolderThatCannotBeWrittenIsAnErrorFromTheStart(t *testing.T) {
	folder := t.TempDir()
	write1(t, filepath.Join(folder, "file"), "")
	for name, path := range map[string]string{
		"a file where the folder should be": filepath.Join(folder, "file", "audit.log"),
		"a folder where the file should be": folder,
	} {
		if _, err := tryStart(t, path); err == nil {
			t.Errorf("%s: Open succeeded", name)
		}
	}
}

// crashing, in the environment of the test's own binary, makes it a process that appends until it is killed.
const crashing = "AUDIT_TEST_APPEND_UNTIL_KILLED"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashing); path != "" {
		appendForever(path)
	}
	os.Exit(m.Run())
}

// appendForever prints a record to standard output only after it is stored: the reader holds it to that.
func appendForever(path string) {
	l, err := Open(Options{Path: path, Stdout: os.Stdout, Clock: realClock, MaxSizeMB: 1})
	if err != nil {
		panic(err)
	}
	for range 8 {
		go func() {
			for {
				if _, err := l.Append(background, full()); err != nil {
					panic(err)
				}
			}
		}()
	}
	select {}
}

func TestAKilledProcessLosesNothingThatItPrinted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.log")
	for round := range 6 {
		process := exec.Command(os.Args[0])
		process.Env = append(os.Environ(), crashing+"="+path)
		out, err := process.StdoutPipe()
		must(t, err)
		must(t, process.Start())
		anchors := readPrinted(t, out, 200+37*round)
		must(t, process.Process.Kill())
		_ = process.Wait() // it was killed
		l := start(t, path)
		l.appendN(1)
		if report := expectWhole(t, l.files(), append(anchors, l.anchors...)...); report.Found != len(anchors)+1 {
			t.Errorf("round %d: %d of %d records that were printed are in the log", round, report.Found, len(anchors)+1)
		}
		l.close()
	}
}

// TestRotation_WhoseFolderIsNotOnDiskAcknowledgesNothing: what is acknowledged is in a file whose name outlives a power
// failure, and whose removal is told.
func TestRotation_WhoseFolderIsNotOnDiskAcknowledgesNothing(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1))
	l.appendN(1)
	folders, failures := 0, 1
	l.file.sync = func(f *os.File) error {
		if info, err := f.Stat(); err == nil && info.IsDir() {
			if failures--; failures >= 0 {
				return unix.EIO
			}
			folders++
		}
		return nil
	}
	if err := l.try("while the disk fails"); err == nil {
		t.Error("a record is acknowledged in a file without a name on disk")
	}
	if err := l.try("kept"); err != nil || folders == 0 {
		t.Errorf("%d flushes of the folder, %v", folders, err)
	}
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	if err := l.try("after the removal"); err != nil || !strings.Contains(l.text(), "removed, moved away or emptied") {
		t.Errorf("the removal is not told: %v\n%s", err, l.text())
	}
}
