// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

// TestTheChartsLife: what was installed is tested, is not removed while a grant lives, is removed when none does, and can be installed again.
func TestTheChartsLife(t *testing.T) {
	s := newStage(t, false)
	says := func(want ...string) {
		t.Helper()
		out, err := s.Helm(t.Context(), "test", "valetkey", "--timeout", "2m")
		out = strings.ReplaceAll(out, `\n`, "\n") // helm logs what a hook prints
		for _, line := range want {
			if !strings.Contains(out, line) {
				t.Errorf("helm test (%v) does not say %q:\n%s", err, line, out)
			}
		}
	}
	says("ok    identity\n", "ok    job-controller\n", "ok    rights\n", "ok    admission rules\n", "ok    leader", "Phase:          Succeeded")

	if metrics, err := s.Kubectl(t.Context(), stage.Admin, "get", "--raw", "/metrics"); err != nil ||
		!regexp.MustCompile(`(?m)^apiserver_flowcontrol_dispatched_requests_total\{flow_schema="valetkey",priority_level="valetkey"\} [1-9]`).MatchString(metrics) {
		t.Errorf("what the operator asks of the API server has no level of its own (%v)", err)
	}

	if _, err := s.Kubectl(t.Context(), stage.Admin, "delete", "validatingadmissionpolicybinding", "valetkey-pods"); err != nil {
		t.Fatal(err)
	}
	says("FAIL  admission rules: ", "ValidatingAdmissionPolicyBinding valetkey-pods is missing", "ok    leader")
	if err := s.HelmUpgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	says("ok    admission rules\n")

	ask(t, s, stage.Ask{Name: "lives", Args: []string{"hold"}})
	g, err := s.AwaitGrant(t.Context(), "lives", v1alpha1.ConditionDelivered)
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Helm(t.Context(), "uninstall", "valetkey", "--timeout", "2m")
	if err == nil || !strings.Contains(out, "agents/lives: capability publish-preview-build, until "+g.Status.ExpiresAt.UTC().Format("2006-01-02T15:04:05Z")) ||
		!strings.Contains(out, "1 grants live, and nobody would end them without the operator") {
		t.Fatalf("it is removed while a grant lives (%v):\n%s", err, out)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", stage.Namespace, "annotate", "capgrant", "lives", v1alpha1.AnnotationRevoke+"=removal"); err != nil {
		t.Fatal(err)
	}
	ended(t, s, "lives", v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
	if out, err := s.Helm(t.Context(), "uninstall", "valetkey", "--timeout", "2m"); err == nil || !strings.Contains(out, "agents/lives: capability publish-preview-build, has ended") {
		t.Fatalf("it is removed while nobody else can let an ended grant go (%v):\n%s", err, out)
	}
	stay(t, s)
	remove(t, s)
	if out, err := s.Helm(t.Context(), "uninstall", "valetkey", "--timeout", "2m"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	left, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "get", "statefulset,job,networkpolicy,pdb,pvc", "-o", "name")
	if want := "persistentvolumeclaim/audit-valetkey-0\npersistentvolumeclaim/audit-valetkey-1"; err != nil || left != want {
		t.Errorf("%v: there is left\n%s\nwant the audit logs alone", err, left)
	}
	if err := s.HelmUpgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	says("ok    leader")
	policies, err := filepath.Abs(filepath.Join("..", "..", "config", "samples", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "apply", "--server-side", "-f", policies); err != nil {
		t.Fatal(err)
	}
	ask(t, s, stage.Ask{Name: "again", Args: []string{"publish", "previews/web-app/again"}})
	ended(t, s, "again", v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if report, err := s.VerifyAudit(t.Context()); err != nil || !strings.Contains(report, "ok: the last record of each of 1 grants") {
		t.Errorf("the audit log of both installations: %v\n%s", err, report)
	}

	remove(t, s)
	if out, err := s.Helm(t.Context(), "uninstall", "valetkey", "--timeout", "2m"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "delete", "crd", "--timeout=1m", "capabilitygrants.valetkey.dev", "capabilityrequests.valetkey.dev"); err != nil {
		t.Errorf("the kinds cannot be removed once the operator is gone: %v", err)
	}
}

// stay goes back to an installation whose removal was refused, as docs/install.md has it.
func stay(t *testing.T, s *stage.Stage) {
	t.Helper()
	if err := s.HelmUpgrade(t.Context()); err == nil {
		t.Error("helm upgrades what it thinks is being uninstalled: docs/install.md says that it does not")
	}
	out, err := s.Helm(t.Context(), "history", "valetkey", "--output", "json")
	if err != nil {
		t.Fatal(err)
	}
	var revisions []struct{ Revision int }
	if err := json.Unmarshal([]byte(out), &revisions); err != nil || len(revisions) == 0 {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := s.Helm(t.Context(), "rollback", "valetkey", strconv.Itoa(revisions[len(revisions)-1].Revision)); err != nil {
		t.Fatal(err)
	}
	if err := s.HelmUpgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// remove has the operator let all grants go, as docs/install.md has it: no policy is left whose limit would keep one.
func remove(t *testing.T, s *stage.Stage) {
	t.Helper()
	for _, args := range [][]string{
		{"delete", "cappol", "--all"}, {"delete", "capreq", "--all", "-A"},
		{"wait", "capgrant", "--all", "-A", "--for=delete", "--timeout=2m"},
	} {
		if _, err := s.Kubectl(t.Context(), stage.Admin, args...); err != nil {
			t.Fatal(err)
		}
	}
}
