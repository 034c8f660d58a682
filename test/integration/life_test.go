// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func TestARehearsalIsGrantedWithoutApprovalAndNothingRemains(t *testing.T) {
	j := begin(t, "rehearsal")
	j.ask()
	granted := j.awaitDelivered()
	secret := &corev1.Secret{}
	j.must(j.w.admin.Get(t.Context(), client.ObjectKey{Namespace: j.namespace, Name: granted.Status.SecretName}, secret))
	if secret.Type != v1alpha1.SecretType {
		t.Errorf("the Secret is of type %s", secret.Type)
	}
	expectProjected(t, j.awaitRunning(), granted)
	j.finish(corev1.PodSucceeded)
	ended := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if rev := ended.Status.Revocation; rev == nil || rev.Mode != v1alpha1.RevocationAtExpiry || !rev.ExposedUntil.Equal(ended.Status.CredentialExpiresAt) {
		t.Errorf("the revocation is not told honestly: %+v", rev)
	}
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "Completed")
}

func TestARequestWaitsForTheApprovalWhoseCommandItPrints(t *testing.T) {
	j := begin(t, "approved")
	j.allow(byAlice)
	j.ask()
	j.expectNothingIssued()
	words := condition(j.awaitDecision(v1alpha1.ReasonAwaitingApproval).Status.Conditions, v1alpha1.ConditionAllowed).Message
	_, command, found := strings.Cut(words, "then: kubectl ")
	if !found {
		t.Fatalf("no command is printed: %s", words)
	}
	kubeconfig, err := j.w.cluster.Kubeconfig("alice@example.com", "release-managers")
	j.must(err)
	if out, err := exec.Command(j.w.cluster.Kubectl(), append([]string{"--kubeconfig", kubeconfig}, strings.Fields(command)...)...).CombinedOutput(); err != nil {
		t.Fatalf("kubectl %s: %v\n%s", command, err, out)
	}
	granted := j.awaitDelivered()
	if !slices.Equal(granted.Spec.Approval.ApprovedBy, []string{"alice@example.com"}) {
		t.Errorf("approved by %v", granted.Spec.Approval.ApprovedBy)
	}
	j.finish(corev1.PodFailed)
	j.awaitEnd(v1alpha1.OutcomeFailed, v1alpha1.ReasonJobFailed)
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "Failed")
}

