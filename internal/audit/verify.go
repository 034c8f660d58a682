// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Anchor is a record that must be in the log, because somebody beside the log remembers it.
type Anchor struct {
	v1alpha1.AuditAnchor
	// Owner is who remembers it, for example "grant agents/publish-pr-184".
	Owner string
}

// Segment is what one file holds of its chain, up to its first problem.
type Segment struct {
	// File it was read from.
	File string
	// Writer of the chain.
	Writer string
	// First and Last record's numbers, and when they were written.
	First, Last         int64
	FirstTime, LastTime string

	prev, hash string
}

// Report says what was verified.
type Report struct {
	// Segments in the order in which they were read.
	Segments []Segment
	// Found counts the anchors whose records are in the log as they were written.
	Found int
	// Older counts the anchors whose records are older than the first one of their chain in the files given.
	Older int
	// BeingWritten are files whose last line is unfinished while an operator holds them open.
	BeingWritten []string
}

// Problem is the first thing that is wrong.
type Problem struct {
	// File, or who remembers an anchor, and Line where it shows; line 0 when it shows in no line.
	File string
	Line int
	// What is wrong.
	What string
	// Advice is what to do now.
	Advice string

	torn bool
}

func (p *Problem) Error() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.What)
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.What)
}

// What to do about a problem.
const (
	adviseEdited  = "What stands before it is as it was written. Keep the files, and find out who could write them; standard output and the cloud's own log tell the same story."
	adviseMissing = "Name every file of the log. If they are all there, lines or files were removed: find out who could write them."
	adviseTorn    = "The operator removes such a line when it starts, and says so in the log. If it has not crashed, somebody cut the file."
)

// Verify reads the files of one or more logs, in any order, and checks every line, every link between them, and that the anchors'
// records are there. Its error is a *Problem if something is wrong with the log, anything else if that could not be found out. Without
// anchors a tail that was cut off whole, or a log that was written anew, cannot be seen.
func Verify(files []string, anchors []Anchor) (Report, error) {
	var opened []*os.File
	defer func() { closeAll(opened) }()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return Report{}, err
		}
		opened = append(opened, f)
	}
	return verifyOpen(opened, anchors)
}

// closeAll closes files that were only read.
func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

func verifyOpen(files []*os.File, anchors []Anchor) (Report, error) {
	v := newVerifier(anchors)
	var torn *Problem
	for _, f := range files {
		err := v.read(f.Name(), f)
		if problem := (*Problem)(nil); errors.As(err, &problem) && problem.torn {
			if held(f.Name()) {
				v.report.BeingWritten = append(v.report.BeingWritten, f.Name())
			} else {
				torn = problem
			}
			continue
		}
		if err != nil {
			return v.report, err
		}
	}
	err := v.finish()
	if err == nil && torn != nil {
		err = torn
	}
	return v.report, err
}

// held: a process has the log open for writing.
func held(name string) bool {
	lock, err := os.Open(name + lockSuffix)
	if err != nil {
		return false
	}
	defer func() { _ = lock.Close() }()
	return errors.Is(unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// verifier holds what must be remembered between lines and files. Logs are larger than memory: it is not much.
type verifier struct {
	report  Report
	anchors []Anchor
	// wanted are the anchors that were not met yet.
	wanted map[place][]Anchor
}

type place struct {
	writer string
	seq    int64
}

func newVerifier(anchors []Anchor) *verifier {
	v := &verifier{anchors: slices.Clone(anchors), wanted: map[place][]Anchor{}}
	slices.SortStableFunc(v.anchors, func(a, b Anchor) int { return cmp.Or(cmp.Compare(a.Writer, b.Writer), cmp.Compare(a.Seq, b.Seq)) })
	for _, a := range anchors {
		at := place{a.Writer, a.Seq}
		v.wanted[at] = append(v.wanted[at], a)
	}
	return v
}

// read checks every line of a file.
func (v *verifier) read(name string, file io.Reader) error {
	reader := bufio.NewReaderSize(file, 64<<10)
	first := len(v.report.Segments)
	for number := 1; ; number++ {
		line, err := readLine(reader)
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return &Problem{File: name, Line: number, What: "the last line is unfinished: a crash leaves that behind, and so does cutting the file", Advice: adviseTorn, torn: true}
		case errors.Is(err, errLong):
			return &Problem{File: name, Line: number, What: err.Error(), Advice: adviseEdited}
		case err != nil:
			return fmt.Errorf("reading %s: %w", name, err)
		}
		record, err := unseal(line)
		if err == nil {
			err = v.follow(name, first, record)
		}
		if err != nil {
			return &Problem{File: name, Line: number, What: err.Error(), Advice: adviseEdited}
		}
	}
}

var errLong = errors.New("the line is longer than any record")

// readLine returns a line without its end; with io.EOF, what stands behind the last line's end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxLine:
			return nil, errLong
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return line, err
		}
		return line[:len(line)-1], nil
	}
}

