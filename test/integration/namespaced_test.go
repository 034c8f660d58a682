// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestAnOperatorWithRightsInOneNamespaceServesItAndNoOther runs the operator as its own ServiceAccount, whose power over what lives in namespaces is
// bound in one of them alone.
func TestAnOperatorWithRightsInOneNamespaceServesItAndNoOther(t *testing.T) {
	stage.settle(t)
	elsewhere := alone(t, "elsewhere", nil)
	elsewhere.enrol("unwatched")
	j := alone(t, "watched", nil)
	j.enrol("watched")
	j.narrow()
	account, err := j.w.account(t.Context(), "valetkey-system", "valetkey")
	j.must(err)
	j.expectPowerIn(account, j.namespace)

	o, issuer, https := issuing(t, "--watch-namespace="+j.namespace)
	j.operator, elsewhere.operator = o, o
	elsewhere.allow()
	elsewhere.ask()
	j.internalToken(issuer)
	proxy := j.service("artifact-proxy", issuer, https)
	j.allow(one) // which is counted by asking the API server
	j.ask()
	g := j.awaitDelivered()
	secret := &corev1.Secret{}
	j.must(j.w.admin.Get(t.Context(), client.ObjectKey{Namespace: j.namespace, Name: g.Status.SecretName}, secret))
	if status, said := proxy(string(secret.Data["token.token"])); status != 200 || said["active"] != true {
		t.Errorf("while the grant lives: %d %v", status, said)
	}
	t.Run("the namespace is not left while grants live in it", func(t *testing.T) {
		said := j.refusesToStart("--watch-namespace=" + elsewhere.namespace)
		for _, words := range []string{"grants live in namespace watched, which is not watched", "the operator may not list capabilityrequests, list capabilitygrants, list jobs, list pods, create secrets there"} {
			if !strings.Contains(said, words) {
				t.Errorf("%s\nwant %s", said, words)
			}
		}
	})
	t.Run("all namespaces want rights in all", func(t *testing.T) {
		if said := j.refusesToStart(); !strings.Contains(said, "in the whole cluster: apply config/rbac again, or name the namespaces to watch") {
			t.Error(said)
		}
	})
	j.annotate(j.w.admin, j.grantObject(), v1alpha1.AnnotationRevoke, "seen-enough")
	j.awaitEnd(v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)

	left := elsewhere.requestObject()
	j.must(j.w.admin.Get(t.Context(), client.ObjectKeyFromObject(left), left))
	if len(left.Status.Conditions) > 0 || left.Status.Review != nil {
		t.Errorf("the request elsewhere was touched: %+v", left.Status)
	}
	elsewhere.expectNothingIssued()
	if log := o.linesAbout("an enrolled namespace is not watched"); !strings.Contains(log, `"namespace":"unwatched"`) {
		t.Errorf("nothing in the log says that requests wait for ever:\n%s", o.tail())
	}
	if errors := o.linesAbout(`"level":"error"`); errors != "" {
		t.Errorf("the operator could not do something:\n%s", errors)
	}
}

// TestTheOverlayForSomeNamespacesBindsNothingEverywhere renders the overlay that docs/configuration.md shows.
func TestTheOverlayForSomeNamespacesBindsNothingEverywhere(t *testing.T) {
	dir := t.TempDir()
	shipped, err := filepath.Rel(dir, filepath.Join(stage.root, "config"))
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"agents/kustomization.yaml": "namespace: agents\nresources: [../" + shipped + "/namespaced/watched]\n",
		"kustomization.yaml":        "resources: [" + shipped + "/default, agents]\ncomponents: [" + shipped + "/namespaced]\n",
	} {
		path := filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := stage.kubectl(t.Context(), "kustomize", dir)
	if err != nil {
		t.Fatal(err)
	}
	var bound []string
	for document := range strings.SplitSeq(out, "\n---\n") {
		var b rbacv1.RoleBinding
		if err := yaml.Unmarshal([]byte(document), &b); err == nil && b.RoleRef.Name == "valetkey-operator-namespaced" {
			bound = append(bound, fmt.Sprintf("%s in %s of %s/%s", b.Kind, b.Namespace, b.Subjects[0].Namespace, b.Subjects[0].Name))
		}
	}
	if diff := cmp.Diff([]string{"RoleBinding in agents of valetkey-system/valetkey"}, bound); diff != "" {
		t.Error(diff)
	}
}

