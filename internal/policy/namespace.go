// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// labelEnforce holds the Pod Security level that a namespace enforces. Source:
// https://kubernetes.io/docs/concepts/security/pod-security-admission/
const labelEnforce = "pod-security.kubernetes.io/enforce"

// Unprotected says what a namespace lacks that agents work in; it is empty if it lacks nothing.
func Unprotected(ns *corev1.Namespace) string {
	switch {
	case ns.DeletionTimestamp != nil:
		return "namespace " + ns.Name + " is being deleted"
	case ns.Labels[v1alpha1.LabelEnrolled] != "true":
		return "namespace " + ns.Name + " is not enrolled: a cluster administrator labels it " + v1alpha1.LabelEnrolled + "=true"
	case !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes):
		return "namespace " + ns.Name + " lacks the finalizer kubernetes, and would go from under its grants; make it anew"
	}
	switch ns.Labels[labelEnforce] {
	case "baseline", "restricted":
		return ""
	}
	return "namespace " + ns.Name + " needs Pod Security: a cluster administrator labels it " + labelEnforce +
		"=baseline or restricted"
}

// unprotected comes before all that the policies say: what they promise holds nowhere else.
func (e *evaluation) unprotected() *Decision {
	if e.Unprotected == "" {
		return nil
	}
	return &Decision{Verdict: Deny, Reason: v1alpha1.ReasonNamespaceUnsafe, Message: e.Unprotected}
}
