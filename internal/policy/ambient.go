// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/ambient"
	"github.com/valetkey/valetkey/internal/visible"
)

// Delivered are the variables of the container by which clients find what a capability's back end delivers: those that
// are secret, and those that point at its files or put another credential aside.
func Delivered(c *v1alpha1.Capability) []string {
	s, names := &c.Spec, SecretVariables(c)
	inFiles := func(delivery v1alpha1.CredentialDelivery, pointers ...string) {
		if delivery != v1alpha1.DeliveryEnv {
			names = append(names, pointers...)
		}
	}
	if s.AWS != nil {
		inFiles(s.AWS.Delivery, "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_PROFILE", "AWS_ROLE_ARN",
			"AWS_WEB_IDENTITY_TOKEN_FILE")
	}
	if s.GCP != nil {
		names = append(names, "GCE_METADATA_HOST")
		inFiles(s.GCP.Delivery, "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", "GOOGLE_APPLICATION_CREDENTIALS")
	}
	if s.GitHub != nil {
		inFiles(s.GitHub.Delivery, "GITHUB_TOKEN_FILE", "GIT_CONFIG_GLOBAL")
	}
	if s.Kubernetes != nil {
		names = append(names, "KUBECONFIG")
	}
	if s.Vault != nil && s.Vault.Postgres != nil {
		names = append(names, "PGSERVICEFILE", "PGSERVICE", "PGPASSFILE", "PGUSER")
	}
	return names
}

// otherCredentials finds variables of the step by which a client of what is granted would use another credential: its
// work would be outside of the scope, and of the audit log. valetkey-exec leaves them out as it starts.
func otherCredentials(step *corev1.Container, c *v1alpha1.Capability) findings {
	var set []string
	for _, e := range step.Env {
		set = append(set, e.Name)
	}
	return conflicts(c, set, fmt.Sprintf("container %s: env", step.Name))
}

// otherCredentials finds the same among the ConfigMaps that the step has its variables from. Those that the grant has
// copied were found harmless before.
func (in ReviewInput) otherCredentials() findings {
	step := find(in.Job.Spec.Template.Spec.Containers, in.Request.Spec.Container)
	if step == nil || in.Copied != nil {
		return nil
	}
	var f findings
	for _, from := range step.EnvFrom {
		if from.ConfigMapRef == nil || in.ConfigMaps[from.ConfigMapRef.Name] == nil {
			continue
		}
		var set []string
		for key := range in.ConfigMaps[from.ConfigMapRef.Name].Data {
			set = append(set, from.Prefix+key)
		}
		where := fmt.Sprintf("ConfigMap %s, which container %s has its variables from:", from.ConfigMapRef.Name, step.Name)
		f = append(f, conflicts(in.Capability, set, where)...)
	}
	return f
}

// conflicts finds the variables that are set, and that a client of what is granted takes a credential from.
func conflicts(c *v1alpha1.Capability, set []string, where string) findings {
	if c.Spec.Exec != nil || len(set) == 0 {
		return nil
	}
	byClient := map[string][]string{}
	for _, conflict := range ambient.Variables(Delivered(c), set) {
		byClient[conflict.Client] = append(byClient[conflict.Client], conflict.Name)
	}
	var f findings
	for _, client := range slices.Sorted(maps.Keys(byClient)) {
		names := slices.Compact(slices.Sorted(slices.Values(byClient[client])))
		f.add(true, "%s %s could make %s use another credential than the granted one; leave it out, "+
			"or have the capability demand valetkey-exec, which does", where, strings.Join(visible.Names(names), ", "), client)
	}
	return f
}