func TestADenialRefusesTheRequestWithItsReason(t *testing.T) {
	j := begin(t, "denied")
	j.allow(byAlice)
	j.ask()
	digest := j.awaitDecision(v1alpha1.ReasonAwaitingApproval).Status.Review.Digest
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:"not before Monday"}}}`, v1alpha1.AnnotationDeny, digest, v1alpha1.AnnotationReason)
	j.must(j.w.alice.Patch(t.Context(), j.requestObject(), client.RawPatch(types.MergePatchType, []byte(patch))))
	j.expectRefused(v1alpha1.ReasonDeniedByPerson, "alice@example.com denied it: not before Monday")
}

func TestADenialThatComesLateEndsTheGrant(t *testing.T) {
	j := begin(t, "late-denial")
	digest := j.deliverWithoutApproval().Spec.Approval.Digest
	j.annotate(j.w.alice, j.requestObject(), v1alpha1.AnnotationDeny, digest)
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonDeniedLate)
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "denied by alice@example.com")
}

func TestAnApproverWhoChangesTheirMindAfterwardsEndsTheGrant(t *testing.T) {
	j := begin(t, "mind-changed")
	j.allow(byAlice)
	j.ask()
	digest := j.awaitDecision(v1alpha1.ReasonAwaitingApproval).Status.Review.Digest
	j.annotate(j.w.alice, j.requestObject(), v1alpha1.AnnotationApprove, digest)
	j.awaitDelivered()
	j.annotate(j.w.alice, j.requestObject(), v1alpha1.AnnotationDeny, digest)
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonDeniedLate)
}

func TestARevocationEndsTheGrantInTheNameOfWhoeverRevoked(t *testing.T) {
	j := begin(t, "revoked")
	j.deliverWithoutApproval()
	j.awaitRunning()
	j.annotate(j.w.alice, j.grantObject(), v1alpha1.AnnotationRevoke, "the build leaked")
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "revoked by alice@example.com: the build leaked")
	j.expectNoPods()
}

func TestADeletedGrantIsEndedBeforeItGoes(t *testing.T) {
	j := begin(t, "grant-deleted")
	j.deliverWithoutApproval()
	j.awaitRunning()
	j.must(j.w.alice.Delete(t.Context(), j.grantObject()))
	awaitGone(t, j.w, j.grantObject())
	j.expectNoSecret()
	j.expectNoPods()
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "deleted")
	j.expectAudited("revoked", v1alpha1.ReasonGrantDeleted)
}

func TestADeletedRequestTakesItsGrantWithIt(t *testing.T) {
	j := begin(t, "request-deleted")
	j.deliverWithoutApproval()
	j.awaitRunning()
	j.must(j.agent.Delete(t.Context(), j.requestObject()))
	awaitGone(t, j.w, j.grantObject())
	j.expectNoSecret()
	j.expectNoPods()
	j.expectAudited("revoked", v1alpha1.ReasonRequestGone, v1alpha1.ReasonGrantDeleted)
}

func TestADeletedJobEndsTheGrant(t *testing.T) {
	j := begin(t, "job-deleted")
	j.deliverWithoutApproval()
	j.awaitRunning()
	j.must(j.agent.Delete(t.Context(), j.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonJobGone)
	j.expectNoPods()
}

func TestADenyPolicyEndsTheGrantsThatItMatches(t *testing.T) {
	j := begin(t, "frozen")
	j.deliverWithoutApproval()
	j.awaitRunning()
	j.store(&v1alpha1.CapabilityPolicy{ObjectMeta: metav1.ObjectMeta{Name: "freeze-" + j.name},
		Spec: v1alpha1.CapabilityPolicySpec{Effect: v1alpha1.EffectDeny, Capabilities: []string{"*"}, Environments: []string{j.name}}})
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonPolicyWithdrawn)
	j.awaitRequestEnd(v1alpha1.ReasonGrantEnded, "policy freeze-frozen denies it")
	j.expectNoPods()
}

func TestAWithdrawnPolicyEndsTheGrantsThatItAllowed(t *testing.T) {
	j := begin(t, "withdrawn")
	p := j.allow()
	j.ask()
	j.awaitDelivered()
	j.must(j.w.admin.Delete(t.Context(), p))
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonPolicyWithdrawn)
}

// TestAPolicyThatIsHeldAllowsNothing: the garbage collector holds an object that is deleted in the foreground, as Argo CD
// does it, while anybody's object names it as its owner.
func TestAPolicyThatIsHeldAllowsNothing(t *testing.T) {
	j := begin(t, "held")
	p := j.allow()
	j.ask()
	j.awaitDelivered()
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: j.namespace, Name: "held", Finalizers: []string{"example.com/keep"},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(p, v1alpha1.GroupVersion.WithKind("CapabilityPolicy"))}}}
	j.must(j.w.admin.Create(t.Context(), owned))
	j.must(j.w.admin.Delete(t.Context(), p, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonPolicyWithdrawn)
	await(t, j.w, p, "held, and said to allow nothing", func(p *v1alpha1.CapabilityPolicy) bool {
		return p.DeletionTimestamp != nil && condition(p.Status.Conditions, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonBeingDeleted
	})
	j.must(j.w.admin.Patch(t.Context(), owned, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))))
	awaitGone(t, j.w, p)
}

// TestQuotas_OfTheSampleKeepOthersFromBeingPushedAside: whatever an agent's ordinary Jobs say, no Pod of theirs makes the
// operator, or somebody else's Pod, leave its node or find none.
func TestQuotas_OfTheSampleKeepOthersFromBeingPushedAside(t *testing.T) {
	j := begin(t, "pushed-aside")
	j.enrol("agents-with-quotas")
	sample, err := os.ReadFile(filepath.Join(stage.root, "config", "samples", "namespace.yaml"))
	j.must(err)
	quotas := 0
	for document := range strings.SplitSeq(string(sample), "\n---\n") {
		quota := &corev1.ResourceQuota{}
		j.must(yaml.Unmarshal([]byte(document), quota))
		if quota.Kind == "ResourceQuota" {
			quotas++
			quota.Namespace = j.namespace
			j.must(j.w.admin.Create(t.Context(), quota))
			await(t, j.w, quota, "counted", func(q *corev1.ResourceQuota) bool { return len(q.Status.Hard) > 0 })
		}
	}
	if quotas == 0 {
		t.Fatal("the sample has no quota")
	}
	j.store(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "valetkey"}, Value: 1_000_000_000})
	everywhere := corev1.PodAffinityTerm{TopologyKey: "kubernetes.io/os", NamespaceSelector: &metav1.LabelSelector{}}
	for name, change := range map[string]func(*corev1.PodSpec){
		"node":     func(pod *corev1.PodSpec) { pod.PriorityClassName = "system-node-critical" },
		"cluster":  func(pod *corev1.PodSpec) { pod.PriorityClassName = "system-cluster-critical" },
		"operator": func(pod *corev1.PodSpec) { pod.PriorityClassName = "valetkey" },
		"away": func(pod *corev1.PodSpec) {
			pod.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{everywhere}}}
		},
		"ordinary": func(*corev1.PodSpec) {},
	} {
		pod := &corev1.Pod{ObjectMeta: j.meta(name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c"}}}}
		change(&pod.Spec)
		err := j.w.admin.Create(t.Context(), pod, client.DryRunAll)
		if refused := err != nil && strings.Contains(err.Error(), "exceeded quota"); refused != (name != "ordinary") || err != nil && !refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAGrantEndsWhenItsTimeIsUp(t *testing.T) {
	j := begin(t, "overstayed")
	j.allow()
	j.request(func(r *v1alpha1.CapabilityRequest) { r.Spec.TTLSeconds = ptr.To[int32](10) })
	j.job()
	j.awaitDelivered()
	ended := j.awaitEnd(v1alpha1.OutcomeExpired, v1alpha1.ReasonExpired)
	if s := ended.Status; s.EndedAt.Before(s.ExpiresAt) || !s.CredentialExpiresAt.After(s.ExpiresAt.Time) {
		t.Errorf("it expires at %s and ended at %s; the credential works until %s", s.ExpiresAt, s.EndedAt, s.CredentialExpiresAt)
	}
	j.expectNoPods()
}

func TestANamespaceWithALivingGrantCanBeDeleted(t *testing.T) {
	j := begin(t, "namespace-gone")
	j.enrol("agents-that-go")
	j.deliverWithoutApproval()
	j.awaitRunning()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: j.namespace}}
	j.must(j.w.admin.Delete(t.Context(), ns))
	awaitGone(t, j.w, ns)
	// Which of its objects the namespace loses first is nobody's to say.
	j.expectAudited("revoked|failed_without_reuse", v1alpha1.ReasonRequestGone, v1alpha1.ReasonGrantDeleted, v1alpha1.ReasonJobGone, v1alpha1.ReasonJobFailed)
}

func TestAnApprovalThatDoesNotComeInTimeRefusesTheRequest(t *testing.T) {
	j := begin(t, "timed-out")
	j.allow(byAlice, func(p *v1alpha1.CapabilityPolicySpec) { p.Approval.TimeoutSeconds = 10 })
	j.ask()
	digest := j.awaitDecision(v1alpha1.ReasonAwaitingApproval).Status.Review.Digest
	j.expectRefused(v1alpha1.ReasonApprovalTimedOut, "create another request")
	late := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationApprove, digest)
	err := j.w.alice.Patch(t.Context(), j.requestObject(), client.RawPatch(types.MergePatchType, late))
	if err == nil || !strings.Contains(err.Error(), "(ApprovalTimedOut); nothing can be approved any more; create another request") {
		t.Errorf("an approval that comes too late: %v", err)
	}
	j.expectRefused(v1alpha1.ReasonApprovalTimedOut, "create another request")
}

func TestARequestOfTheSameNameIsGrantedAgainOnceTheFirstIsRemoved(t *testing.T) {
	j := begin(t, "again")
	first := j.deliverWithoutApproval()
	j.finish(corev1.PodSucceeded)
	j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if err := j.agent.Create(t.Context(), j.sampleRequest()); !apierrors.IsAlreadyExists(err) {
		t.Fatalf("the name was free: %v", err)
	}
	j.must(j.agent.Delete(t.Context(), j.requestObject()))
	j.must(j.agent.Delete(t.Context(), j.sampleJob(), client.PropagationPolicy(metav1.DeletePropagationBackground)))
	awaitGone(t, j.w, j.sampleJob())
	j.ask()
	second := await(t, j.w, j.grantObject(), "granted again", func(g *v1alpha1.CapabilityGrant) bool {
		return g.UID != first.UID && condition(g.Status.Conditions, v1alpha1.ConditionDelivered).Status == metav1.ConditionTrue
	})
	if second.Status.SecretName == first.Status.SecretName || second.Spec.LeaseID == first.Spec.LeaseID {
		t.Error("the second grant has the first one's Secret name or lease")
	}
}

// expectProjected: the credential is in the one container, and the Pod ends by itself.
func expectProjected(t *testing.T, pod *corev1.Pod, g *v1alpha1.CapabilityGrant) {
	t.Helper()
	volume := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == v1alpha1.VolumeName })
	if volume < 0 || pod.Spec.Volumes[volume].Secret == nil || pod.Spec.Volumes[volume].Secret.SecretName != g.Status.SecretName {
		t.Errorf("the Pod's volumes have not Secret %s: %+v", g.Status.SecretName, pod.Spec.Volumes)
	}
	for _, c := range pod.Spec.Containers {
		mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == v1alpha1.VolumeName && m.MountPath == v1alpha1.MountPath && m.ReadOnly
		})
		told := slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "AWS_SHARED_CREDENTIALS_FILE" })
		if want := c.Name == g.Spec.Job.Container; mounted != want || told != want {
			t.Errorf("container %s: mounted %t, told %t; want %t", c.Name, mounted, told, want)
		}
	}
	if d := pod.Spec.ActiveDeadlineSeconds; d == nil || *d > int64(g.Spec.TTLSeconds) || *d < int64(g.Spec.TTLSeconds)-60 {
		t.Errorf("the Pod's deadline is %v; want just below %d s", d, g.Spec.TTLSeconds)
	}
	if grace := pod.Spec.TerminationGracePeriodSeconds; grace == nil || *grace != v1alpha1.PodGraceSeconds {
		t.Errorf("the Pod's grace is %v", grace)
	}
}
