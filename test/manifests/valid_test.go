// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package manifests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
)

// TestEveryManifestIsValid has helm lint the chart, a real API server judge each object as if it was applied, strictly, and kube-score
// give its advice: for each file of values, and for what kustomize makes. The API server stores the kinds, namespaces
// and the ServiceAccount, and nothing else.
func TestEveryManifestIsValid(t *testing.T) {
	ctx := t.Context()
	cluster := clustertest.Start(t, localcluster.Options{Fast: true, Helm: true, Progress: os.Stderr})
	v := &validator{helm: helm{t: t, cluster: cluster, chart: filepath.Join("..", "..", "charts", "valetkey")}, scan: newScan(t)}
	v.establish(ctx, t)

	values, err := filepath.Glob(filepath.Join("values", "*.yaml"))
	if err != nil || len(values) == 0 {
		t.Fatalf("no values: %v", err)
	}
	for _, file := range values {
		t.Run("the chart with "+filepath.Base(file), func(t *testing.T) {
			if out := v.must(ctx, "lint", "--strict", v.chart, "--values", file); strings.Contains(out, "[WARNING]") || strings.Contains(out, "[ERROR]") {
				t.Error(out)
			}
			text := v.must(ctx, "template", "valetkey", v.chart, "--values", file)
			v.strict(ctx, t, text)
			v.scan.advises(ctx, t, text)
		})
	}
	root := filepath.Join("..", "..", "config")
	for _, folder := range []string{"default", "samples", "samples/request", "samples/gcp", "samples/github", "samples/kubernetes", "samples/token", "samples/vault"} {
		t.Run("kustomize of "+folder, func(t *testing.T) {
			text := v.kubectl(ctx, t, "", "kustomize", filepath.Join(root, folder))
			v.strict(ctx, t, text)
			if folder == "default" {
				v.scan.advises(ctx, t, text)
			}
		})
	}
	t.Run("every exception is needed", v.scan.needed)
}

type validator struct {
	helm
	scan *scan
}

// establish stores the kinds, without which nothing else can be judged, and the ServiceAccount without which no Pod can.
func (v *validator) establish(ctx context.Context, t *testing.T) {
	v.kubectl(ctx, t, "", "create", "namespace", "valetkey-system")
	v.kubectl(ctx, t, "", "-n", "valetkey-system", "create", "serviceaccount", "valetkey")
	v.kubectl(ctx, t, "", "apply", "--server-side", "-k", filepath.Join("..", "..", "config", "crd"))
	v.kubectl(ctx, t, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
}

// strict has the API server judge objects as it would if they were applied: an unknown or repeated field is an error, and so is a warning.
func (v *validator) strict(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	once(t, text)
	objects, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if name := o.GetNamespace(); name != "" {
			v.kubectl(ctx, t, fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", name), "apply", "--server-side", "-f", "-")
		}
	}
	out := v.kubectl(ctx, t, text, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "--warnings-as-errors", "-f", "-")
	if n := strings.Count(out, "serverside-applied (server dry run)"); n != len(objects) || n == 0 {
		t.Errorf("%d of %d objects were judged:\n%s", n, len(objects), out)
	}
}

// once fails where a field is given twice: clients take one of them and say nothing.
func once(t *testing.T, text string) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var object any
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func (v *validator) kubectl(ctx context.Context, t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, v.cluster.Kubectl(), append([]string{"--kubeconfig", v.kubeconfig()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return stdout.String()
}

// exception is advice that is not followed. All fields are required.
type exception struct{ Check, Object, Reason string }

// scan is kube-score and the exceptions from its advice.
type scan struct {
	exceptions []exception
	used       map[exception]bool
}

func newScan(t *testing.T) *scan {
	text, err := os.ReadFile("exceptions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := &scan{used: map[exception]bool{}}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&s.exceptions); err != nil {
		t.Fatal(err)
	}
	for _, e := range s.exceptions {
		if e.Check == "" || e.Object == "" || e.Reason == "" {
			t.Errorf("%+v: an exception names a check, an object and a reason", e)
		}
	}
	return s
}

// scored is what kube-score says of one object. The best grade is 10.
type scored struct {
	Name   string `json:"object_name"`
	Object struct {
		Name string `json:"name"`
	} `json:"object_meta"`
	Checks []struct {
		Check struct {
			ID string `json:"id"`
		} `json:"check"`
		Grade    int  `json:"grade"`
		Skipped  bool `json:"skipped"`
		Comments []struct {
			Path, Summary string
		} `json:"comments"`
	} `json:"checks"`
}

// advises fails for advice that is neither followed nor excepted.
func (s *scan) advises(ctx context.Context, t *testing.T, text string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=hack/pins/kube-score/go.mod", "kube-score", "score", "--all-default-optional", "--kubernetes-version=v1.36", "--output-format=json", "-")
	cmd.Dir, cmd.Stdin = filepath.Join("..", ".."), strings.NewReader(text)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	failed := cmd.Run() // it fails when it has advice, too
	var objects []scored
	if err := json.Unmarshal(stdout.Bytes(), &objects); err != nil || len(objects) == 0 {
		t.Fatalf("kube-score: %v, %v, %d objects\n%s", failed, err, len(objects), stderr.String())
	}
	const best = 10
	for _, o := range objects {
		for _, c := range o.Checks {
			if c.Grade < best && !c.Skipped && !s.excepted(c.Check.ID, o.Object.Name) {
				t.Errorf("%s: %s: %+v", o.Name, c.Check.ID, c.Comments)
			}
		}
	}
}

func (s *scan) excepted(check, object string) bool {
	for _, e := range s.exceptions {
		if e.Check == check && e.Object == object {
			s.used[e] = true
			return true
		}
	}
	return false
}

func (s *scan) needed(t *testing.T) {
	for _, e := range s.exceptions {
		if !s.used[e] {
			t.Errorf("nothing needs the exception from %s for %s: take it out", e.Check, e.Object)
		}
	}
}
