// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cookbook tests the recipes of docs/cookbook: that each does what its test says, that its test would miss each of its rules, and
// that its page shows the very files.
//
//	go test ./test/cookbook/ -args -update    # writes the files, and what the commands print, into the pages
package cookbook

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/internal/cli"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/policytest"
)

const (
	folder    = "docs/cookbook"
	catalogue = folder + "/catalogue"
)

var update = flag.Bool("update", false, "write the recipes' files, and what the commands print, into the pages")

// recipes are the folders of the cookbook but the catalogue, seen from the repository's root, which becomes the current directory.
func recipes(t *testing.T) []string {
	t.Helper()
	t.Chdir("../..")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		if e.IsDir() && e.Name() != filepath.Base(catalogue) {
			all = append(all, e.Name())
		}
	}
	return all
}

// dirs are what the plugin reads for a recipe: one that brings no capability is about those of the catalogue.
func dirs(recipe string) []string {
	own := folder + "/" + recipe
	if _, err := os.Stat(own + "/capability.yaml"); err == nil {
		return []string{own}
	}
	return []string{catalogue, own}
}

// run runs the plugin, and returns its exit code with what it printed.
func run(t *testing.T, arguments ...string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := cli.Run(t.Context(), arguments, genericiooptions.IOStreams{Out: &out, ErrOut: &out}, &clocktesting.FakePassiveClock{})
	return code, out.String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestThereAreTwentyRecipesAndAllAreInTheIndex(t *testing.T) {
	all := recipes(t)
	if len(all) < 20 {
		t.Errorf("there are %d recipes", len(all))
	}
	index := read(t, folder+"/README.md")
	for _, recipe := range all {
		title, _, _ := strings.Cut(strings.TrimPrefix(read(t, folder+"/"+recipe+".md"), "# "), "\n")
		if strings.Count(index, "["+title+"]("+recipe+".md)") != 1 {
			t.Errorf("the index does not list %s by its title, %s", recipe, title)
		}
	}
	pages, err := filepath.Glob(folder + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) != len(all)+1 {
		t.Errorf("there are %d pages beside the index for %d recipes", len(pages)-1, len(all))
	}
}

var (
	shown   = regexp.MustCompile("(?m)^\\[([a-z.-]+)\\]\\(([a-z/.-]+)\\):\n\n```yaml\n((?:.*\n)*?)```\n")
	console = regexp.MustCompile("```console\n\\$ kubectl valetkey (.*)\n((?:.*\n)*?)```\n")
)

// TestEveryPageShowsTheFilesOfItsRecipe compares each file with the page, and wants none to be left out, and no block beside them.
func TestEveryPageShowsTheFilesOfItsRecipe(t *testing.T) {
	for _, recipe := range recipes(t) {
		page := folder + "/" + recipe + ".md"
		text := read(t, page)
		if *update {
			text = shown.ReplaceAllStringFunc(text, func(block string) string {
				found := shown.FindStringSubmatch(block)
				return "[" + found[1] + "](" + found[2] + "):\n\n```yaml\n" + read(t, folder+"/"+found[2]) + "```\n"
			})
			if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		showing := map[string]string{}
		for _, found := range shown.FindAllStringSubmatch(text, -1) {
			if found[2] != recipe+"/"+found[1] {
				t.Errorf("%s: %s links to %s", recipe, found[1], found[2])
			}
			showing[found[1]] = found[3]
		}
		files, err := os.ReadDir(folder + "/" + recipe)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if showing[f.Name()] != read(t, folder+"/"+recipe+"/"+f.Name()) {
				t.Errorf("%s: the page does not show %s as it is; run this test with -args -update", recipe, f.Name())
			}
		}
		if fences := strings.Count(text, "\n```"); fences != 2*(len(files)+1) {
			t.Errorf("%s: the page has %d fences; want those of %d files and of the command that tests them", recipe, fences, len(files))
		}
	}
}

// TestEveryRecipeDoesWhatItsTestSays runs the command of each page, and the lint.
func TestEveryRecipeDoesWhatItsTestSays(t *testing.T) {
	for _, recipe := range recipes(t) {
		page := folder + "/" + recipe + ".md"
		text := read(t, page)
		commands := console.FindAllStringSubmatch(text, -1)
		if len(commands) != 1 {
			t.Errorf("%s: the page has %d commands", recipe, len(commands))
			continue
		}
		want := append(append([]string{"policy", "test"}, dirs(recipe)...), "--coverage-min", "100")
		if commands[0][1] != strings.Join(want, " ") {
			t.Errorf("%s: the page's command is %s", recipe, commands[0][1])
		}
		code, printed := run(t, want...)
		if *update {
			text = strings.Replace(text, commands[0][0], "```console\n$ kubectl valetkey "+commands[0][1]+"\n"+printed+"```\n", 1)
			if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		} else if printed != commands[0][2] {
			t.Errorf("%s: the page shows\n%sand the command prints\n%s", recipe, commands[0][2], printed)
		}
		if code != 0 {
			t.Errorf("%s: exit code %d\n%s", recipe, code, printed)
		}
		if code, printed := run(t, append(append([]string{"policy", "lint"}, dirs(recipe)...), "--strict")...); code != 0 {
			t.Errorf("%s: lint: exit code %d\n%s", recipe, code, printed)
		}
	}
}

// TestEveryRecipeShowsWhomItLetsAndWhomItRefuses wants both, and no expression that keeps nothing out.
func TestEveryRecipeShowsWhomItLetsAndWhomItRefuses(t *testing.T) {
	for _, recipe := range recipes(t) {
		_, printed := run(t, append(append([]string{"policy", "test"}, dirs(recipe)...), "-o", "json")...)
		report := policytest.Report{}
		if err := json.Unmarshal([]byte(printed), &report); err != nil {
			t.Fatalf("%s: %v\n%s", recipe, err, printed)
		}
		decisions := map[policy.Verdict]int{}
		for i := range report.Results {
			decisions[report.Results[i].Got.Decision]++
		}
		if decisions[policy.Allow] == 0 || decisions[policy.Deny] == 0 {
			t.Errorf("%s: its test decides %v", recipe, decisions)
		}
		if len(report.Coverage.NeverFailed) > 0 {
			t.Errorf("%s: no case shows what these are for: %v", recipe, report.Coverage.NeverFailed)
		}
	}
}

// loosened are the policies of a file, each time with one rule less, by what was taken out.
func loosened(t *testing.T, file string) map[string][]map[string]any {
	t.Helper()
	texts := strings.Split(read(t, file), "\n---\n")
	policies := func() []map[string]any {
		all := make([]map[string]any, len(texts))
		for i, text := range texts {
			if err := yaml.Unmarshal([]byte(text), &all[i]); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	variants := map[string][]map[string]any{}
	for i, p := range policies() {
		name := p["metadata"].(map[string]any)["name"].(string)
		for field := range p["spec"].(map[string]any) {
			loose := policies()
			spec := loose[i]["spec"].(map[string]any)
			if slices.Contains([]string{"effect", "capabilities"}, field) ||
				(spec["effect"] == "Allow" && slices.Contains([]string{"requesters", "repos", "environments"}, field)) {
				continue // what a policy has to say is no rule that could be left out
			}
			delete(spec, field)
			variants[name+" without "+field] = loose
		}
	}
	return variants
}

// TestTheTestOfARecipeMissesEachOfItsRules takes out one rule after the other, and wants a case to fail.
func TestTheTestOfARecipeMissesEachOfItsRules(t *testing.T) {
	for _, recipe := range recipes(t) {
		for what, policies := range loosened(t, folder+"/"+recipe+"/policy.yaml") {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(folder+"/"+recipe)); err != nil {
				t.Fatal(err)
			}
			var text []string
			for _, p := range policies {
				encoded, err := yaml.Marshal(p)
				if err != nil {
					t.Fatal(err)
				}
				text = append(text, string(encoded))
			}
			if err := os.WriteFile(dir+"/policy.yaml", []byte(strings.Join(text, "---\n")), 0o600); err != nil {
				t.Fatal(err)
			}
			all := dirs(recipe)
			all[len(all)-1] = dir
			if code, printed := run(t, append([]string{"policy", "test"}, all...)...); code == 0 {
				t.Errorf("%s: nobody misses policy %s:\n%s", recipe, what, printed)
			} else if code != 1 {
				t.Fatalf("%s: policy %s: %s", recipe, what, printed)
			}
		}
	}
}
