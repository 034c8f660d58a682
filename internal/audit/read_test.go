// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEveryRecordIsReadOnceInItsOrder, over rotated files, whatever they are named in.
func TestEveryRecordIsReadOnceInItsOrder(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1))
	l.appendN(3)
	l.close()
	files := l.files()
	slices.Reverse(files)
	for _, logs := range [][]string{{filepath.Dir(l.path)}, files, {l.path, filepath.Dir(l.path)}} {
		var seen []int64
		others, err := Read(logs, func(line []byte, r Record) error {
			seen = append(seen, r.Seq)
			if _, err := unseal(line); err != nil {
				t.Errorf("record %d: %v", r.Seq, err)
			}
			return nil
		})
		if err != nil || others != 0 || !slices.Equal(seen, []int64{1, 2, 3}) {
			t.Errorf("%v: records %v, %d others, %v", logs, seen, others, err)
		}
	}
}

func TestLinesBetweenRecordsAreCounted(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"))
	l.appendN(2)
	l.close()
	first, second, _ := strings.Cut(strings.TrimSuffix(l.text(), "\n"), "\n")
	for name, c := range map[string]struct {
		text            string
		records, others int
	}{
		"nothing":                             {"", 0, 0},
		"records alone":                       {first + "\n" + second + "\n", 2, 0},
		"the last line unfinished":            {first + "\n" + second[:40], 1, 1},
		"the last line without its end":       {first + "\n" + second, 2, 0},
		"lines of another log":                {"{\"level\":\"info\"}\n" + first + "\nW1125 warning\n\n" + second + "\n", 2, 3},
		"a line longer than a record":         {strings.Repeat("x", maxLine+2) + "\n" + first + "\n", 1, 1},
		"a record's fields without its chain": {`{"event":"denied"}` + "\n", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			records := 0
			others, err := ReadFrom(strings.NewReader(c.text), func([]byte, Record) error { records++; return nil })
			if err != nil || records != c.records || others != c.others {
				t.Errorf("%d records, %d others, %v; want %d and %d", records, others, err, c.records, c.others)
			}
		})
	}
	stop := errors.New("stop")
	if _, err := ReadFrom(strings.NewReader(l.text()), func([]byte, Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	if _, err := Read([]string{l.path}, func([]byte, Record) error { return stop }); !errors.Is(err, stop) || !strings.Contains(err.Error(), l.path) {
		t.Errorf("got %v", err)
	}
}
