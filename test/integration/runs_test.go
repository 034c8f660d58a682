// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// The tests in this file run operators of their own, so none of them is parallel.

func TestEndedRequestsAreRemovedAfterTheRetention(t *testing.T) {
	o := stage.ownOperator(t, "--retention=2s")
	j := alone(t, "retained", o)
	j.deliverWithoutApproval()
	j.finish(corev1.PodSucceeded)
	j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	r := j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "Completed")
	awaitGone(t, j.w, r)
	awaitGone(t, j.w, j.grantObject())
	refused := alone(t, "retained-refused", o)
	refused.ask()
	refused.expectRefused(v1alpha1.ReasonDeniedByPolicy, "policy")
	awaitGone(t, j.w, refused.requestObject())
}

func TestAJobThatDoesNotAppearInTimeEndsTheRequest(t *testing.T) {
	j := alone(t, "no-job", stage.ownOperator(t, "--job-timeout=1s"))
	j.allow()
	j.request()
	j.expectRefused(v1alpha1.ReasonJobTimedOut, "no Job valetkey-no-job appeared within 1s")
}

func TestNothingIsIssuedWhileTheAuditLogCannotBeWritten(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	o := stage.ownOperator(t, "--audit-file="+filepath.Join(disk, "audit.log"))
	o.audit = filepath.Join(disk, "audit.log")
	j := alone(t, "disk-full", o)
	j.allow()
	fill(t, filepath.Join(disk, "filler"))
	j.ask()
	j.awaitIssued(v1alpha1.ReasonAuditUnavailable)
	j.expectNothingIssued()
	if err := o.readyz(t.Context(), "audit"); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("health says %v", err)
	}
	j.must(os.Remove(filepath.Join(disk, "filler")))
	j.awaitDelivered()
	j.finish(corev1.PodSucceeded)
	j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	j.verifyAudit(disk)
}

// TestAClockThatIsFiveMinutesOff: the operator delivers and ends all the same, for a Pod's deadline is seconds, not an instant.
func TestAClockThatIsFiveMinutesOff(t *testing.T) {
	program := filepath.Join(stage.dir, "skewed")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./test/integration/skewed")
	build.Dir = stage.root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, skew := range map[string]string{"clock-ahead": "5m", "clock-behind": "-5m"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(program)
			cmd.Env = append(os.Environ(), "VALETKEY_TEST_SKEW="+skew)
			// A clock that is behind takes the rules to be young, and the operator not to be ready, for as long. It works all the same.
			kubeconfig, err := stage.operatorKubeconfig(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			o, err := stage.start(cmd, kubeconfig, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := o.stop(); err != nil {
					t.Error(err)
				}
			})
			j := alone(t, name, o)
			g := j.deliverWithoutApproval()
			// Never longer than was granted; by a clock that is ahead, the credential's own end comes sooner.
			ttl := time.Duration(g.Spec.TTLSeconds) * time.Second
			if lives := g.Status.ExpiresAt.Sub(g.Status.IssuedAt.Time); lives > ttl || lives < ttl-5*time.Minute-2*time.Second {
				t.Errorf("it lives %s of %s", lives, ttl)
			}
			if left := time.Until(g.Status.CredentialExpiresAt.Time); left < 14*time.Minute || left > 17*time.Minute {
				t.Errorf("the credential is said to work for %s more; STS gave it 15 minutes", left)
			}
			j.finish(corev1.PodSucceeded)
			j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
		})
	}
}

// TestOnePersonUnderTwoNamesIsOnePerson: dana is d-7, bob is b-8 and carol c-9, whatever they call themselves; erin has no number.
func TestOnePersonUnderTwoNamesIsOnePerson(t *testing.T) {
	j := alone(t, "one-person", stage.ownOperator(t, "--identity-extra-key="+employee))
	number := func(n string) map[string][]string { return map[string][]string{employee: {n}} }
	j.store(&rbacv1.RoleBinding{ObjectMeta: j.meta("dana"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "valetkey-requester"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "dana"}}})
	j.allow(func(p *v1alpha1.CapabilityPolicySpec) {
		byAlice(p)
		p.Approval.Required = 3
		p.Requesters = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "dana"}}
	})
	j.agent = j.as("dana", number("d-7"))
	j.ask()
	digest := j.awaitDecision(v1alpha1.ReasonAwaitingApproval).Status.Review.Digest
	for _, approval := range []struct{ name, number, words string }{
		{"dana-admin", "d-7", "waits for 3 approvals"},
		{"bob", "b-8", "waits for 2 approvals"},
		{"bob-admin", "b-8", "bob-admin is bob under another name, and one person counts once"},
		{"erin", "", "dana-admin is the requester under another name, and nobody approves their own request"},
	} {
		extra := number(approval.number)
		if approval.number == "" {
			extra = nil
		}
		j.annotate(j.as(approval.name, extra, "release-managers"), j.requestObject(), v1alpha1.AnnotationApprove, digest)
		j.expectStillAwaiting(approval.name, approval.words)
	}
	j.annotate(j.as("carol", number("c-9"), "release-managers"), j.requestObject(), v1alpha1.AnnotationApprove, digest)
	if by := j.awaitDelivered().Spec.Approval.ApprovedBy; !slices.Equal(by, []string{"bob", "carol", "erin"}) {
		t.Errorf("approved by %v", by)
	}
}

