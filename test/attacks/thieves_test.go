// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// ways are all in which a Pod's spec can name a Secret.
func ways(secret string) map[string]edit {
	volume := func(source map[string]any) edit {
		return set("volumes", []any{merge(map[string]any{"name": "v"}, source)})
	}
	ref := map[string]any{"name": secret}
	return map[string]edit{
		"a volume":             volume(map[string]any{"secret": map[string]any{"secretName": secret}}),
		"a projected volume":   volume(map[string]any{"projected": map[string]any{"sources": []any{map[string]any{"secret": ref}}}}),
		"a CSI volume":         volume(map[string]any{"csi": map[string]any{"driver": "d.example.com", "nodePublishSecretRef": ref}}),
		"a flex volume":        volume(map[string]any{"flexVolume": map[string]any{"driver": "d/d", "secretRef": ref}}),
		"a CephFS volume":      volume(map[string]any{"cephfs": map[string]any{"monitors": []any{"m"}, "secretRef": ref}}),
		"a Cinder volume":      volume(map[string]any{"cinder": map[string]any{"volumeID": "v", "secretRef": ref}}),
		"an RBD volume":        volume(map[string]any{"rbd": map[string]any{"monitors": []any{"m"}, "image": "i", "secretRef": ref}}),
		"an iSCSI volume":      volume(map[string]any{"iscsi": map[string]any{"targetPortal": "p", "iqn": "iqn.2001-04.com.example:x", "lun": 0, "secretRef": ref}}),
		"a ScaleIO volume":     volume(map[string]any{"scaleIO": map[string]any{"gateway": "g", "system": "s", "volumeName": "n", "secretRef": ref}}),
		"a StorageOS volume":   volume(map[string]any{"storageos": map[string]any{"volumeName": "n", "secretRef": ref}}),
		"an Azure file volume": volume(map[string]any{"azureFile": map[string]any{"secretName": secret, "shareName": "s"}}),
		"an image pull secret": set("imagePullSecrets", []any{ref}),
		"a variable":           set("containers.0.env", []any{map[string]any{"name": "A", "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": secret, "key": "k"}}}}),
		"all variables":        set("containers.0.envFrom", []any{map[string]any{"secretRef": ref}}),
		"an init container": set("initContainers", []any{map[string]any{"name": "i", "image": image,
			"envFrom": []any{map[string]any{"secretRef": ref}}}}),
	}
}

func merge(a, b map[string]any) map[string]any {
	for k, v := range b {
		a[k] = v
	}
	return a
}

// thieving is a Pod's spec that names the living grant's Secret.
func thieving(w *world, way string) map[string]any {
	spec := podSpec()
	ways(w.secret)[way](spec)
	return spec
}

// workload is a template holder of a kind around a Pod's spec.
func workload(kind string, spec map[string]any, edits ...edit) *unstructured.Unstructured {
	labels := map[string]any{"app": "x"}
	if kind != "Job" && kind != "CronJob" && kind != "PodTemplate" {
		delete(spec, "restartPolicy")
	}
	template := map[string]any{"metadata": map[string]any{"labels": labels}, "spec": spec}
	selector := map[string]any{"matchLabels": labels}
	o := map[string]any{}
	switch kind {
	case "Job":
		o["spec"] = map[string]any{"template": template, "suspend": true}
	case "CronJob":
		o["spec"] = map[string]any{"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": map[string]any{"spec": map[string]any{"template": template}}}
	case "PodTemplate":
		o["template"] = template
	case "ReplicationController":
		o["spec"] = map[string]any{"selector": labels, "template": template, "replicas": 0}
	case "StatefulSet":
		o["spec"] = map[string]any{"serviceName": "x", "selector": selector, "template": template, "replicas": 0}
	case "DaemonSet":
		o["spec"] = map[string]any{"selector": selector, "template": template}
	default:
		o["spec"] = map[string]any{"selector": selector, "template": template, "replicas": 0}
	}
	return object(kind, namespace, "ordinary-"+strings.ToLower(kind), nil, append([]edit{func(made map[string]any) { merge(made, o) }}, edits...)...)
}

var workloads = []string{"Job", "CronJob", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "PodTemplate"}

