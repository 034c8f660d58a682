// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/valetkey/valetkey/hack/jobfields/rule"
	"github.com/valetkey/valetkey/internal/policy"
)

// tooMany makes a list of one element more than a field may have. Each element is what format makes of its number.
func tooMany(field string, format func(int) any) []any {
	all := make([]any, most(field)+1)
	for i := range all {
		all[i] = format(i)
	}
	return all
}

// most is how many elements a field may have; all of them are policy's to say.
func most(field string) int { return boundOf(field).Elements }

func boundOf(field string) policy.Bound {
	for _, s := range policy.Structs() {
		for _, f := range s.Fields {
			if s.Name+"."+f.Name == field {
				return f.Bound()
			}
		}
	}
	return policy.Bound{}
}

// named makes objects with a name of their own, and with other fields.
func named(fields map[string]any) func(int) any {
	return func(i int) any {
		o := map[string]any{"name": fmt.Sprintf("n%d", i)}
		for key, value := range fields {
			o[key] = value
		}
		return o
	}
}

// text is of one character more than a field may have.
func text(field string) string { return strings.Repeat("x", boundOf(field).Length+1) }

func texts(prefix string) func(int) any {
	return func(i int) any { return fmt.Sprintf("%s%d", prefix, i) }
}

// marks are n labels or annotations.
func marks(n int) map[string]any {
	all := map[string]any{}
	for i := range n {
		all[fmt.Sprintf("example.com/n%d", i)] = "x"
	}
	return all
}

