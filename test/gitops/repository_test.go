// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/internal/cli"
)

const sample = "docs/gitops/repository"

// copied makes a copy of the sample repository the current directory.
func copied(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, sample))); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
}

// pipelines are the plugin's commands of each file of continuous integration.
func pipelines(t *testing.T) map[string][]string {
	t.Helper()
	workflow := struct {
		Jobs map[string]struct{ Steps []struct{ Run string } }
	}{}
	decode(t, ".github/workflows/policies.yaml", &workflow)
	var github []string
	for _, job := range workflow.Jobs {
		for _, step := range job.Steps {
			github = append(github, step.Run)
		}
	}
	pipeline := struct{ Policies struct{ Script []string } }{}
	decode(t, ".gitlab-ci.yml", &pipeline)
	return map[string][]string{"GitHub": ofPlugin(github), "GitLab": ofPlugin(pipeline.Policies.Script)}
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

func ofPlugin(commands []string) []string {
	var all []string
	for _, command := range commands {
		for _, plugin := range []string{"kubectl valetkey ", "kubectl-valetkey "} {
			if arguments, ok := strings.CutPrefix(command, plugin); ok {
				all = append(all, arguments)
			}
		}
	}
	return all
}

// run runs the plugin, and returns its exit code with what it printed.
func run(t *testing.T, arguments string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	code := cli.Run(t.Context(), strings.Fields(arguments), genericiooptions.IOStreams{Out: &out, ErrOut: &out}, &clocktesting.FakePassiveClock{})
	return code, out.String()
}

// expectPipelines runs all commands of both files, and wants one of them to fail, or none.
func expectPipelines(t *testing.T, fail bool) {
	t.Helper()
	for forge, commands := range pipelines(t) {
		if len(commands) != 2 {
			t.Fatalf("%s runs %d commands of the plugin; want lint and test", forge, len(commands))
		}
		failed, words := false, ""
		for _, command := range commands {
			code, printed := run(t, command)
			failed, words = failed || code != 0, words+command+"\n"+printed
		}
		if failed != fail {
			t.Errorf("%s: failed: %v; want %v\n%s", forge, failed, fail, words)
		}
	}
}

// replace writes other words into a file.
func replace(t *testing.T, file, old, changed string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s does not say %q", file, old)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(old), []byte(changed)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestThePipelinesOfTheSampleRepositoryPass(t *testing.T) {
	copied(t)
	expectPipelines(t, false)
}

func TestThePipelinesStopAPolicyThatAllowsMore(t *testing.T) {
	copied(t)
	replace(t, "catalogue/web-app/previews.yaml", "environments: [preview]", "environments: [preview, production]")
	expectPipelines(t, true)
}

func TestThePipelinesStopAPolicyWithoutATest(t *testing.T) {
	copied(t)
	replace(t, "catalogue/data/reports.yaml", "kind: CapabilityPolicy\nmetadata: {name: data-reports}", "kind: CapabilityPolicy\nmetadata: {name: other}")
	expectPipelines(t, true)
}

func TestTheKillSwitchOfTheSampleRepositoryIsOneMove(t *testing.T) {
	copied(t)
	if err := os.Rename("switches/freeze.yaml", "catalogue/freeze.yaml"); err != nil {
		t.Fatal(err)
	}
	expectPipelines(t, false)
}

// application is what of Argo CD's kind the sample says: the real types come with all of Argo CD.
type application struct {
	Spec struct {
		Source struct {
			Path      string
			Directory struct{ Recurse bool }
		}
		SyncPolicy struct {
			Automated struct{ Prune bool }
		}
	}
}

func TestWhatIsAppliedOfTheSampleRepositoryIsItsCatalogueAlone(t *testing.T) {
	argo := application{}
	decode(t, filepath.Join(root, "docs/gitops/argocd/application.yaml"), &argo)
	_, flux := fluxSample(t)
	if argo.Spec.Source.Path != "catalogue" || !argo.Spec.Source.Directory.Recurse || !argo.Spec.SyncPolicy.Automated.Prune || flux.Spec.Path != "./catalogue" {
		t.Fatalf("Argo CD applies %+v, Flux %s", argo.Spec, flux.Spec.Path)
	}
	owners, err := os.ReadFile(filepath.Join(root, sample, "CODEOWNERS"))
	if err != nil {
		t.Fatal(err)
	}
	err = fs.WalkDir(os.DirFS(filepath.Join(root, sample)), "catalogue", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "catalogue" && !bytes.Contains(owners, []byte("\n/"+path+"/ ")):
			t.Errorf("nobody owns %s", path)
		case !d.IsDir() && (filepath.Ext(path) != ".yaml" || strings.Contains(path, "-test.") || strings.Contains(path, "kustomization")):
			t.Errorf("%s would be applied", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
