// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// onKubernetes makes the journey's capability a ServiceAccount that may do what the rules say in the agents' namespace.
func onKubernetes(t *testing.T, name string, rules ...rbacv1.PolicyRule) *journey {
	t.Helper()
	j := begin(t, name)
	j.onKubernetes(rules...)
	return j
}

func (j *journey) onKubernetes(rules ...rbacv1.PolicyRule) {
	j.Helper()
	name := j.name
	j.asks = name
	account := metav1.ObjectMeta{Namespace: identities, Name: name,
		Annotations: map[string]string{v1alpha1.AnnotationCapability: name}}
	j.store(&corev1.ServiceAccount{ObjectMeta: account})
	j.store(&rbacv1.Role{ObjectMeta: j.meta(name), Rules: rules})
	j.store(&rbacv1.RoleBinding{ObjectMeta: j.meta(name),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects: []rbacv1.Subject{j.identity()}})
	j.store(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.CapabilityProviderSpec{Kubernetes: &v1alpha1.KubernetesProvider{Server: j.w.adminConfig.Host}}})
	j.store(&v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.CapabilitySpec{
		Description: "Read the settings of the preview.", ProviderRef: v1alpha1.ProviderReference{Name: name},
		Kubernetes: &v1alpha1.KubernetesCapability{ServiceAccountName: name}}})
}

// identity is the subject that roles of the journey's capability are bound to.
func (j *journey) identity() rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: identities, Name: j.name}
}

func reads(resource string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{resource}}
}

// delivered is a client with the kubeconfig that the container finds.
func (j *journey) delivered(g *v1alpha1.CapabilityGrant) client.Client {
	j.Helper()
	secret := &corev1.Secret{}
	j.must(j.w.admin.Get(j.Context(), client.ObjectKey{Namespace: j.namespace, Name: g.Status.SecretName}, secret))
	config, err := clientcmd.RESTConfigFromKubeConfig(secret.Data["kubernetes.config"])
	j.must(err)
	c, err := client.New(config, client.Options{Scheme: j.w.scheme})
	j.must(err)
	return c
}

func TestATokenOfTheClusterWorksAsLongAsItsGrant(t *testing.T) {
	j := onKubernetes(t, "kubernetes-token", reads("configmaps"))
	g := j.deliverWithoutApproval()
	const scope = "list configmaps in agents"
	if len(g.Spec.Scope) != 1 || g.Spec.Scope[0] != scope || g.Spec.Provider.Type != "kubernetes" {
		t.Errorf("the grant shows %v of %s; want %s", g.Spec.Scope, g.Spec.Provider.Type, scope)
	}
	if c := g.Status.Credential; c == nil || c.Principal != "system:serviceaccount:valetkey-identities:kubernetes-token" || !strings.HasPrefix(c.ID, "JTI=") {
		t.Errorf("the credential is %+v", c)
	}
	container := j.delivered(g)
	if err := container.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(j.namespace)); err != nil {
		t.Errorf("what was granted does not work: %v", err)
	}
	if err := container.List(t.Context(), &corev1.SecretList{}, client.InNamespace(j.namespace)); !apierrors.IsForbidden(err) {
		t.Errorf("what was not granted: %v", err)
	}
	j.finish(corev1.PodSucceeded)
	g = j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	r := g.Status.Revocation
	if r == nil || r.Mode != v1alpha1.RevocationImmediate || r.ConfirmedAt == nil || r.ExposedUntil == nil || r.ExposedUntil.Sub(r.ConfirmedAt.Time) != 70*time.Second || r.LeavesOpen {
		t.Errorf("the revocation is %+v; want it confirmed, and all that is under way done in 70 s", r)
	}
	if err := container.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(j.namespace)); !apierrors.IsUnauthorized(err) {
		t.Errorf("after its end: %v", err)
	}
	j.expectNoAnchor(g)
	j.expectAudited("completed_without_reuse", v1alpha1.ReasonJobCompleted)
}

func (j *journey) expectNoAnchor(g *v1alpha1.CapabilityGrant) {
	j.Helper()
	anchors := &corev1.SecretList{}
	j.must(j.w.admin.List(j.Context(), anchors, client.InNamespace(identities)))
	for _, anchor := range anchors.Items {
		if strings.Contains(anchor.Name, g.Spec.LeaseID) {
			j.Errorf("the anchor %s is left", anchor.Name)
		}
	}
}

// TestARevokedTokenOfTheClusterIsNotSaidToBeRevokedBefore: the API server remembers a token for ten seconds after it accepted it.
func TestARevokedTokenOfTheClusterIsNotSaidToBeRevokedBefore(t *testing.T) {
	j := onKubernetes(t, "kubernetes-revoked", reads("configmaps"))
	container := j.delivered(j.deliverWithoutApproval())
	j.must(container.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(j.namespace)))
	j.annotate(j.w.alice, j.grantObject(), v1alpha1.AnnotationRevoke, "seen-enough")
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
	if err := container.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace(j.namespace)); !apierrors.IsUnauthorized(err) {
		t.Errorf("it is said to be revoked, and: %v", err)
	}
}