// sizeRows are Jobs that are too large for the operator to keep, and for other rules to look at.
func sizeRows() []row {
	const pod, first = "spec.template.spec.", "spec.template.spec.containers.0."
	container := named(map[string]any{"image": image})
	var all []row
	add := func(field string, edits ...edit) {
		all = append(all, row{name: "a Job with more of " + field + " than fits", by: agent, rule: rule.Sizes, words: field + " may have", try: jobWith(edits...)})
	}
	add("Container.args", set(first+"args", tooMany("Container.args", texts(""))))
	add("Container.command", set(first+"command", tooMany("Container.command", texts(""))))
	add("Container.env", set(first+"env", tooMany("Container.env", named(nil))))
	add("Container.envFrom", set(first+"envFrom", tooMany("Container.envFrom", func(int) any { return map[string]any{"configMapRef": map[string]any{"name": "c"}} })))
	add("Container.ports", set(first+"ports", tooMany("Container.ports", func(i int) any { return map[string]any{"containerPort": i + 1} })))
	add("Container.volumeMounts", set(pod+"volumes", []any{map[string]any{"name": "v", "emptyDir": map[string]any{}}}),
		set(first+"volumeMounts", tooMany("Container.volumeMounts", func(i int) any { return map[string]any{"name": "v", "mountPath": fmt.Sprintf("/v%d", i)} })))
	add("Container.workingDir", set(first+"workingDir", "/"+text("Container.workingDir")))
	add("PodSpec.containers", set(pod+"containers", tooMany("PodSpec.containers", container)))
	add("PodSpec.initContainers", set(pod+"initContainers", tooMany("PodSpec.initContainers", container)))
	add("PodSpec.volumes", set(pod+"volumes", tooMany("PodSpec.volumes", named(map[string]any{"emptyDir": map[string]any{}}))))
	add("PodSpec.tolerations", set(pod+"tolerations", tooMany("PodSpec.tolerations", func(i int) any { return map[string]any{"key": fmt.Sprint("k", i), "operator": "Exists"} })))
	add("PodSpec.nodeSelector", set(pod+"nodeSelector", marks(most("PodSpec.nodeSelector")+1)))
	add("PodSpec.hostAliases", set(pod+"hostAliases", tooMany("PodSpec.hostAliases", func(int) any { return map[string]any{"ip": "10.0.0.1", "hostnames": []any{"a"}} })))
	add("PodSpec.imagePullSecrets", set(pod+"imagePullSecrets", tooMany("PodSpec.imagePullSecrets", named(nil))))
	add("PodSpec.readinessGates", set(pod+"readinessGates", tooMany("PodSpec.readinessGates", func(i int) any { return map[string]any{"conditionType": fmt.Sprint("c", i)} })))
	add("HostAlias.hostnames", set(pod+"hostAliases", []any{map[string]any{"ip": "10.0.0.1", "hostnames": tooMany("HostAlias.hostnames", texts("h"))}}))
	add("NodeSelectorRequirement.values", affinity([]any{requirement(tooMany("NodeSelectorRequirement.values", texts("v")))}))
	add("NodeSelectorTerm.matchExpressions", affinity(tooMany("NodeSelectorTerm.matchExpressions", func(int) any { return requirement([]any{"v"}) })))
	add("EnvVar.value", set(first+"env", []any{map[string]any{"name": "A", "value": text("EnvVar.value")}}))
	add("ObjectMeta.labels", set("spec.template.metadata.labels", withRequest(marks(most("ObjectMeta.labels")))))
	add("ObjectMeta.annotations", set("spec.template.metadata.annotations", marks(most("ObjectMeta.annotations")+1)))
	add("Capabilities.drop", set(first+"securityContext", map[string]any{"capabilities": map[string]any{"drop": tooMany("Capabilities.drop", texts("C"))}}))
	add("HTTPGetAction.httpHeaders", set(first+"livenessProbe", map[string]any{"httpGet": map[string]any{"port": 80,
		"httpHeaders": tooMany("HTTPGetAction.httpHeaders", named(map[string]any{"value": "v"}))}}))
	add("ConfigMapVolumeSource.items", set(pod+"volumes", []any{map[string]any{"name": "v", "configMap": map[string]any{"name": "c",
		"items": tooMany("ConfigMapVolumeSource.items", func(i int) any { return map[string]any{"key": fmt.Sprint("k", i), "path": fmt.Sprint("p", i)} })}}}))
	add("ProjectedVolumeSource.sources", set(pod+"volumes", []any{map[string]any{"name": "v", "projected": map[string]any{
		"sources": tooMany("ProjectedVolumeSource.sources", func(i int) any { return map[string]any{"configMap": map[string]any{"name": fmt.Sprint("c", i)}} })}}}))
	half := strings.Repeat("x", policy.MaxJobWords/4+1)
	value := map[string]any{"value": strings.Repeat("x", boundOf("EnvVar.value").Length)}
	return append(all,
		row{name: "a Job whose words are too long together", by: agent, rule: rule.Sizes, words: "command and args of all containers",
			try: jobWith(set(first+"args", []any{half, half}), set(pod+"containers.1.args", []any{half, half}))},
		row{name: "a Job whose variables are too long together", by: agent, rule: rule.Sizes, words: "the variables of all containers", try: jobWith(
			set(first+"env", []any{named(value)(0), named(value)(1), named(value)(2)}), set(pod+"containers.1.env", []any{named(value)(3), named(value)(4)}))},
		row{name: "a Job with more annotations than fit", by: agent, rule: rule.Sizes, words: "labels and 64 annotations",
			try: jobWith(set("metadata.annotations", marks(policy.MaxJobNotes+1)))},
		row{name: "a Job with more labels than fit", by: agent, rule: rule.Sizes, words: "64 labels",
			try: jobWith(set("metadata.labels", withRequest(marks(policy.MaxJobNotes))))},
		row{name: "more annotations than fit, on a Job that is there", by: mallory, rule: rule.Sizes, words: "labels and 64 annotations",
			try: patches("Job", "valetkey-"+waiting, "", manyMarks("annotations", policy.MaxJobNotes+1))},
		row{name: "a request with more labels than fit, so that nobody could deny it", by: agent, rule: "valetkey-requests", words: "room for decisions",
			try: creates(func(w *world) *unstructured.Unstructured { return w.request0("q", set("metadata.labels", marks(65))) })},
		row{name: "a request with more annotations than fit", by: agent, rule: "valetkey-requests", words: "room for decisions",
			try: creates(func(w *world) *unstructured.Unstructured {
				return w.request0("q", set("metadata.annotations", marks(65)))
			})},
		row{name: "a request filled up by signs that are stored as six, so that nobody could deny it", by: agent, rule: "valetkey-requests", words: "16384 characters together",
			try: creates(func(w *world) *unstructured.Unstructured {
				return w.request0("q", set("metadata.annotations", map[string]any{"n": strings.Repeat("\u0001", 16384)}))
			})},
		row{name: "an annotation that fills up a request that waits", by: mallory, rule: "valetkey-requests", words: "16384 characters together",
			try: patches("CapabilityRequest", waiting, "", `{"metadata":{"annotations":{"n":"`+strings.Repeat("x", 16384)+`"}}}`)},
		row{name: "a reason that fills up a grant, so that nobody could abandon it", by: alice, rule: "valetkey-grants", words: "at most 1024 characters",
			try: patches("CapabilityGrant", granted, "", `{"metadata":{"annotations":{"valetkey.dev/revoke":"`+strings.Repeat("x", 1025)+`"}}}`)},
		row{name: "a Job with more variables in all containers than fit", by: agent, rule: rule.Sizes, words: "Container.env may have 1024 elements in all",
			try: jobWith(set(pod+"initContainers", manyContainers(5, "env", 256, map[string]any{"name": "A"})))},
		row{name: "a Job with more parts in all containers than other rules look at", by: agent, rule: rule.Sizes, words: "and these together no more than 4096",
			try: jobWith(set(pod+"initContainers", manyContainers(16, "args", 256, "")), set(first+"args", slices.Repeat([]any{""}, 256)))},
		row{name: "a request with more owners than fit", by: agent, rule: "valetkey-requests", words: "room for decisions",
			try: creates(func(w *world) *unstructured.Unstructured {
				return w.request0("q", set("metadata.ownerReferences", owners(17)))
			})},
		row{name: "more labels than fit, on a request that waits", by: mallory, rule: "valetkey-requests", words: "room for decisions",
			try: patches("CapabilityRequest", waiting, "", manyMarks("labels", policy.MaxJobNotes+1))},
		row{name: "a Job of 600,000 words", by: agent, rule: rule.Sizes, words: "Container.args may have", try: jobWith(set(first+"args", slices.Repeat([]any{""}, 600_000)))},
		row{name: "a Job with 65 scheduling gates, which no other rule looks at", by: agent, rule: rule.Sizes, words: "no list of its Pod may have more than 64",
			try: jobWith(set(pod+"schedulingGates", gates(65)))},
		row{name: "a Job under a reserved name, without the label and with 65 tolerations", by: agent, rule: "valetkey-jobs", words: "valetkey-",
			try: jobWith(set("metadata.labels", map[string]any{}), set("spec.template.metadata.labels", map[string]any{}),
				set(pod+"tolerations", tooMany("PodSpec.tolerations", func(i int) any { return map[string]any{"key": fmt.Sprint("k", i), "operator": "Exists"} })))},
		row{name: "an ordinary Job of so many volumes that looking for ours takes long", by: agent, rule: "valetkey-templates", words: "volumes, projected sources",
			try: jobWith(set("metadata.labels", map[string]any{}), set("metadata.name", "ordinary"), set("spec.template.metadata.labels", map[string]any{}), set(pod+"volumes", ordinaryVolumes(1025)))},
		row{name: "an ordinary Job whose template has more labels than are looked through", by: agent, rule: "valetkey-templates", words: "may have 1024 labels",
			try: jobWith(set("metadata.labels", map[string]any{}), set("metadata.name", "ordinary"), set("spec.template.metadata.labels", marks(1025)))},
		row{name: "an ordinary Job whose template has more annotations than are looked through", by: agent, rule: "valetkey-templates", words: "may have 1024 labels, annotations",
			try: jobWith(set("metadata.labels", map[string]any{}), set("metadata.name", "ordinary"), set("spec.template.metadata.labels", map[string]any{}),
				set("spec.template.metadata.annotations", marks(1025)))},
		row{name: "a Pod with more labels than are looked through", by: mallory, rule: "valetkey-pods", words: "may have 1024 labels",
			try: creates(func(w *world) *unstructured.Unstructured { return w.pod0("many", set("metadata.labels", marks(1025))) })},
		row{name: "a Pod with more volumes than are looked through", by: mallory, rule: "valetkey-pods", words: "volumes, projected sources",
			try: creates(func(w *world) *unstructured.Unstructured {
				return w.pod0("many", set("spec.volumes", ordinaryVolumes(1025)))
			})},
		row{name: "a Pod that gets more labels than are looked through", by: mallory, rule: "valetkey-pods", words: "may have 1024 labels",
			try: func(ctx context.Context, w *world, by string) error {
				return offDuty(patches("Pod", "foreign", "", manyMarks("labels", 1025)))(ctx, w, by)
			}},
		row{name: "a ServiceAccount with more Secrets than are looked through", by: mallory, rule: "valetkey-service-accounts", words: "1024 secrets",
			try: creates(func(*world) *unstructured.Unstructured {
				return object("ServiceAccount", namespace, "many", nil, set("secrets", ordinaryNames(1025)))
			})},
		row{name: "a Job as large as it may be is taken", by: agent, rule: rule.Sizes, shows: largestJob},
	)
}

