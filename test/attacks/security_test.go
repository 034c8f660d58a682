// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package attacks

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryPromiseIsHeld looks up each test and each row that the documents name.
func TestEveryPromiseIsHeld(t *testing.T) {
	names := map[string]bool{}
	for _, r := range rows() {
		names[r.name] = true
	}
	sources := testSources(t)
	for _, document := range []string{"security.md", "pitfalls.md"} {
		t.Run(document, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root(t), "docs", document))
			if err != nil {
				t.Fatal(err)
			}
			tests := regexp.MustCompile("`((Test|Fuzz)[A-Za-z_]+)`").FindAllStringSubmatch(string(text), -1)
			promised := regexp.MustCompile(`\*\*([^*]+)\*\*`).FindAllStringSubmatch(string(text), -1)
			const few = 20
			if len(tests) < few || len(promised) < few {
				t.Fatalf("%d tests and %d rows are named: the document is not read as it is meant", len(tests), len(promised))
			}
			for _, row := range promised {
				// The rows on the operator are listed in another package, each by its whole name.
				if !names[row[1]] && !strings.Contains(sources, "{\""+row[1]+"\", ") {
					t.Errorf("there is no row %q", row[1])
				}
			}
			for _, test := range tests {
				if !strings.Contains(sources, "\nfunc "+test[1]+"(") {
					t.Errorf("there is no test %s", test[1])
				}
			}
		})
	}
}

func testSources(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(root(t), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}
