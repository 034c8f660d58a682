// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// TestEveryCommandIsRunOrSaysWhyNot goes through all pages.
func TestEveryCommandIsRunOrSaysWhyNot(t *testing.T) {
	tests := names(t)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, file := range append(append(pages, more...), filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		page, err := filepath.Rel(root, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range Blocks(string(text)) {
			found := block.Commands()
			commands += len(found)
			switch {
			case len(found) == 0 || block.NotRun != "" || block.Language == "console" && slices.Contains(Played(), page):
			case block.Run == "":
				t.Errorf("%s:%d: no test runs this, and it does not say why: %s", page, block.Line, strings.Join(found, "; "))
			}
			for _, name := range strings.Split(block.Run, ", ") {
				if name != "" && !tests[name] {
					t.Errorf("%s:%d: is said to be run by %s, which there is not", page, block.Line, name)
				}
			}
		}
	}
	if commands < 20 {
		t.Errorf("only %d commands were found: this test does not see what it should", commands)
	}
}

var test = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// names are those of all tests.
func names(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, folder := range []string{"cmd", "hack", "internal", "test"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, one := range test.FindAllSubmatch(text, -1) {
				found[string(one[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

func TestBlocksAreThoseOfThePage(t *testing.T) {
	got := Blocks("# Title\n\nSay:\n\n    make a\n\n    make b\n\nText that\n    goes on.\n\n<!-- not run: it costs money -->\n```sh\ngcloud c\n```\n\n<!-- run: TestD -->\nWords between.\n\n    make d\n\n<!-- run: TestE -->\n\n    make e\n")
	want := []Block{
		{Line: 5, Lines: []string{"make a", "", "make b", ""}},
		{Line: 13, Language: "sh", Lines: []string{"gcloud c"}, NotRun: "it costs money"},
		{Line: 20, Lines: []string{"make d", ""}},
		{Line: 24, Lines: []string{"make e", ""}, Run: "TestE"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStepsAreCommandsWithWhatTheyPrint(t *testing.T) {
	got := Blocks("```console\n$ one \\\n    more\nprinted\n\n$ two\n```\n")[0].Steps()
	want := []Step{{Line: 2, Command: "one \\\n    more", Output: "printed\n\n"}, {Line: 6, Command: "two"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCommandsAreWhatSomebodyTypes(t *testing.T) {
	got := Blocks("    make plugin   # bin/\n    sudo install x y\n    $ anything at all\n    A=b kubectl get x\n    makeup\n    policy.check kubectl\n")[0].Commands()
	if diff := cmp.Diff([]string{"make plugin   # bin/", "sudo install x y", "anything at all", "A=b kubectl get x"}, got); diff != "" {
		t.Error(diff)
	}
	if got := Blocks("```yaml\nmake: x\n```\n")[0].Commands(); got != nil {
		t.Errorf("YAML was taken for commands: %q", got)
	}
}

func TestWhatIsPrintedIsComparedLineByLine(t *testing.T) {
	for name, c := range map[string]struct {
		shown, printed string
		want           bool
	}{
		"the same":                       {"a\nb\n", "a\nb\n", true},
		"nothing shown":                  {"", "whatever\n", true},
		"another":                        {"a\n", "b\n", false},
		"a line more":                    {"a\n", "a\nb\n", false},
		"a line less":                    {"a\nb\n", "a\n", false},
		"other columns":                  {"NAME  AGE\n", "NAME     AGE\n", true},
		"what differs within a line":     {"pod/… met\n", "pod/x-0 met\n", true},
		"but not over lines":             {"pod/… met\n", "pod/x\ny met\n", false},
		"lines left out":                 {"a\n…\nd\n", "a\nb\nc\nd\n", true},
		"no lines left out":              {"a\n…\nd\n", "a\nd\n", true},
		"the line after those left out":  {"a\n…\nd\n", "a\nb\nc\n", false},
		"signs that mean something else": {"a.c\n", "abc\n", false},
		"signs as they are":              {"a (x)* [y]\n", "a (x)* [y]\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := (Step{Command: "x", Output: c.shown}).Like(c.printed) == nil; got != c.want {
				t.Errorf("it is %v that %q is shown as %q", got, c.printed, c.shown)
			}
		})
	}
}
