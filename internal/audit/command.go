// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// VerifyCommand verifies audit logs and returns the process's exit code: 0 when nothing is wrong, 1 when something is, 2 when
// that could not be found out.
func VerifyCommand(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("verify-audit", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.Usage = func() {
		say(stderr, "usage: verify-audit [--grants FILE] LOG…\n\nVerifies audit logs, rotated files included, in any order.\n")
		f.PrintDefaults()
	}
	grants := f.String("grants", "", "output of 'kubectl get capgrant -A -o json', or - for standard input: shows a tail that was cut off")
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case f.NArg() == 0:
		f.Usage()
		return 2
	}
	err := verify(f.Args(), *grants, stdin, stdout)
	if problem := (*Problem)(nil); errors.As(err, &problem) {
		say(stdout, "BROKEN %v\nEverything before it is as it was written. Keep the file, and find out who could write it.\n", problem)
		return 1
	}
	if err != nil {
		say(stderr, "%v\n", err)
		return 2
	}
	return 0
}

func verify(files []string, grants string, stdin io.Reader, stdout io.Writer) error {
	var all []*Segment
	for _, name := range files {
		segments, err := readFile(name)
		for _, s := range segments {
			say(stdout, "%s: writer %s, records %d to %d, %s to %s\n", s.File, s.Writer, s.First, s.Last, s.FirstTimestamp, s.LastTimestamp)
		}
		if err != nil {
			return err
		}
		all = append(all, segments...)
	}
	if err := Join(all); err != nil {
		return err
	}
	if grants == "" {
		say(stdout, "ok, as far as it goes: give --grants to see whether the end is missing\n")
		return nil
	}
	list, err := readGrants(grants, stdin)
	if err != nil {
		return err
	}
	if err := CheckAnchors(all, list); err != nil {
		return err
	}
	say(stdout, "ok, and the last record of each of %d grants is there\n", len(list))
	return nil
}

func readFile(name string) ([]*Segment, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	return Read(name, file)
}

func readGrants(name string, stdin io.Reader) ([]v1alpha1.CapabilityGrant, error) {
	in := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }()
		in = file
	}
	var list v1alpha1.CapabilityGrantList
	if err := json.NewDecoder(in).Decode(&list); err != nil {
		return nil, fmt.Errorf("%s is not the output of 'kubectl get capgrant -A -o json': %w", name, err)
	}
	return list.Items, nil
}

// say prints to a person; that they cannot be reached is nothing the program could mend.
func say(w io.Writer, format string, args ...any) { _, _ = fmt.Fprintf(w, format, args...) }