// expectStillAwaiting: the operator has seen somebody's approval, says so in words that help, and goes on waiting.
func (j *journey) expectStillAwaiting(seen, words string) {
	j.Helper()
	r := await(j.T, j.w, j.requestObject(), "seen and waiting: "+words, func(r *v1alpha1.CapabilityRequest) bool {
		known := slices.ContainsFunc(r.Status.SeenDecisions, func(s v1alpha1.SeenDecision) bool { return s.By == seen })
		c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed)
		return r.Status.GrantName != "" || r.Status.EndedAt != nil || known && strings.Contains(c.Message, words)
	})
	if c := condition(r.Status.Conditions, v1alpha1.ConditionAllowed); c.Reason != v1alpha1.ReasonAwaitingApproval {
		j.Errorf("the request does not wait: %s: %s", c.Reason, c.Message)
	}
	j.expectNothingIssued()
}

// fill writes until the disk is full to the last byte.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	block := make([]byte, 4096)
	for err == nil {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// verifyAudit has the operator's own program verify the log, with the grants' anchors.
func (j *journey) verifyAudit(log string) {
	j.Helper()
	grants, err := j.w.kubectl(j.Context(), "get", "capgrant", "-n", j.namespace, j.name, "-o", "json")
	j.must(err)
	cmd := exec.Command(j.w.manager, "verify-audit", "--grants", "-", log)
	cmd.Stdin = strings.NewReader(`{"apiVersion":"v1","kind":"List","items":[` + grants + `]}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		j.Errorf("the audit log is not sound: %v\n%s", err, out)
	}
}

func TestTheOperatorWaitsUntilTheGuardIsWholeAndTrustsNothingOlder(t *testing.T) {
	o := stage.ownOperator(t)
	j := alone(t, "unguarded", o)
	j.allow()
	binding := &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "valetkey-secrets"}}
	j.must(j.w.admin.Delete(t.Context(), binding))
	j.Cleanup(j.repairGuard) // should the test fail on its way
	j.ask()
	j.expectWaiting(v1alpha1.ReasonGuardIncomplete, "ValidatingAdmissionPolicyBinding valetkey-secrets is missing")
	if err := o.readyz(t.Context(), "guard"); err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicyBinding valetkey-secrets is missing") {
		t.Errorf("health says %v", err)
	}
	j.repairGuard()
	j.expectRefused(v1alpha1.ReasonNotGuarded, "create the request and its Job again")
	j.must(o.awaitReady(t.Context()))
	later := alone(t, "guarded-again", o)
	later.deliverWithoutApproval()
}

// repairGuard applies the admission rules again. What is there already stays as it is, and as old as it is.
func (j *journey) repairGuard() {
	j.Helper()
	if _, err := j.w.kubectl(context.Background(), "apply", "--server-side", "-k", filepath.Join(j.w.root, "config", "admission")); err != nil {
		j.Error(err)
	}
}

func TestALivingGrantEndsThoughTheGuardIsNotWhole(t *testing.T) {
	o := stage.ownOperator(t)
	j := alone(t, "guard-lost", o)
	j.deliverWithoutApproval()
	j.awaitRunning()
	j.must(j.w.admin.Delete(t.Context(), &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: "valetkey-decisions"}}))
	j.finish(corev1.PodSucceeded)
	j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	j.repairGuard()
}

func TestOneOfTwoOperatorsWorksAndTheOtherTakesOver(t *testing.T) {
	flags := []string{"--leader-elect=true", "--leader-lease=3s"}
	first := stage.ownOperator(t, flags...)
	j := alone(t, "two-operators", first)
	leader := j.awaitLeader("")
	second := stage.ownOperator(t, flags...)
	j.deliverWithoutApproval()
	if records, err := second.records(agents, j.name); err != nil && !os.IsNotExist(err) || len(records) > 0 {
		t.Errorf("the second wrote %d records: %v", len(records), err)
	}
	j.must(first.kill())
	j.operator = second
	j.awaitLeader(leader)
	j.finish(corev1.PodSucceeded)
	g := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if g.Status.Attempt != 1 || g.Status.PodsStarted != 1 {
		t.Errorf("%d attempts, %d Pods", g.Status.Attempt, g.Status.PodsStarted)
	}
	j.expectAudited("completed_without_reuse", v1alpha1.ReasonJobCompleted)
}

// awaitLeader returns who leads, when that is somebody else than before.
func (j *journey) awaitLeader(before string) string {
	j.Helper()
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "valetkey-system", Name: "valetkey"}}
	found := await(j.T, j.w, lease, "held by another", func(l *coordinationv1.Lease) bool {
		return l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" && *l.Spec.HolderIdentity != before
	})
	return *found.Spec.HolderIdentity
}

func TestAnOperatorUnderAnotherNameSaysSoAndEnds(t *testing.T) {
	kubeconfig, err := stage.cluster.Kubeconfig("admin")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(stage.manager, "--audit-file="+filepath.Join(t.TempDir(), "audit.log"), "--metrics-address=0", "--health-address=127.0.0.1:0")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the admission rules know it as system:serviceaccount:valetkey-system:valetkey") {
		t.Errorf("%v\n%s", err, out)
	}
}
