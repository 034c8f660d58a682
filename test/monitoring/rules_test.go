// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/hack/prometheus"
)

// promtool runs promtool's tests of a file of rules, and returns what it says.
func promtool(t *testing.T, rules []byte) (string, error) {
	t.Helper()
	programs, err := prometheus.Fetch(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(testsFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"rules.yaml": rules, "tests.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), programs.Promtool, "test", "rules", "tests.yaml")
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func TestAlertsFireAndAreSilent(t *testing.T) {
	spec, err := yaml.Marshal(shippedRules(t).Spec)
	if err != nil {
		t.Fatal(err)
	}
	if output, err := promtool(t, spec); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	t.Run("which a threshold that is lost would show", func(t *testing.T) {
		for _, change := range [][2]string{{"> 60", "> 600"}, {"> 60", "> 5"}, {"> 30", "> 3"}, {"[5m]", "[50m]"}, {"> 2", "> 9"}, {"pod|abandoned", "pod"}, {"pod|abandoned", "pod|abandoned|until-expiry"}, {"for: 4m", "for: 9m"}, {"for: 1m", "for: 0s"}} {
			changed := strings.ReplaceAll(string(spec), change[0], change[1])
			if output, err := promtool(t, []byte(changed)); err == nil || changed == string(spec) || !strings.Contains(output, "FAILED") {
				t.Errorf("%v: %v\n%s", change, err, output)
			}
		}
	})
}