func templateRows() []row {
	const rule = "valetkey-templates"
	var all []row
	for _, kind := range workloads {
		all = append(all, row{"a " + kind + " whose Pods mount a grant's Secret", mallory, rule, "name another Secret", creates(func(w *world) *unstructured.Unstructured {
			return workload(kind, thieving(w, "a volume"))
		}), nil})
	}
	for way := range ways("") {
		all = append(all, row{"a Deployment that names a grant's Secret by " + way, mallory, rule, "name another Secret", creates(func(w *world) *unstructured.Unstructured {
			return workload("Deployment", thieving(w, way))
		}), nil})
	}
	return append(all, []row{
		{"a planted template that would be projected", mallory, rule, "written by grants alone", creates(func(w *world) *unstructured.Unstructured {
			return workload("CronJob", podSpec(), label("spec.jobTemplate.spec.template.metadata.annotations", "valetkey.dev/secret", w.secret))
		}), nil},
		{"a Deployment whose Pods claim to be of a request", mallory, rule, "belongs to the Job", creates(func(*world) *unstructured.Unstructured {
			return workload("Deployment", podSpec(), label("spec.template.metadata.labels", "valetkey.dev/request", granted))
		}), nil},
		{"the Job of a request that mounts another grant's Secret", agent, rule, "name another Secret", creates(func(w *world) *unstructured.Unstructured {
			return w.job0("q", set("spec.template.spec", thieving(w, "all variables")))
		}), nil},
		{"a ServiceAccount that pulls images with a grant's Secret", mallory, "valetkey-service-accounts", "name another Secret", creates(func(w *world) *unstructured.Unstructured {
			return object("ServiceAccount", namespace, "q", nil, set("imagePullSecrets", []any{map[string]any{"name": w.secret}}))
		}), nil},
		{"a ServiceAccount with a grant's Secret", mallory, "valetkey-service-accounts", "name another Secret", creates(func(w *world) *unstructured.Unstructured {
			return object("ServiceAccount", namespace, "q", nil, set("secrets", []any{map[string]any{"name": w.secret}}))
		}), nil},
	}...)
}

func podRows() []row {
	const rule, made = "valetkey-pods", "only the Job of a grant makes such a Pod"
	var all []row
	for way := range ways("") {
		all = append(all, row{"a Pod that names a grant's Secret by " + way, mallory, rule, made, creates(func(w *world) *unstructured.Unstructured {
			return w.pod0("thief", set("spec", thieving(w, way)))
		}), nil})
	}
	change := func(body string) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error { return w.patch(ctx, by, "Pod", w.pod, "", body) }
	}
	foreign := func(body string) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error {
			if _, err := w.clients[by].Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, w.pod0("foreign"), metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "already exists") {
				return err
			}
			return w.patch(ctx, by, "Pod", "foreign", "", body)
		}
	}
	return append(all, []row{
		{"a Pod that claims to be of a request", mallory, rule, made, podWith(label("metadata.labels", "valetkey.dev/request", granted)), nil},
		{"a Pod with a note of a grant", mallory, rule, made, podWith(label("metadata.annotations", "valetkey.dev/grant", "x")), nil},
		{"a Pod that claims the Job as its owner", mallory, rule, made, podWith(set("metadata.ownerReferences", []any{map[string]any{
			"apiVersion": "batch/v1", "kind": "Job", "name": "valetkey-" + granted, "uid": "5e8f1a3c-1111-4222-8333-444455556666", "controller": true}})), nil},
		{"a Pod with the Job's name on it", mallory, rule, made, podWith(label("metadata.labels", "batch.kubernetes.io/job-name", "valetkey-"+granted)), nil},
		{"a Pod to be adopted by the Job", mallory, rule, "let a Job adopt", podWith(label("metadata.labels", "batch.kubernetes.io/controller-uid", "5e8f1a3c-1111-4222-8333-444455556666")), nil},
		{"a Pod to be adopted by the Job, the old way", mallory, rule, "let a Job adopt", podWith(label("metadata.labels", "controller-uid", "5e8f1a3c-1111-4222-8333-444455556666")), nil},
		{"another image in the running Pod", mallory, rule, "frozen", swapImage, nil},
		{"stripping the running Pod of its labels", mallory, rule, "frozen", change(`{"metadata":{"labels":null}}`), nil},
		{"taking the running Pod from its Job", mallory, rule, "frozen", change(`{"metadata":{"ownerReferences":null}}`), nil},
		{"a longer deadline for the running Pod", mallory, rule, "frozen", change(`{"metadata":{"annotations":{"valetkey.dev/deadline-seconds":"99999"}}}`), nil},
		{"a finalizer on the running Pod", mallory, rule, "no finalizer", change(`{"metadata":{"finalizers":["batch.kubernetes.io/job-tracking","example.com/hold"]}}`), nil},
		{"taking the job-controller's finalizer from the running Pod, to have it run again", mallory, rule, "takes its finalizer off", change(`{"metadata":{"finalizers":null}}`), nil},
		{"a foreign Pod that becomes a grant's", mallory, rule, "does not become a grant's", foreign(`{"metadata":{"labels":{"valetkey.dev/request":"granted"}}}`), nil},
		{"a foreign Pod that is offered to the Job", mallory, rule, "only the job-controller sets it", foreign(`{"metadata":{"labels":{"batch.kubernetes.io/controller-uid":"5e8f1a3c-1111-4222-8333-444455556666"}}}`), nil},
		{"a Pod of a Job that was not granted", "job-controller", rule, "not granted", func(ctx context.Context, w *world, _ string) error { return w.unprojected(ctx) }, nil},
	}...)
}

