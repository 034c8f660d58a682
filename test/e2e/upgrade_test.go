// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
)

// previous is the release before this one: what of its source is needed for its image and its chart.
const previous = "valetkey-0.1.0"

// TestUpgradeAndBack upgrades what was installed from the previous release's chart, and goes back, as docs/upgrades.md says. What was granted
// before lives on, is ended by whoever runs by then, and is in an audit log that verifies; what waits is asked for again.
func TestUpgradeAndBack(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "tar", "-xzf", filepath.Join("testdata", previous+".tar.gz"), "-C", folder).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := setUp(t, stage.Options{Root: root, Previous: filepath.Join(folder, previous)})
	runs := func(pods, name string) {
		t.Helper()
		if out, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "get", "pods", "-l", "app.kubernetes.io/name=valetkey",
			"-o", "jsonpath={range .items[*]}{.spec.containers[0].image} {end}"); err != nil || out != pods {
			t.Fatalf("%s: %q runs, %v", name, out, err)
		}
	}
	runs("valetkey.dev/valetkey:previous", "before")
	for _, name := range []string{"ended-before", "ended-after", "ended-when-back"} {
		ask(t, s, stage.Ask{Name: name, Args: []string{"hold"}})
		delivered(t, s, name)
	}
	waits := func(name string) {
		t.Helper()
		if err := s.Request(t.Context(), stage.Agent, stage.Ask{Name: name, Environment: "preview", TTLSeconds: 300, Args: []string{"publish", "previews/web-app/waits"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AwaitRequest(t.Context(), name, v1alpha1.ReasonAwaitingApproval); err != nil {
			t.Fatal(err)
		}
	}
	waits("waits")
	revokes(t, s, "ended-before")

	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "annotate", "pvc", "valetkey-audit", "helm.sh/resource-policy=keep"); err != nil {
		t.Fatal(err)
	}
	if err := s.HelmUpgrade(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=valetkey,pod-template-hash", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	runs("valetkey.dev/valetkey:dev valetkey.dev/valetkey:dev", "upgraded")
	delivered(t, s, "ended-after")
	revokes(t, s, "ended-after")
	// The upgrade stores admission rules anew, and what waited was not created under them.
	if _, err := s.AwaitRequest(t.Context(), "waits", v1alpha1.ReasonNotGuarded); err != nil {
		t.Fatal(err)
	}
	waits("asked-again")
	approve(t, s, "asked-again")
	ended(t, s, "asked-again", v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	ask(t, s, stage.Ask{Name: "asked-after", Args: []string{"hold"}})
	delivered(t, s, "asked-after")
	if report, err := s.VerifyAudit(t.Context(), s.PreviousAuditDir()); err != nil || !strings.Contains(report, "ok: the last record of each of 5 grants") {
		t.Errorf("the audit logs of both releases: %v\n%s", err, report)
	}

	if out, err := s.Helm(t.Context(), "rollback", "valetkey", "1", "--wait"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "rollout", "status", "deployment/valetkey", "--timeout=2m"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", "valetkey-system", "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/name=valetkey,apps.kubernetes.io/pod-index", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	runs("valetkey.dev/valetkey:previous", "back")
	revokes(t, s, "ended-when-back")
	// The older release does not know by what the newer one told that nothing has changed since.
	ended(t, s, "asked-after", v1alpha1.OutcomeRevoked, v1alpha1.ReasonPolicyWithdrawn)
	ask(t, s, stage.Ask{Name: "asked-when-back", Args: []string{"publish", "previews/web-app/back"}})
	ended(t, s, "asked-when-back", v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if report, err := s.VerifyLogs(t.Context(), s.AuditDir(0), s.AuditDir(1), s.PreviousAuditDir()); err != nil || !strings.Contains(report, "ok: the last record of each of 6 grants") {
		t.Errorf("the audit logs of both releases: %v\n%s", err, report)
	}
}

func delivered(t *testing.T, s *stage.Stage, name string) {
	t.Helper()
	if _, err := s.AwaitGrant(t.Context(), name, v1alpha1.ConditionDelivered); err != nil {
		t.Fatal(err)
	}
}

func revokes(t *testing.T, s *stage.Stage, name string) {
	t.Helper()
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", stage.Namespace, "annotate", "capgrant", name, v1alpha1.AnnotationRevoke+"=done"); err != nil {
		t.Fatal(err)
	}
	ended(t, s, name, v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
}

func approve(t *testing.T, s *stage.Stage, name string) {
	t.Helper()
	r, err := s.AwaitRequest(t.Context(), name, v1alpha1.ReasonAwaitingApproval)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), stage.Alice, "-n", stage.Namespace, "annotate", "capreq", name, v1alpha1.AnnotationApprove+"="+r.Status.Review.Digest); err != nil {
		t.Fatal(err)
	}
}
