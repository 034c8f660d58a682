// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package observe_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/guard"
)

func TestSlim_ARoleKeepsWhatItMayDoAndNoMore(t *testing.T) {
	words := func(n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = fmt.Sprint("word-", i)
		}
		return all
	}
	everything := []rbacv1.PolicyRule{{Verbs: []string{"*", "valetkey.dev/too-large"}, APIGroups: []string{"*"}, Resources: []string{"*"}}, {Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}}
	for name, row := range map[string]struct{ rules, want []rbacv1.PolicyRule }{
		"an ordinary role": {
			[]rbacv1.PolicyRule{{Verbs: []string{"list", "get"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}}},
			[]rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}}},
		},
		"hundreds of thousands of empty verbs": {
			[]rbacv1.PolicyRule{{Verbs: make([]string, 740_000), Resources: []string{"pods"}}},
			[]rbacv1.PolicyRule{{Verbs: []string{""}, Resources: []string{"pods"}}},
		},
		"many different verbs":   {[]rbacv1.PolicyRule{{Verbs: words(100_000)}}, everything},
		"many names":             {[]rbacv1.PolicyRule{{Verbs: []string{"get"}, ResourceNames: words(100_000)}}, everything},
		"many rules of nothing":  {make([]rbacv1.PolicyRule, 10_000), everything},
		"many paths":             {[]rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: words(100_000)}}, everything},
		"a thousand of each one": {[]rbacv1.PolicyRule{{Verbs: words(1000), Resources: words(1000), APIGroups: words(1000)}}, everything},
	} {
		t.Run(name, func(t *testing.T) {
			meta := metav1.ObjectMeta{Name: "r", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"note": "long"},
				GenerateName: "r", Finalizers: []string{"example.com/x"}, OwnerReferences: []metav1.OwnerReference{{Name: "long"}}}
			got, err := observe.Slim(&rbacv1.Role{ObjectMeta: meta, Rules: row.rules})
			if err != nil {
				t.Fatal(err)
			}
			want := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: row.want}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestSlim_ABindingOfVeryManyBindsEverybody: fifty thousand subjects in each of many bindings would fill the operator's
// memory.
func TestSlim_ABindingOfVeryManyBindsEverybody(t *testing.T) {
	some := func(n int) []rbacv1.Subject {
		all := make([]rbacv1.Subject, n)
		for i := range all {
			all[i] = rbacv1.Subject{Kind: rbacv1.UserKind, Name: fmt.Sprint("user-", i)}
		}
		return all
	}
	everybody := []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:authenticated", Namespace: "valetkey.dev/too-large"}}
	for n, want := range map[int][]rbacv1.Subject{0: nil, 1: some(1), 300: some(300), 50_000: everybody} {
		for _, binding := range []any{&rbacv1.RoleBinding{Subjects: some(n)}, &rbacv1.ClusterRoleBinding{Subjects: some(n)}} {
			slim, err := observe.Slim(binding)
			if err != nil {
				t.Fatal(err)
			}
			got := []rbacv1.Subject(nil)
			switch b := slim.(type) {
			case *rbacv1.RoleBinding:
				got = b.Subjects
			case *rbacv1.ClusterRoleBinding:
				got = b.Subjects
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%T of %d: %s", binding, n, diff)
			}
		}
	}
}

// TestSlim_LeavesOutWhoManagesAnObject has every kind that is watched. Of the admission rules the guard reads when they were written.
func TestSlim_LeavesOutWhoManagesAnObject(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	for _, o := range append(guard.Kinds(), &batchv1.Job{}, &corev1.Pod{}, &corev1.Namespace{}, &corev1.ServiceAccount{}, &v1alpha1.CapabilityRequest{},
		&v1alpha1.CapabilityGrant{}, &v1alpha1.CapabilityProvider{}, &v1alpha1.Capability{}, &v1alpha1.CapabilityPolicy{},
		&rbacv1.Role{}, &rbacv1.ClusterRole{}, &rbacv1.RoleBinding{}, &rbacv1.ClusterRoleBinding{}) {
		t.Run(fmt.Sprintf("%T", o), func(t *testing.T) {
			o.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "m", Time: &at, FieldsV1: metav1.NewFieldsV1("{}")}})
			var want []metav1.ManagedFieldsEntry
			if strings.Contains(fmt.Sprintf("%T", o), "AdmissionPolicy") {
				want = []metav1.ManagedFieldsEntry{{Manager: "m", Time: &at}}
			}
			kept, err := observe.Slim(o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, kept.(client.Object).GetManagedFields()); diff != "" {
				t.Error(diff)
			}
		})
	}
	if kept, err := observe.Slim(&corev1.Secret{}); err == nil {
		t.Errorf("of a kind that nobody thought of it keeps %v", kept)
	}
}

func TestSlim_ANamespaceKeepsWhatProtectsIt(t *testing.T) {
	labels := map[string]string{"team": "a"}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "agents", Labels: labels, GenerateName: "g", Annotations: map[string]string{"a": "b"},
		OwnerReferences: []metav1.OwnerReference{{Name: "o"}}}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}}
	want := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "agents", Labels: labels}, Spec: ns.Spec}
	kept, err := observe.Slim(ns)
	if diff := cmp.Diff(want, kept); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestSlim_OfWhatRunsWhatIsAskedFor: there are many, each with what the operator itself wrote into it. A Job that was not started keeps what
// stands there, for it is refused.
func TestSlim_OfWhatRunsWhatIsAskedFor(t *testing.T) {
	notes := map[string]string{}
	for _, key := range v1alpha1.StartAnnotations() {
		notes[key] = "of " + key
	}
	started := map[string]string{v1alpha1.AnnotationGrant: notes[v1alpha1.AnnotationGrant], v1alpha1.AnnotationSecret: notes[v1alpha1.AnnotationSecret]}
	forged := maps.Clone(notes)
	delete(forged, v1alpha1.AnnotationGrant)
	template := func(notes map[string]string) batchv1.JobSpec {
		return batchv1.JobSpec{Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: notes}}}
	}
	at := metav1.NewTime(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	pods := func(c ...corev1.PodCondition) corev1.PodStatus { return corev1.PodStatus{Conditions: c} }
	for name, row := range map[string]struct{ whole, want any }{
		"a Job that was started": {&batchv1.Job{Spec: template(notes)}, &batchv1.Job{Spec: template(started)}},
		"one that was not":       {&batchv1.Job{Spec: template(forged)}, &batchv1.Job{Spec: template(forged)}},
		"one that has ended": {
			&batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
				{Type: batchv1.JobSuspended, Status: corev1.ConditionFalse, Reason: "JobResumed"},
				{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "DeadlineExceeded", Message: "long", LastTransitionTime: at}}}},
			&batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: "DeadlineExceeded"}}}},
		},
		"its Pod": {&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: notes}},
			&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{v1alpha1.AnnotationGrant: notes[v1alpha1.AnnotationGrant]}}}},
		"a Pod that runs": {&corev1.Pod{Status: pods(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, corev1.PodCondition{Type: corev1.PodReady})},
			&corev1.Pod{}},
		"one that has no node": {
			&corev1.Pod{Status: pods(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no node"})},
			&corev1.Pod{Status: pods(corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no node"})},
		},
		"one that is collected": {
			&corev1.Pod{Status: pods(corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC"})},
			&corev1.Pod{Status: pods(corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC"})},
		},
	} {
		kept, err := observe.Slim(row.whole)
		if diff := cmp.Diff(row.want, kept); diff != "" || err != nil {
			t.Errorf("%s: %s %v", name, diff, err)
		}
	}
}