// TestRevocation_SaysWhereWhatWasOpenedMayGoOn: nobody can end a watch, so nobody is told that all has ended.
func TestRevocation_SaysWhereWhatWasOpenedMayGoOn(t *testing.T) {
	j := onKubernetes(t, "kubernetes-open", may("list,watch", "", "configmaps"))
	j.must(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		capability := &v1alpha1.Capability{}
		if err := j.w.admin.Get(t.Context(), client.ObjectKey{Name: j.name}, capability); err != nil {
			return err
		}
		capability.Spec.Kubernetes.Accept = []v1alpha1.KubernetesAcceptance{v1alpha1.AcceptOpenConnections}
		return j.w.admin.Update(t.Context(), capability)
	}))
	j.deliverWithoutApproval()
	j.finish(corev1.PodSucceeded)
	g := j.awaitEnd(v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if r := g.Status.Revocation; r == nil || r.Mode != v1alpha1.RevocationImmediate || !r.LeavesOpen {
		t.Errorf("the revocation is %+v; want it said that what was opened may go on", r)
	}
	const words = "what was opened with it, such as a watch, may go on"
	await(t, j.w, j.requestObject(), words, func(r *v1alpha1.CapabilityRequest) bool {
		ended := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionEnded)
		return ended != nil && strings.Contains(ended.Message, words)
	})
}

// TestCapability_FollowsItsIdentityAndItsRoles: nothing but a watch is as fast. The capability is stored first, as when
// all is applied together.
func TestCapability_FollowsItsIdentityAndItsRoles(t *testing.T) {
	j := begin(t, "kubernetes-ready")
	j.store(&v1alpha1.CapabilityProvider{ObjectMeta: metav1.ObjectMeta{Name: j.name},
		Spec: v1alpha1.CapabilityProviderSpec{Kubernetes: &v1alpha1.KubernetesProvider{Server: j.w.adminConfig.Host}}})
	capability := &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: j.name}, Spec: v1alpha1.CapabilitySpec{
		Description: "Read the settings of the preview.", ProviderRef: v1alpha1.ProviderReference{Name: j.name},
		Kubernetes: &v1alpha1.KubernetesCapability{ServiceAccountName: j.name}}}
	j.store(capability)
	says := func(words string) {
		t.Helper()
		await(t, j.w, capability.DeepCopy(), words, func(c *v1alpha1.Capability) bool {
			ready := meta.FindStatusCondition(c.Status.Conditions, v1alpha1.ConditionReady)
			return ready != nil && strings.Contains(ready.Message, words)
		})
	}
	says("there is no ServiceAccount")
	begun := time.Now()
	j.store(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: identities, Name: j.name,
		Annotations: map[string]string{v1alpha1.AnnotationCapability: j.name}}})
	says("no role is bound")
	role := &rbacv1.Role{ObjectMeta: j.meta(j.name), Rules: []rbacv1.PolicyRule{reads("configmaps")}}
	j.store(role)
	j.store(&rbacv1.RoleBinding{ObjectMeta: j.meta(j.name),
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: j.name},
		Subjects: []rbacv1.Subject{j.identity()}})
	says("nothing is wrong")
	role.Rules = append(role.Rules, reads("secrets"))
	j.must(j.w.admin.Update(t.Context(), role))
	says("secrets")
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestRolesThatChangeEndWhatWasApprovedForThem(t *testing.T) {
	t.Parallel()
	widen := func(j *journey, rule rbacv1.PolicyRule) {
		role := &rbacv1.Role{ObjectMeta: j.meta(j.name)}
		j.must(j.w.admin.Get(j.Context(), client.ObjectKeyFromObject(role), role))
		role.Rules = append(role.Rules, rule)
		j.must(j.w.admin.Update(j.Context(), role))
	}
	// A role can become one that is still harmless, or one that is refused and makes the capability not Ready.
	for name, test := range map[string]struct {
		rule  rbacv1.PolicyRule
		scope string
	}{
		"harmless": {reads("pods"), "list configmaps in agents and list pods in agents"},
		"secrets":  {reads("secrets"), "list configmaps in agents and list secrets in agents"},
		"binds": {may("bind", rbacv1.GroupName, "roles"),
			"bind roles.rbac.authorization.k8s.io in agents and list configmaps in agents"},
		"anything": {may("*", "*", "*"), "* *.* in agents and list configmaps in agents"},
	} {
		changed := "the scope is " + test.scope + " and was list configmaps in agents"
		t.Run("a request that waits, "+name, func(t *testing.T) {
			j := onKubernetes(t, "widened-"+name, reads("configmaps"))
			j.allow(byAlice)
			j.ask()
			j.awaitDecision(v1alpha1.ReasonAwaitingApproval)
			widen(j, test.rule)
			j.expectRefused(v1alpha1.ReasonReviewChanged, changed)
		})
		t.Run("a grant that lives, "+name, func(t *testing.T) {
			j := onKubernetes(t, "widened-late-"+name, reads("configmaps"))
			j.deliverWithoutApproval()
			widen(j, test.rule)
			g := j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonPolicyWithdrawn)
			if !strings.Contains(g.Status.Stop.Message, changed) {
				t.Errorf("it ended for %q", g.Status.Stop.Message)
			}
			j.expectNoAnchor(g)
		})
	}
}