// settle has an ordinary operator end whatever earlier tests left.
func (w *world) settle(t *testing.T) {
	t.Helper()
	o := w.ownOperator(t)
	requests := &v1alpha1.CapabilityRequestList{}
	if err := w.admin.List(t.Context(), requests); err != nil {
		t.Fatal(err)
	}
	for i := range requests.Items {
		if err := client.IgnoreNotFound(w.admin.Delete(t.Context(), &requests.Items[i])); err != nil {
			t.Fatal(err)
		}
	}
	namespaces := &corev1.NamespaceList{}
	if err := w.admin.List(t.Context(), namespaces, client.HasLabels{v1alpha1.LabelInUse}); err != nil {
		t.Fatal(err)
	}
	for i := range namespaces.Items {
		await(t, w, &namespaces.Items[i], "without living grants", func(ns *corev1.Namespace) bool { return ns.Labels[v1alpha1.LabelInUse] == "" })
	}
	if err := o.stop(); err != nil {
		t.Fatal(err)
	}
}

// narrow takes the operator's power over what lives in namespaces away, and gives it back in the journey's alone, as config/namespaced does.
func (j *journey) narrow() {
	j.Helper()
	everywhere := filepath.Join(j.w.root, "config", "rbac", "everywhere.yaml")
	_, err := j.w.kubectl(j.Context(), "delete", "-f", everywhere)
	j.must(err)
	j.Cleanup(func() {
		if _, err := j.w.kubectl(context.WithoutCancel(j.Context()), "apply", "--server-side", "-f", everywhere); err != nil {
			j.Error(err)
		}
	})
	_, err = j.w.kubectl(j.Context(), "apply", "--server-side", "-n", j.namespace, "-k", filepath.Join(j.w.root, "config", "namespaced", "watched"))
	j.must(err)
}

// expectPowerIn: the account may do in the namespace what it may do nowhere else.
func (j *journey) expectPowerIn(account client.Client, namespace string) {
	j.Helper()
	allowed := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "list", Resource: "pods"}}}
	// The authorizer can be a moment behind the binding.
	j.must(wait.PollUntilContextTimeout(j.Context(), 20*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		asked := allowed.DeepCopy()
		err := account.Create(ctx, asked)
		return asked.Status.Allowed, err
	}))
	for _, list := range []client.ObjectList{&corev1.PodList{}, &batchv1.JobList{}, &v1alpha1.CapabilityRequestList{}, &v1alpha1.CapabilityGrantList{}, &corev1.ServiceAccountList{}} {
		for _, in := range []string{metav1.NamespaceAll, agents, "unwatched"} {
			if err := account.List(j.Context(), list, client.InNamespace(in)); !apierrors.IsForbidden(err) {
				j.Errorf("listing %T in %q: %v; want forbidden", list, in, err)
			}
		}
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "unwatched", Name: "valetkey-x"}}
	for what, err := range map[string]error{"creating": account.Create(j.Context(), secret), "deleting": account.Delete(j.Context(), secret)} {
		if !apierrors.IsForbidden(err) || strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			j.Errorf("%s a Secret elsewhere: %v; want it forbidden for want of rights", what, err)
		}
	}
}

// refusesToStart is what an operator says that ends at once.
func (j *journey) refusesToStart(flags ...string) string {
	j.Helper()
	o, err := j.w.launch(j.Context(), j.TempDir(), flags...)
	j.must(err)
	select {
	case <-o.ended:
	case <-time.After(patience):
		j.must(o.kill())
		j.Fatal("it went on")
	}
	return o.tail()
}
