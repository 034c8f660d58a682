// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// sealed is a chain of records, one line each.
func sealed(t testing.TB, writer string, records ...Record) (lines []string, anchors []v1alpha1.AuditAnchor) {
	t.Helper()
	end := begin(writer)
	for _, r := range records {
		line, next, err := seal(r, end)
		if err != nil {
			t.Fatal(err)
		}
		lines, anchors, end = append(lines, string(line)+"\n"), append(anchors, next), next
	}
	return lines, anchors
}

func chainOf(t testing.TB, writer string, n int) ([]string, []v1alpha1.AuditAnchor) {
	records := make([]Record, n)
	for i := range records {
		records[i] = event(fmt.Sprintf("record %d", i+1))
	}
	return sealed(t, writer, records...)
}

// saved writes each content to a file of its own, named 1, 2 and so on.
func saved(t testing.TB, contents ...string) []string {
	t.Helper()
	folder := t.TempDir()
	var files []string
	for i, content := range contents {
		files = append(files, filepath.Join(folder, fmt.Sprint(i+1)))
		write1(t, files[i], content)
	}
	return files
}

func expectProblem(t testing.TB, err error, file string, line int, what string) {
	t.Helper()
	problem := (*Problem)(nil)
	if !errors.As(err, &problem) {
		t.Fatalf("Verify = %v, want a problem", err)
	}
	if filepath.Base(problem.File) != file || problem.Line != line || !strings.Contains(problem.What, what) {
		t.Errorf("problem %q in file %q line %d\nwant    %q in file %q line %d", problem.What, problem.File, problem.Line, what, file, line)
	}
	if problem.Advice == "" {
		t.Error("there is no advice")
	}
}

func TestTampering(t *testing.T) {
	l, anchors := chainOf(t, "w", 6)
	other, _ := chainOf(t, "another", 3)
	forged, _ := sealed(t, "w", event("record 1"), event("forged"), event("record 3"), event("record 4"), event("record 5"), event("record 6"))
	join := func(lines ...string) string { return strings.Join(lines, "") }
	all := join(l...)
	for _, c := range []struct {
		name    string
		content string
		line    int
		what    string
	}{
		{"an edited word", strings.Replace(all, "record 3", "record X", 1), 3, "record 3 was changed: its hash is not that of its content"},
		{"an edited number", strings.Replace(all, `"seq":3`, `"seq":9`, 1), 3, "record 9 was changed"},
		{"an edited link", strings.Replace(all, anchors[1].Hash+`","hash`, origin+`","hash`, 1), 3, "record 3 was changed"},
		{"an edited hash", strings.Replace(all, `"hash":"`+anchors[2].Hash, `"hash":"`+strings.ToUpper(anchors[2].Hash), 1), 3, "record 3 was changed"},
		{"a space more", strings.Replace(all, `"seq":3`, `"seq": 3`, 1), 3, "record 3 was changed"},
		{"a member twice", strings.Replace(all, `"seq":3`, `"outcome":"","seq":3`, 1), 3, "record 3 was changed"},
		{"a member behind the hash", join(l[0], strings.TrimSuffix(l[1], "}\n")+`,"x":1}`+"\n"), 2, "record 2 was changed"},
		{"a carriage return", strings.Replace(all, "}\n", "}\r\n", 1), 1, "record 1 was changed"},
		{"a line removed", join(l[0], l[1], l[3], l[4]), 3, "record 3 is missing before this line"},
		{"lines removed", join(l[0], l[4]), 2, "records 2 to 4 are missing before this line"},
		{"lines swapped", join(l[0], l[2], l[1], l[3]), 2, "record 2 is missing before this line"},
		{"a line repeated", join(l[0], l[1], l[1], l[2]), 3, "record 2 stands here a second time"},
		{"an old line repeated", join(l[0], l[1], l[2], l[0]), 4, "record 1 stands behind record 3: lines were repeated or moved"},
		{"a line of another chain inserted", join(l[0], other[0], l[1]), 2, "record 1 is of another writer, another: a file holds one chain"},
		{"a line of a forged chain instead", join(l[0], forged[1], l[2]), 3, "record 3 does not follow record 2 as it was written"},
		{"an empty line", join(l[0], "\n", l[1]), 2, "the line is no audit record"},
		{"a remark", join(l[0], "# ok\n"), 2, "the line is no audit record"},
		{"bytes before the first line", "\ufeff" + all, 1, "the line is no audit record"},
		{"no record but JSON", "{}\n", 1, "the line is no audit record"},
		{"an endless line", l[0] + strings.Repeat("x", 3*maxLine), 2, "the line is longer than any record"},
		{"a line cut at the end", all[:len(all)-10], 6, "the last line is unfinished: a crash leaves that behind, and so does cutting the file"},
		{"an end of line cut", all[:len(all)-1], 6, "the last line is unfinished"},
		{"a line joined with the next", strings.Replace(all, "}\n", "}", 1), 1, "the line is no audit record"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.content == all {
				t.Fatal("nothing was tampered with")
			}
			_, err := Verify(saved(t, c.content), nil)
			expectProblem(t, err, "1", c.line, c.what)
		})
	}
}