// follow puts a record behind those read before it from the same file, which begins the segment number first of the report.
func (v *verifier) follow(name string, first int, r link) error {
	if len(v.report.Segments) == first {
		v.report.Segments = append(v.report.Segments, Segment{File: name, Writer: r.Writer, First: r.Seq, FirstTime: r.Timestamp, prev: r.Prev})
	} else if err := v.report.Segments[first].next(r); err != nil {
		return err
	}
	if (r.Seq == 1) != (r.Prev == origin) {
		return fmt.Errorf("record %d does not begin the chain, or does not go on with it, as its number says", r.Seq)
	}
	s := &v.report.Segments[first]
	s.Last, s.LastTime, s.hash = r.Seq, r.Timestamp, r.Hash
	return v.meet(r.anchor())
}

// next checks that a record may stand behind the segment.
func (s *Segment) next(r link) error {
	switch seq, prev := r.Seq, r.Prev; {
	case r.Writer != s.Writer:
		return fmt.Errorf("record %d is of another writer, %s: a file holds one chain", seq, r.Writer)
	case seq == s.Last+1 && prev == s.hash:
		return nil
	case seq == s.Last+1:
		return fmt.Errorf("record %d does not follow record %d as it was written: one of them was replaced", seq, s.Last)
	case seq == s.Last+2:
		return fmt.Errorf("record %d is missing before this line", s.Last+1)
	case seq > s.Last:
		return fmt.Errorf("records %d to %d are missing before this line", s.Last+1, seq-1)
	case seq == s.Last:
		return fmt.Errorf("record %d stands here a second time", seq)
	default:
		return fmt.Errorf("record %d stands behind record %d: lines were repeated or moved", seq, s.Last)
	}
}

// meet compares a record with the anchors of its place.
func (v *verifier) meet(is v1alpha1.AuditAnchor) error {
	at := place{is.Writer, is.Seq}
	for _, a := range v.wanted[at] {
		if a.Hash != is.Hash {
			return fmt.Errorf("record %d is not the one that was written: %s remembers another hash", is.Seq, a.Owner)
		}
		v.report.Found++
	}
	delete(v.wanted, at)
	return nil
}

// finish checks that the files' segments make whole chains, and that no anchor's record is missing.
func (v *verifier) finish() error {
	sorted := slices.Clone(v.report.Segments)
	slices.SortFunc(sorted, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.Writer, b.Writer), cmp.Compare(a.First, b.First))
	})
	ends := map[string]Segment{}
	begins := map[string]int64{}
	for _, s := range sorted {
		before, known := ends[s.Writer]
		ends[s.Writer] = s
		if !known {
			begins[s.Writer] = s.First
			continue
		}
		if err := before.next(link{Writer: s.Writer, Seq: s.First, Prev: s.prev}); err != nil {
			return &Problem{File: s.File, Line: 1, What: err.Error() + " (the file before it is " + before.File + ")", Advice: adviseMissing}
		}
	}
	for _, a := range v.anchors {
		if _, missing := v.wanted[place{a.Writer, a.Seq}]; !missing {
			continue
		}
		end, known := ends[a.Writer]
		switch {
		case !known:
			return &Problem{File: a.Owner, What: fmt.Sprintf("its record is number %d of writer %s, of which no file was given", a.Seq, a.Writer), Advice: adviseMissing}
		case a.Seq < begins[a.Writer]:
			v.report.Older++
		default:
			return &Problem{File: a.Owner, What: fmt.Sprintf("its record %d is missing: %s ends with record %d", a.Seq, end.File, end.Last), Advice: adviseMissing}
		}
	}
	return nil
}
