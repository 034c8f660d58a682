// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// grantList is what kubectl prints for grants that remember these anchors, and one that remembers none yet.
func grantList(t *testing.T, anchors ...v1alpha1.AuditAnchor) string {
	t.Helper()
	items := []string{`{"apiVersion":"valetkey.dev/v1alpha1","kind":"CapabilityGrant","metadata":{"name":"new","namespace":"agents"}}`}
	for _, a := range anchors {
		audit, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, fmt.Sprintf(`{"apiVersion":"valetkey.dev/v1alpha1","kind":"CapabilityGrant","metadata":{"name":"g%d","namespace":"agents"},"status":{"audit":%s}}`, a.Seq, audit))
	}
	return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",") + `]}`
}

// TestVerifyCommand_WhatALogHoldsIsShownByItsNumbers has a whole log whose writer's name plays with the terminal and adds
// a line.
func TestVerifyCommand_WhatALogHoldsIsShownByItsNumbers(t *testing.T) {
	body := `{"timestamp":"t","writer":"w\u001b[2J\u2800\nok","seq":1,"prev":"` + origin + `"`
	var stdout, stderr bytes.Buffer
	code := VerifyCommand(saved(t, body+hashBefore+hashOf([]byte(body))+hashAfter+"\n"), nil, &stdout, &stderr)
	if code != 0 || !strings.Contains(stdout.String(), `: writer w\u001b[2J\u2800\u000aok, 1 records`) {
		t.Errorf("%d: %q%s", code, stdout.String(), stderr.String())
	}
}

func TestVerifyCommand(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(1))
	l.appendN(3)
	l.close()
	folder := filepath.Dir(l.path)
	oldest := l.file.backup(1)
	broken := saved(t, strings.Replace(l.text(), "record 2", "record 3", 1))[0]
	grants := saved(t, grantList(t, l.anchors...), grantList(t, v1alpha1.AuditAnchor{Writer: l.anchors[0].Writer, Seq: 4, Hash: origin}), "{", `{"kind":"List","items":[{"kind":"Pod"}]}`)
	twice := t.TempDir()
	write1(t, filepath.Join(twice, "a-1.log"), strings.Replace(read1(t, oldest), "record 0", "record X", 1))
	write1(t, filepath.Join(twice, "a.log"), strings.Replace(l.text(), "record 2", "record X", 1))
	for _, c := range []struct {
		name   string
		args   []string
		stdin  string
		code   int
		stdout []string
		stderr string
	}{
		{"a whole log, by its folder, with grants", []string{"--grants", grants[0], folder}, "", 0,
			[]string{oldest + ": writer " + l.anchors[0].Writer + ", 1 records, 1 to 1, 2026-03-14T09:26:53.589793Z to 2026", "\nok: the last record of each of 3 grants is there as it was written\n"}, ""},
		{"a whole log, by its files, with grants from standard input", append([]string{"--grants", "-"}, l.files()...), grantList(t, l.anchors[2]), 0,
			[]string{"\nok: the last record of each of 1 grants is there"}, ""},
		{"a file that is named twice", []string{folder, oldest, folder + "/./audit.log"}, "", 0, []string{"\nok, as far as"}, ""},
		{"without grants, it says what cannot be seen", []string{folder}, "", 0,
			[]string{"\nok, as far as the files themselves can tell: give --grants to see whether the end is missing"}, ""},
		{"the present file alone", []string{"--grants", grants[0], l.path}, "", 0,
			[]string{"begins with record 3; those before it were removed by rotation, or not given", "each of 1 grants is there as it was written; that of 2 more is older"}, ""},
		{"a file that is missing in the middle", []string{oldest, l.path}, "", 1,
			[]string{"BROKEN " + l.path + ":1: record 2 is missing before this line", "\nName every file of the log."}, ""},
		{"an edited line", []string{broken}, "", 1, []string{"BROKEN " + broken + ":1: record 3 was changed", "\nWhat stands before it is as it was written."}, ""},
		{"a tail that was cut off", []string{"--grants", grants[1], folder}, "", 1, []string{"BROKEN grant agents/g4: its record 4 is missing: " + l.path + " ends with record 3"}, ""},
		{"several broken lines: the oldest is named", []string{twice}, "", 1, []string{"BROKEN " + filepath.Join(twice, "a-1.log") + ":1: record 1 was changed"}, ""},
		{"no arguments", nil, "", 2, nil, "usage: verify-audit"},
		{"an unknown flag", []string{"--grant", "x", folder}, "", 2, nil, "flag provided but not defined"},
		{"help", []string{"--help"}, "", 0, nil, "usage: verify-audit"},
		{"a file that is not there", []string{folder + "/nothing.log"}, "", 2, nil, "no such file"},
		{"a folder without logs", []string{t.TempDir()}, "", 2, nil, "no file in"},
		{"an empty file", []string{saved(t, "")[0]}, "", 2, nil, "there is no record in the files given"},
		{"grants that are not there", []string{"--grants", folder + "/nothing.json", folder}, "", 2, nil, "no such file"},
		{"grants that are no JSON", []string{"--grants", grants[2], folder}, "", 2, nil, "is not the output of 'kubectl get capgrant -A -o json'"},
		{"a list of something else", []string{"--grants", grants[3], folder}, "", 2, nil, `lists a "Pod" where a CapabilityGrant is wanted`},
		{"a single grant instead of a list", []string{"--grants", "-", folder}, `{"kind":"CapabilityGrant"}`, 2, nil, "is not the output of"},
		{"nothing on standard input", []string{"--grants", "-", folder}, "", 2, nil, "is not the output of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := VerifyCommand(c.args, strings.NewReader(c.stdin), &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.stdout {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("standard output lacks %q:\n%s", want, stdout.String())
				}
			}
			if c.stderr == "" && stderr.Len() > 0 || !strings.Contains(stderr.String(), c.stderr) {
				t.Errorf("standard error, want %q:\n%s", c.stderr, stderr.String())
			}
		})
	}
}

func TestALogIsNotCalledBrokenForBeingRotatedWhileItIsRead(t *testing.T) {
	l := start(t, filepath.Join(t.TempDir(), "audit.log"), maxSize(3000))
	done := make(chan error)
	go func() {
		var err error
		for i := 0; i < 1500 && err == nil; i++ {
			err = l.try("x")
		}
		done <- err
	}()
	for {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
			var out bytes.Buffer
			if code := VerifyCommand([]string{filepath.Dir(l.path)}, nil, &out, &out); code != 0 && !strings.Contains(out.String(), "there is no record") {
				t.Fatalf("exit code %d:\n%s", code, out.String())
			}
		}
	}
}