// swapImage changes an image, which is one of the few things that Kubernetes lets be changed in a running Pod.
func swapImage(ctx context.Context, w *world, by string) error {
	pod, err := w.clients[by].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	set("spec.containers.0.image", "registry.example.com/evil")(pod.Object)
	_, err = w.clients[by].Resource(kinds["Pod"]).Namespace(namespace).Update(ctx, pod, metav1.UpdateOptions{DryRun: dryRun})
	return err
}

func joinRows() []row {
	const rule = "valetkey-pods-parts"
	part := func(subresource, body string) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error {
			_, err := w.clients[by].Resource(kinds["Pod"]).Namespace(namespace).Patch(ctx, w.pod, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{DryRun: dryRun}, subresource)
			return err
		}
	}
	all := []row{
		{"a debug container in the running Pod", admin, rule, "no container joins", part("ephemeralcontainers", `{"spec":{"ephemeralContainers":[{"name":"debug","image":"x"}]}}`), nil},
		{"resizing the running Pod", admin, rule, "no container joins", part("resize", `{"spec":{"containers":[{"name":"publish","resources":{"requests":{"cpu":"200m"}}},{"name":"beside"}]}}`), nil},
		{"telling that the running Pod has ended", mallory, rule, "by Kubernetes alone", part("status", `{"status":{"phase":"Succeeded"}}`), nil},
	}
	for _, how := range []string{"exec", "attach", "portforward", "proxy"} {
		all = append(all, row{how + " into the running Pod, by an administrator", admin, "valetkey-exec", "nobody enters",
			func(ctx context.Context, w *world, by string) error { return w.connect(ctx, by, how) }, nil})
	}
	return all
}

func secretRows() []row {
	const rule = "valetkey-secrets"
	return []row{
		{"a Secret under a name that a grant may need", mallory, rule, "only a grant makes", creates(func(w *world) *unstructured.Unstructured { return w.secret0("valetkey-soon", "Opaque") }), nil},
		{"a Secret of the grants' type under another name", mallory, rule, "only a grant makes", creates(func(w *world) *unstructured.Unstructured { return w.secret0("soon", "valetkey.dev/credential") }), nil},
		{"a Secret under a generated name of ours", mallory, rule, "only a grant makes", creates(func(w *world) *unstructured.Unstructured {
			return w.secret0("", "Opaque", set("metadata.generateName", "valetkey-"))
		}), nil},
		{"relabelling a grant's Secret", mallory, rule, "never changes", func(ctx context.Context, w *world, by string) error {
			return w.patch(ctx, by, "Secret", w.secret, "", `{"metadata":{"labels":{"a":"b"}}}`)
		}, nil},
		{"deleting a grant's Secret", mallory, rule, "a grant deletes", func(ctx context.Context, w *world, by string) error {
			return w.delete(ctx, by, "Secret", w.secret, metav1.DeleteOptions{})
		}, nil},
		{"an administrator deletes a grant's Secret", admin, rule, "a grant deletes", func(ctx context.Context, w *world, by string) error {
			return w.delete(ctx, by, "Secret", w.secret, metav1.DeleteOptions{})
		}, nil},
		{"deleting all Secrets", mallory, rule, "a grant deletes", sweeps("Secret"), nil},
		{"reading a grant's Secret", agent, "RBAC", "secrets", func(ctx context.Context, w *world, by string) error {
			_, err := w.clients[by].Resource(kinds["Secret"]).Namespace(namespace).Get(ctx, w.secret, metav1.GetOptions{})
			return err
		}, nil},
	}
}