func TestEveryByteOfALogIsProtected(t *testing.T) {
	lines, _ := chainOf(t, "w", 2)
	content := []byte(strings.Join(lines, ""))
	for i := range content {
		for _, b := range []byte{content[i] ^ 1, content[i] ^ 0x20, 0, '\n', ' ', '"', '}', 0xff} {
			if b == content[i] {
				continue
			}
			changed := bytes.Clone(content)
			changed[i] = b
			if newVerifier(nil).read("log", bytes.NewReader(changed)) == nil {
				t.Fatalf("byte %d, %q, was changed to %q and nothing was found", i, content[i], b)
			}
		}
		if newVerifier(nil).read("log", bytes.NewReader(slices.Delete(bytes.Clone(content), i, i+1))) == nil {
			t.Fatalf("byte %d, %q, was removed and nothing was found", i, content[i])
		}
	}
}

func TestWhatOnlyAnAnchorShows(t *testing.T) {
	l, anchors := chainOf(t, "w", 4)
	rewritten, _ := sealed(t, "w", event("record 1"), event("rewritten"), event("record 3"), event("record 4"))
	all := strings.Join(l, "")
	for _, c := range []struct {
		name      string
		content   string
		file      string
		line      int
		what      string
		unnoticed bool // without anchors, and it cannot be otherwise
	}{
		{"a tail that was cut off", l[0] + l[1], "g3", 0, "its record 3 is missing", true},
		{"a tail that was cut off within a line", l[0] + l[1] + l[2] + l[3][:30], "g4", 0, "its record 4 is missing", false},
		{"a log that was written anew", strings.Join(rewritten, ""), "1", 2, "record 2 is not the one that was written: grant agents/g2 remembers another hash", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := saved(t, c.content)
			if _, err := Verify(files, nil); (err == nil) != c.unnoticed {
				t.Errorf("without anchors: %v", err)
			}
			backwards := slices.Clone(anchors)
			slices.Reverse(backwards)
			_, err := Verify(files, owned(backwards))
			expectProblem(t, err, c.file, c.line, c.what)
		})
	}
	t.Run("a log of which no file was given", func(t *testing.T) {
		elsewhere := owned([]v1alpha1.AuditAnchor{{Writer: "lost", Seq: 3, Hash: origin}})
		_, err := Verify(saved(t, all), elsewhere)
		expectProblem(t, err, "g3", 0, "number 3 of writer lost, of which no file was given")
	})
	t.Run("a crash in the last line, all that is remembered being there", func(t *testing.T) {
		_, err := Verify(saved(t, l[0]+l[1]+l[2]+l[3][:30]), owned(anchors[:3]))
		expectProblem(t, err, "1", 4, "the last line is unfinished")
	})
	t.Run("records that were rotated away are no problem", func(t *testing.T) {
		report, err := Verify(saved(t, l[2]+l[3]), owned(anchors))
		if err != nil || report.Found != 2 || report.Older != 2 {
			t.Errorf("Verify = %+v, %v; want 2 found, 2 older", report, err)
		}
	})
	t.Run("two grants may remember one record", func(t *testing.T) {
		report, err := Verify(saved(t, all), owned([]v1alpha1.AuditAnchor{anchors[3], anchors[3]}))
		if err != nil || report.Found != 2 {
			t.Errorf("Verify = %+v, %v", report, err)
		}
	})
}

func TestFilesMakeWholeChains(t *testing.T) {
	l, _ := chainOf(t, "w", 6)
	m, _ := chainOf(t, "v", 2)
	forged, _ := sealed(t, "w", event("forged"), event("record 2"), event("record 3"))
	for _, c := range []struct {
		name     string
		contents []string
		file     string // with a problem; empty: none
		what     string
	}{
		{"in order", []string{l[0] + l[1], l[2] + l[3], l[4] + l[5]}, "", ""},
		{"in any order", []string{l[4] + l[5], l[0] + l[1], l[2] + l[3]}, "", ""},
		{"of two writers", []string{l[0] + l[1], m[0], l[2], m[1]}, "", ""},
		{"beginning late", []string{l[2] + l[3], l[4]}, "", ""},
		{"one being empty", []string{l[0], "", l[1]}, "", ""},
		{"one missing", []string{l[0] + l[1], l[4]}, "2", "records 3 to 4 are missing before this line (the file before it is "},
		{"one twice", []string{l[0] + l[1], l[2], l[2]}, "3", "record 3 stands here a second time"},
		{"overlapping", []string{l[0] + l[1] + l[2], l[1] + l[2] + l[3]}, "2", "record 2 stands behind record 3"},
		{"one of another's making", []string{forged[0] + forged[1], l[2]}, "2", "record 3 does not follow record 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Verify(saved(t, c.contents...), nil)
			if c.file == "" {
				if err != nil {
					t.Errorf("Verify = %v", err)
				}
				return
			}
			expectProblem(t, err, c.file, 1, c.what)
		})
	}
}

