// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package integration

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

func may(verbs, group, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Split(verbs, ","), APIGroups: []string{group},
		Resources: strings.Split(resources, ","), ResourceNames: names}
}

// rightsAttacks are capabilities whose author bound more than they know. internal/provider/kubernetes shows of more
// such rights, on a real API server, what they lead to.
func rightsAttacks() []attack {
	const by, waits = "policy author", v1alpha1.ReasonIndeterminate
	bound := func(rules ...rbacv1.PolicyRule) func(*journey) error {
		return func(j *journey) error {
			j.onKubernetes(rules...)
			j.allow()
			j.ask()
			return nil
		}
	}
	// hidden binds cluster-admin beside a harmless role.
	hidden := func(j *journey) error {
		j.onKubernetes(reads("configmaps"))
		j.store(&rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: j.name,
				Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole",
				Name: "cluster-admin"}, Subjects: []rbacv1.Subject{j.identity()}})
		j.allow()
		j.ask()
		return nil
	}
	system := func(j *journey) error {
		j.onKubernetes(reads("configmaps"))
		j.store(&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: j.name},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole",
				Name: "view"}, Subjects: []rbacv1.Subject{j.identity()}})
		j.allow()
		j.ask()
		return nil
	}
	return []attack{
		{"an identity's role that impersonates, constrained", by, waits,
			"whoever may impersonate acts with the rights of somebody else; narrow it, or accept Escalation",
			bound(may("impersonate:user-info", "authentication.k8s.io", "users"),
				may("impersonate-on:user-info:list", "", "secrets"))},
		{"an identity's role that creates Pods", by, waits,
			"whoever may create Pods can run as every ServiceAccount of the namespace and read its Secrets; narrow it, or " +
				"accept Escalation",
			bound(may("create", "", "pods"))},
		{"an identity's role that creates Jobs", by, waits, "accept Escalation", bound(may("create", "batch", "jobs"))},
		{"an identity's role that reads Secrets", by, waits,
			"Secrets hold credentials, those of grants among them; narrow it, or accept Escalation", bound(reads("secrets"))},
		{"an identity's role that execs", by, waits,
			"it runs commands in Pods, with their rights and Secrets; ", bound(may("get", "",
				"pods/exec"))},
		{"an identity's role that watches", by, waits,
			"goes on reading after the grant's end, as long as they like; narrow it, or accept OpenConnections",
			bound(may("get,list,watch", "", "configmaps"))},
		{"an identity's role that follows logs", by, waits, "narrow it, or accept OpenConnections",
			bound(may("get", "", "pods/log"))},
		{"an identity's role that binds", by, waits, "accept Escalation", bound(may("bind", rbacv1.GroupName, "roles"))},
		{"an identity's role that decides on requests", by, waits, "accept Escalation",
			bound(may("patch,approve", "valetkey.dev", "capabilityrequests"))},
		{"an identity's role that deletes Pods", by, waits,
			"it ends Pods; a webhook that enforces rules may be among them; narrow it, or accept Disruption", bound(may("delete",
				"", "pods"))},
		{"an identity's role with a kind that is not known", by, waits,
			"so nobody has said what it leads to; narrow it, or accept Unknown", bound(may("get", "example.com", "things"))},
		{"an identity's role with a wildcard", by, waits, "narrow it, or accept Escalation, Wildcards, OpenConnections",
			bound(may("*", "", "configmaps"))},
		{"an identity's role in kube-system", by, waits, "Kubernetes itself works in kube-system; ", system},
		{"cluster-admin, bound to an identity by a binding that looks like the cluster's own", by, waits, "* *.* everywhere",
			hidden},
	}
}