func operatorRows() []row {
	const secrets, jobs = "valetkey-operator-secrets", "valetkey-operator-jobs"
	background, foreground, yes := metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, true
	drop := func(o metav1.DeleteOptions) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error { return w.delete(ctx, by, "Secret", w.secret, o) }
	}
	start := func(job, container string, edits ...edit) func(context.Context, *world, string) error {
		return func(ctx context.Context, w *world, by string) error {
			return w.patch(ctx, by, "Job", job, "", w.startPatch(container, edits...))
		}
	}
	const held = "valetkey-" + waiting
	return []row{
		{"the operator makes another Secret", operator, secrets, "grants' Secrets only", creates(func(w *world) *unstructured.Unstructured { return w.secret0("mine", "Opaque") }), nil},
		{"the operator makes a Secret in a namespace that is not enrolled", operator, secrets, "enrolled namespaces only", creates(func(w *world) *unstructured.Unstructured {
			return w.grantSecret(set("metadata.namespace", plain))
		}), nil},
		{"the operator makes a Secret that no grant owns", operator, secrets, "owned by it", creates(func(w *world) *unstructured.Unstructured {
			return w.grantSecret(set("metadata.name", w.secret+"0"), set("metadata.ownerReferences", []any{}))
		}), nil},
		{"the operator makes a Secret whose deletion would hand it back", operator, secrets, "without finalizers", creates(func(w *world) *unstructured.Unstructured {
			return w.grantSecret(set("metadata.name", w.secret+"0"), set("metadata.finalizers", []any{"example.com/hold"}))
		}), nil},
		{"the operator changes a Secret", operator, secrets, "changes no Secret", patches("Secret", "ordinary", "", `{"metadata":{"labels":{"a":"b"}}}`), nil},
		{"the operator deletes another Secret", operator, secrets, "deletes grants' Secrets only", func(ctx context.Context, w *world, by string) error {
			return w.delete(ctx, by, "Secret", "ordinary", metav1.DeleteOptions{PropagationPolicy: &background})
		}, nil},
		{"the operator reads a Secret by a dry run", operator, secrets, "is a read", drop(metav1.DeleteOptions{PropagationPolicy: &background}), nil},
		{"the operator reads a Secret by a foreground deletion", operator, secrets, "is a read", drop(metav1.DeleteOptions{PropagationPolicy: &foreground}), nil},
		//nolint:staticcheck // the deprecated field still works: that is the attack
		{"the operator reads a Secret by an orphaning deletion", operator, secrets, "is a read", drop(metav1.DeleteOptions{OrphanDependents: &yes}), nil},

		{"the operator makes a Job", operator, jobs, "patches Jobs", creates(func(*world) *unstructured.Unstructured { return workload("Job", podSpec()) }), nil},
		{"the operator patches another Job", operator, jobs, "patches Jobs", patches("Job", "ordinary", "", `{"metadata":{"labels":{"a":"b"}}}`), nil},
		{"the operator relabels a Job", operator, jobs, "and nothing else", patches("Job", held, "", `{"metadata":{"labels":{"a":"b"}}}`), nil},
		{"the operator starts more than one Pod", operator, jobs, "and nothing else", start(held, "publish", set("spec.parallelism", 3)), nil},
		{"the operator adds a note of its own", operator, jobs, "starts a held Job once", start(held, "publish", label("spec.template.metadata.annotations", "example.com/a", "b")), nil},
		{"the operator starts a Job a second time", operator, jobs, "starts a held Job once", func(ctx context.Context, w *world, by string) error {
			return w.patch(ctx, by, "Job", "valetkey-"+stopped, "", w.startPatch("publish"))
		}, nil},
		{"the operator changes a deadline without starting", operator, jobs, "starts a held Job once", patches("Job", held, "", `{"spec":{"activeDeadlineSeconds":9}}`), nil},
		{"the operator starts a Job with another grant's Secret", operator, jobs, "its own Secret", start(held, "publish", label("spec.template.metadata.annotations", "valetkey.dev/secret", "valetkey-other-1")), nil},
		{"the operator names a container that the Job has not", operator, jobs, "one of the Job's containers", start(held, "nobody"), nil},
		{"the operator starts a Job for other containers than it has", operator, jobs, "with the containers and devices that it has", start(held, "publish", label("spec.template.metadata.annotations", "valetkey.dev/containers", "publish=evil")), nil},
		{"the operator starts a Job without a deadline", operator, jobs, "with a deadline", start(held, "publish", set("spec.activeDeadlineSeconds", nil)), nil},
	}
}