func TestRecordsThatWereSealedButNumberedOtherwise(t *testing.T) {
	first, anchors := chainOf(t, "w", 1)
	skipping := anchors[0]
	skipping.Seq = 2
	for name, c := range map[string]struct {
		before string
		end    v1alpha1.AuditAnchor
		line   int
		what   string
	}{
		"a number left out, the link being right": {first[0], skipping, 2, "record 2 is missing before this line"},
		"number zero": {"", v1alpha1.AuditAnchor{Writer: "w", Seq: -1, Hash: strings.Repeat("a", 64)}, 1, "the line is no audit record"},
	} {
		t.Run(name, func(t *testing.T) {
			line, _, err := seal(event(""), c.end)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Verify(saved(t, c.before+string(line)+"\n"), nil)
			expectProblem(t, err, "1", c.line, c.what)
		})
	}
}

func TestTheBeginningOfAChainSaysThatItIs(t *testing.T) {
	second, _, err := seal(event(""), v1alpha1.AuditAnchor{Writer: "w", Seq: 1, Hash: origin})
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := seal(event(""), v1alpha1.AuditAnchor{Writer: "w", Seq: 0, Hash: strings.Repeat("a", 64)})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]byte{first, second} {
		_, err := Verify(saved(t, string(line)+"\n"), nil)
		expectProblem(t, err, "1", 1, "does not begin the chain, or does not go on with it")
	}
}

func TestAFileThatIsBeingWrittenIsNotCalledBroken(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(2)
	write1(t, l.path, l.text()+`{"timestamp":"2026`)
	report := expectWhole(t, []string{l.path}, l.anchors...)
	if len(report.BeingWritten) != 1 {
		t.Errorf("report: %+v", report)
	}
	l.close()
	_, err := Verify([]string{l.path}, owned(l.anchors))
	expectProblem(t, err, "audit.log", 3, "the last line is unfinished")
}

func TestWhatCannotBeReadIsNoProblemOfTheLog(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "missing"), t.TempDir()} {
		_, err := Verify([]string{name}, nil)
		if problem := (*Problem)(nil); err == nil || errors.As(err, &problem) {
			t.Errorf("%s: Verify = %v, want an error that is no problem of the log", name, err)
		}
	}
}

// FuzzVerify: whatever is done to a log, Verify does not panic, and it calls only a run of the log's own lines whole.
func FuzzVerify(f *testing.F) {
	lines, _ := chainOf(f, "w", 4)
	content := strings.Join(lines, "")
	f.Add([]byte(content))
	f.Add([]byte(content[:len(content)-1]))
	f.Add([]byte(lines[0] + lines[2]))
	f.Add([]byte(lines[1] + lines[1]))
	f.Add([]byte("\n\n"))
	f.Add([]byte(`{"writer":"w","seq":1,"prev":"","hash":""}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		v := newVerifier(nil)
		err := v.read("log", bytes.NewReader(data))
		if err == nil {
			err = v.finish()
		}
		text := string(data)
		run := text == "" || strings.HasPrefix(content, text) || strings.Contains(content, "\n"+text)
		run = run && (text == "" || strings.HasSuffix(text, "\n"))
		if (err == nil) != run {
			t.Errorf("Verify = %v; the log's own lines: %v\n%q", err, run, text)
		}
	})
}

// FuzzOpen: whatever the file holds, Open does not panic; if it opens, what it holds of records stays, and the chain goes on.
func FuzzOpen(f *testing.F) {
	lines, _ := chainOf(f, "w", 2)
	content := strings.Join(lines, "")
	f.Add([]byte(content))
	f.Add([]byte(content + `{"timest`))
	f.Add([]byte(content[:len(content)/2]))
	f.Add([]byte("\x00\x00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "audit.log")
		write1(t, path, string(data))
		l, err := tryStart(t, path)
		if err != nil {
			if got := read1(t, path); got != string(data) {
				t.Errorf("Open failed with %v and changed the file", err)
			}
			return
		}
		whole := data[:bytes.LastIndexByte(data, '\n')+1]
		l.appendN(1)
		l.close()
		after, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(after, whole) {
			t.Errorf("lines are gone: %q, %v", after, err)
		}
		if err := newVerifier(nil).read("log", bytes.NewReader(after[len(whole):])); err != nil {
			t.Errorf("what was added does not verify: %v", err)
		}
	})
}
