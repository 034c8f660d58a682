// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// maxLine bounds a line: the CRDs bound every field that goes into one.
const maxLine = 1 << 20

// Segment is what one file holds of one chain.
type Segment struct {
	// File it was read from.
	File string
	// Writer of the chain.
	Writer string
	// First and Last sequence numbers, and when those records were written.
	First, Last                   int64
	FirstTimestamp, LastTimestamp string

	prev, hash string
	lastLine   int
	hashes     map[int64]string
}

// Problem is the first thing that is wrong.
type Problem struct {
	// File and Line where it shows; line 0 when it shows in no line.
	File string
	Line int
	// What is wrong.
	What string
}

func (p *Problem) Error() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.What)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.What)
}

// Read reads one file and checks every line and link in it. Its error is a *Problem, or that of the reader.
func Read(name string, file io.Reader) ([]*Segment, error) {
	var segments []*Segment
	byWriter := map[string]*Segment{}
	reader := bufio.NewReaderSize(file, 64<<10)
	for number := 1; ; number++ {
		line, err := readLine(reader)
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return segments, nil
		}
		if errors.Is(err, io.EOF) {
			return segments, &Problem{name, number, "the last line was cut short: a crash does that, and the operator removes such a line when it starts; nothing that was acknowledged is in it"}
		}
		if err != nil {
			return segments, &Problem{name, number, err.Error()}
		}
		r, what := check(line)
		if what != "" {
			return segments, &Problem{name, number, what}
		}
		s := byWriter[r.Writer]
		if s == nil {
			s = &Segment{File: name, Writer: r.Writer, First: r.Seq, FirstTimestamp: r.Timestamp, prev: r.Prev, hashes: map[int64]string{}}
			byWriter[r.Writer] = s
			segments = append(segments, s)
		} else if what := link(s, r); what != "" {
			return segments, &Problem{name, number, what}
		}
		s.Last, s.LastTimestamp, s.hash, s.lastLine = r.Seq, r.Timestamp, r.Hash, number
		s.hashes[r.Seq] = r.Hash
	}
}

func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, errors.New("the line is longer than any record")
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return line, err
		}
		return line[:len(line)-1], nil
	}
}

// check reads one line and computes its hash again. The line must be, to the byte, what the log would have written.
func check(line []byte) (Record, string) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return r, "the line is no record"
	}
	stored := r.Hash
	again, err := r.seal()
	switch {
	case err != nil || r.Writer == "" || r.Seq < 1:
		return r, "the line is no record"
	case r.Hash != stored:
		return r, fmt.Sprintf("record %d was changed: its hash is not that of its content", r.Seq)
	case string(again) != string(line):
		return r, fmt.Sprintf("record %d was changed: it is not written as the operator writes it", r.Seq)
	}
	return r, ""
}

func link(s *Segment, r Record) string {
	switch {
	case r.Seq == s.Last+1 && r.Prev == s.hash:
		return ""
	case r.Seq == s.Last+1:
		return fmt.Sprintf("record %d does not follow record %d: one of them was replaced", r.Seq, s.Last)
	case r.Seq > s.Last:
		return fmt.Sprintf("records %d to %d are missing before this line", s.Last+1, r.Seq-1)
	default:
		return fmt.Sprintf("record %d stands after record %d: lines were repeated or moved", r.Seq, s.Last)
	}
}

// Join checks that the files' segments make whole chains. A chain whose beginning is in no file is fine: old files are removed.
func Join(segments []*Segment) error {
	sorted := slices.Clone(segments)
	slices.SortFunc(sorted, func(a, b *Segment) int {
		if a.Writer != b.Writer {
			return cmp.Compare(a.Writer, b.Writer)
		}
		return cmp.Compare(a.First, b.First)
	})
	for i, s := range sorted {
		if i == 0 || sorted[i-1].Writer != s.Writer {
			if s.First == 1 && s.prev != origin {
				return &Problem{s.File, 0, "record 1 names a record before it"}
			}
			continue
		}
		before := sorted[i-1]
		what := link(before, Record{Seq: s.First, Prev: s.prev})
		if what != "" {
			return &Problem{s.File, 1, "after " + before.File + ": " + what}
		}
	}
	return nil
}

// CheckAnchors checks that the last record about each grant is in the log, as it was when the grant's status was written. It is
// what shows a tail that was cut off, or a log that was written anew.
func CheckAnchors(segments []*Segment, grants []v1alpha1.CapabilityGrant) error {
	first := map[string]int64{}
	hashes := map[string]map[int64]string{}
	for _, s := range segments {
		if known, ok := first[s.Writer]; !ok || s.First < known {
			first[s.Writer] = s.First
		}
		if hashes[s.Writer] == nil {
			hashes[s.Writer] = map[int64]string{}
		}
		for seq, hash := range s.hashes {
			hashes[s.Writer][seq] = hash
		}
	}
	for i := range grants {
		g := &grants[i]
		a := g.Status.Audit
		if a == nil || (hashes[a.Writer] != nil && a.Seq < first[a.Writer]) {
			continue
		}
		name := "grant " + g.Namespace + "/" + g.Name
		switch hash, ok := hashes[a.Writer][a.Seq]; {
		case hashes[a.Writer] == nil:
			return &Problem{File: name, What: "no file given is of its writer " + a.Writer + ": name all of them, or a log is missing"}
		case !ok:
			return &Problem{File: name, What: fmt.Sprintf("its record %d is missing: the log was cut off before it", a.Seq)}
		case hash != a.Hash:
			return &Problem{File: name, What: fmt.Sprintf("its record %d is not the one that was written: the log was written anew", a.Seq)}
		}
	}
	return nil
}
