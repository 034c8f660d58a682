// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func jobEdgeRows() []row {
	const rule, fields, belongs = "valetkey-jobs", "valetkey-job-fields", "belong to the grant"
	const pod, first = "spec.template.spec.", "spec.template.spec.containers.0."
	mounts := func(path string) func(context.Context, *world, string) error {
		return jobWith(set(pod+"volumes", []any{map[string]any{"name": "mine", "emptyDir": map[string]any{}}}), set(first+"volumeMounts", []any{map[string]any{"name": "mine", "mountPath": path}}))
	}
	rules := []any{map[string]any{"action": "Restart", "exitCodes": map[string]any{"operator": "In", "values": []any{1}}}}
	return []row{
		{name: "a container that restarts in spite of its Pod", by: agent, rule: rule, words: "one request is one run", try: jobWith(set(first+"restartPolicy", "Always"))},
		{name: "a container that restarts by a rule of its own", by: agent, rule: fields, words: "restartPolicyRules must not be set", try: jobWith(set(first+"restartPolicy", "Never"), set(first+"restartPolicyRules", rules))},
		{name: "an init container that has the others restarted", by: agent, rule: fields, words: "restartPolicyRules must not be set", try: jobWith(set(pod+"initContainers", []any{map[string]any{"name": "i", "image": image, "restartPolicy": "Never", "restartPolicyRules": rules}}))},
		{name: "an indexed Job", by: agent, rule: fields, words: "completionMode must be NonIndexed", try: jobWith(set("spec.completionMode", "Indexed"), set("spec.completions", 1))},
		{name: "a success policy", by: agent, rule: fields, words: "successPolicy must not be set", try: jobWith(set("spec.completionMode", "Indexed"), set("spec.completions", 1),
			set("spec.successPolicy", map[string]any{"rules": []any{map[string]any{"succeededIndexes": "0"}}}))},
		{name: "the host's network", by: agent, rule: fields, words: "hostNetwork must be false", try: jobWith(set(pod+"hostNetwork", true))},
		{name: "the host's processes", by: agent, rule: fields, words: "hostPID must be false", try: jobWith(set(pod+"hostPID", true))},
		{name: "the host's memory", by: agent, rule: fields, words: "hostIPC must be false", try: jobWith(set(pod+"hostIPC", true))},
		{name: "a mount over the credential's path, by a relative path", by: agent, rule: rule, words: belongs, try: mounts("var/run/secrets/valetkey.dev")},
		{name: "a mount over the credential's path, by a detour", by: agent, rule: rule, words: belongs, try: mounts("/var/run/../run/secrets/valetkey.dev")},
		{name: "a mount over the credential's path, by two slashes", by: agent, rule: rule, words: belongs, try: mounts("/var/run/secrets//valetkey.dev")},
		{name: "a mount over the credential's path, by a dot", by: agent, rule: rule, words: belongs, try: mounts("/var/run/./secrets/valetkey.dev/.")},
		{name: "a Pod whose own deadline and grace look like a grant's is projected", by: "job-controller", rule: "valetkey-project", shows: projectedInSpite},
		{name: "a second container with the credential", by: "job-controller", rule: "valetkey-pods", words: "not projected whole", try: twoHolders},
	}
}

// projectedInSpite has the job-controller make a Pod whose template already has the very deadline and grace that the projection sets.
func projectedInSpite(ctx context.Context, w *world) error {
	made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	o := w.template(ctx, made, true)
	set("spec.activeDeadlineSeconds", int64(600))(o.Object)
	set("spec.terminationGracePeriodSeconds", int64(5))(o.Object)
	again, err := w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{DryRun: dryRun})
	if err != nil {
		return err
	}
	return volumeOf(again, w.secret)
}

// twoHolders is a Pod of which somebody gave the credential to the container beside the right one, too.
func twoHolders(ctx context.Context, w *world, _ string) error {
	made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	o := w.template(ctx, made, true)
	set("spec.containers.1.env", []any{map[string]any{"name": "A", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": w.secret, "key": "aws.credentials"}}}})(o.Object)
	_, err = w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, o, metav1.CreateOptions{DryRun: dryRun})
	return err
}

func volumeOf(o *unstructured.Unstructured, secret string) error {
	volumes, _, err := unstructured.NestedSlice(o.Object, "spec", "volumes")
	if err != nil {
		return err
	}
	for _, v := range volumes {
		if name, _, _ := unstructured.NestedString(v.(map[string]any), "secret", "secretName"); name == secret {
			return nil
		}
	}
	return fmt.Errorf("no volume of the grant's Secret among %v", volumes)
}
