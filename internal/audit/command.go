// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

const usage = `usage: verify-audit [--grants FILE|-] LOG…

Verifies audit logs. LOG is a file, or a folder: then every file in it that ends in .log. Rotated files belong to the log; their
order does not matter. Exits with 0 if nothing is wrong, 1 if something is, 2 if that could not be found out.

`

// VerifyCommand verifies audit logs and returns the process's exit code: 0 when nothing is wrong, 1 when something is, 2 when
// that could not be found out.
func VerifyCommand(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("verify-audit", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		say(stderr, usage)
		f.PrintDefaults()
	}
	grants := f.String("grants", "", "output of 'kubectl get capgrant -A -o json', or - for standard input: shows a tail that was cut off, or a log that was written anew. Fetch it before the log")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case f.NArg() == 0:
		f.Usage()
		return 2
	}
	if err := verify(f.Args(), *grants, stdin, stdout); err != nil {
		return explain(err, stdout, stderr)
	}
	return 0
}

func explain(err error, stdout, stderr io.Writer) int {
	if problem := (*Problem)(nil); errors.As(err, &problem) {
		say(stdout, "BROKEN %v\n%s\n", problem, problem.Advice)
		return 1
	}
	say(stderr, "verify-audit: %v\n", err)
	return 2
}

func verify(logs []string, grants string, stdin io.Reader, stdout io.Writer) error {
	// The grants come first: one that is written later would remember a record that the log did not have when it was read.
	var anchors []Anchor
	if grants != "" {
		var err error
		if anchors, err = readAnchors(grants, stdin); err != nil {
			return err
		}
	}
	files, err := openLogs(logs)
	if err != nil {
		return err
	}
	defer closeAll(files)
	report, err := verifyOpen(files, anchors)
	slices.SortStableFunc(report.Segments, func(a, b Segment) int { return cmp.Or(cmp.Compare(a.Writer, b.Writer), cmp.Compare(a.First, b.First)) })
	for _, s := range report.Segments {
		say(stdout, "%s: writer %s, %d records, %d to %d, %s to %s\n", s.File, s.Writer, s.Last-s.First+1, s.First, s.Last, s.FirstTime, s.LastTime)
	}
	for _, name := range report.BeingWritten {
		say(stdout, "%s: another record is being written\n", name)
	}
	if err != nil {
		return err
	}
	if len(report.Segments) == 0 {
		return errors.New("there is no record in the files given")
	}
	conclude(report, grants != "", stdout)
	return nil
}

// opened are the files of logs, each once, whatever it is called by now.
type opened struct {
	files []*os.File
	infos []os.FileInfo
	names map[string]bool
}

// openLogs opens what is named, and what is in the folders that are named: all of it before any of it is read, since a rotation
// gives a file another name but not another content. They come in the order of their names, oldest first. Folders are looked at until no other name appears, for what a rotation
// renamed before it was opened; the present file is opened once, and what begins later is not looked at.
func openLogs(logs []string) ([]*os.File, error) {
	o := &opened{names: map[string]bool{}}
	for before := -1; len(o.names) > before; {
		before = len(o.names)
		for _, name := range logs {
			found, inFolder, err := logsAt(name)
			if err == nil {
				err = o.add(found, inFolder)
			}
			if err != nil {
				closeAll(o.files)
				return nil, err
			}
		}
	}
	slices.SortFunc(o.files, func(a, b *os.File) int { return cmp.Compare(a.Name(), b.Name()) })
	return o.files, nil
}

// add opens the files that are not open yet. The youngest come first: rotation removes the oldest, and may do so now, and then
// those that can still be opened have no gap.
func (o *opened) add(names []string, inFolder bool) error {
	for _, name := range slices.Backward(names) {
		if o.names[name] {
			continue
		}
		o.names[name] = true
		f, err := os.Open(name)
		if inFolder && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if slices.ContainsFunc(o.infos, func(other os.FileInfo) bool { return os.SameFile(info, other) }) {
			closeAll([]*os.File{f})
			continue
		}
		o.files, o.infos = append(o.files, f), append(o.infos, info)
	}
	return nil
}

// logsAt is the file of that name, or the logs in the folder of that name.
func logsAt(name string) (files []string, folder bool, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, false, err
	}
	if !info.IsDir() {
		return []string{name}, false, nil
	}
	files, err = logsIn(name)
	return files, true, err
}

// logsIn are the logs in a folder, in the order of their names: rotated files stand before the present one.
func logsIn(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasSuffix(e.Name(), ".log") {
			files = append(files, filepath.Join(folder, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no file in %s ends in .log", folder)
	}
	return files, nil
}

// conclude says how far the answer goes.
func conclude(r Report, anchored bool, stdout io.Writer) {
	begins := map[string]int64{}
	for _, s := range r.Segments {
		if known, ok := begins[s.Writer]; !ok || s.First < known {
			begins[s.Writer] = s.First
		}
	}
	for _, s := range r.Segments {
		if s.First == begins[s.Writer] && s.First > 1 {
			say(stdout, "%s: begins with record %d; those before it were removed by rotation, or not given\n", s.File, s.First)
		}
	}
	switch {
	case !anchored:
		say(stdout, "ok, as far as the files themselves can tell: give --grants to see whether the end is missing or all was written anew\n")
	case r.Older > 0:
		say(stdout, "ok: the last record of each of %d grants is there as it was written; that of %d more is older than the files given\n", r.Found, r.Older)
	default:
		say(stdout, "ok: the last record of each of %d grants is there as it was written\n", r.Found)
	}
}

// readAnchors reads what grants remember of the log.
func readAnchors(name string, stdin io.Reader) ([]Anchor, error) {
	content, err := read(name, stdin)
	if err != nil {
		return nil, err
	}
	var list v1alpha1.CapabilityGrantList
	if err := json.Unmarshal(content, &list); err != nil || !slices.Contains([]string{"List", "CapabilityGrantList"}, list.Kind) {
		return nil, errors.Join(fmt.Errorf("%s is not the output of 'kubectl get capgrant -A -o json'", name), err)
	}
	var anchors []Anchor
	for i := range list.Items {
		g := &list.Items[i]
		if g.Kind != "CapabilityGrant" {
			return nil, fmt.Errorf("%s lists a %q where a CapabilityGrant is wanted", name, g.Kind)
		}
		if g.Status.Audit != nil {
			anchors = append(anchors, Anchor{AuditAnchor: *g.Status.Audit, Owner: "grant " + g.Namespace + "/" + g.Name})
		}
	}
	return anchors, nil
}

func read(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

// say prints to a person, who has to see every character of what stands in a log. That nobody can be reached is nothing
// to mend.
func say(w io.Writer, format string, args ...any) { _, _ = visible.Fprintf(w, format, args...) }