func ordinaryVolumes(n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = map[string]any{"name": fmt.Sprint("v", i), "emptyDir": map[string]any{}}
	}
	return all
}

// ordinaryNames are n Secrets that are none of ours.
func ordinaryNames(n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = map[string]any{"name": fmt.Sprint("s", i)}
	}
	return all
}

// owners are n owners of an object.
func owners(n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": fmt.Sprint("o", i), "uid": fmt.Sprint("u", i)}
	}
	return all
}

// gates are n scheduling gates.
func gates(n int) []any {
	all := make([]any, n)
	for i := range all {
		all[i] = map[string]any{"name": fmt.Sprintf("example.com/g%d", i)}
	}
	return all
}

// largestJob is one whose lists are just as long as they may be.
func largestJob(ctx context.Context, w *world) error {
	const pod = "spec.template.spec."
	const variables, words = policy.MaxTogether / 16, 192 // of 16 containers: 4096 together
	containers := tooMany("PodSpec.containers", named(map[string]any{"image": image,
		"args": tooMany("Container.args", texts("a"))[:words], "env": tooMany("Container.env", named(map[string]any{"value": "x"}))[:variables]}))[1:]
	containers[0].(map[string]any)["name"] = "publish"
	return w.create(ctx, agent, w.job0("q", set(pod+"containers", containers), set(pod+"initContainers", tooMany("PodSpec.initContainers",
		func(i int) any { return map[string]any{"name": fmt.Sprintf("i%d", i), "image": image} })[1:]), set(pod+"tolerations", tooMany("PodSpec.tolerations",
		func(i int) any { return map[string]any{"key": fmt.Sprint("k", i), "operator": "Exists"} })[1:])))
}

func affinity(expressions []any) edit {
	return set("spec.template.spec.affinity", map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{
		"nodeSelectorTerms": []any{map[string]any{"matchExpressions": expressions}}}}})
}

func requirement(values []any) map[string]any {
	return map[string]any{"key": "example.com/k", "operator": "In", "values": values}
}

// manyMarks is a patch that adds n labels or annotations.
func manyMarks(of string, n int) string {
	all := make([]string, 0, n)
	for name := range marks(n) {
		all = append(all, fmt.Sprintf("%q:\"x\"", name))
	}
	return fmt.Sprintf(`{"metadata":{%q:{%s}}}`, of, strings.Join(all, ","))
}

// withRequest adds the label that a Job of the request q has.
func withRequest(labels map[string]any) map[string]any {
	labels["valetkey.dev/request"] = "q"
	return labels
}

// manyContainers are init containers that each have a list of so many times the same.
func manyContainers(n int, list string, elements int, element any) []any {
	var all []any
	for i := range n {
		all = append(all, map[string]any{"name": fmt.Sprint("c", i), "image": "registry.example.com/publisher", list: slices.Repeat([]any{element}, elements)})
	}
	return all
}
