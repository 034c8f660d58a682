// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/utils/clock"
)

// BenchmarkFloor is what no log that flushes can be faster than, one record at a time: a write and a flush.
func BenchmarkFloor(b *testing.B) {
	line, _, err := seal(full(), begin("w"))
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(b.TempDir(), "floor"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for b.Loop() {
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	b.Run("one at a time", func(b *testing.B) {
		l := benchmarked(b)
		for b.Loop() {
			if _, err := l.Append(b.Context(), full()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("64 at a time", func(b *testing.B) {
		l := benchmarked(b)
		b.SetParallelism(64)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := l.Append(b.Context(), full()); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func benchmarked(b *testing.B) *Log {
	l, err := Open(Options{Path: filepath.Join(b.TempDir(), "audit.log"), Clock: clock.RealClock{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
		expectWhole(b, []string{l.file.path})
	})
	return l
}

// BenchmarkVerify is by the record.
func BenchmarkVerify(b *testing.B) {
	line, _, err := seal(full(), begin("w"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := unseal(line); err != nil {
			b.Fatal(err)
		}
	}
}
