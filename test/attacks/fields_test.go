// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/internal/policy"
)

// refusedFields has, for each field that policy.Fields refuses, a Job that sets it to something that the API server itself takes: what
// has to be put where, in YAML. Those of which the API server says nothing, because they are behind a gate that is off, are dropped.
var refusedFields = map[string]map[string]string{
	"JobSpec.podFailurePolicy":     {"spec.podFailurePolicy": "{rules: [{action: Ignore, onExitCodes: {operator: In, values: [1]}}]}"},
	"JobSpec.successPolicy":        {"spec.completionMode": "Indexed", "spec.successPolicy": `{rules: [{succeededIndexes: "0"}]}`},
	"JobSpec.backoffLimitPerIndex": {"spec.completionMode": "Indexed", "spec.backoffLimitPerIndex": "1"},
	"JobSpec.maxFailedIndexes":     {"spec.completionMode": "Indexed", "spec.backoffLimitPerIndex": "1", "spec.maxFailedIndexes": "1"},
	"JobSpec.scheduling":           {"spec.scheduling": "{schedulingPolicy: {basic: {}}}"},

	"ObjectMeta.finalizers":      {"spec.template.metadata.finalizers": "[example.com/hold]"},
	"ObjectMeta.ownerReferences": {"spec.template.metadata.ownerReferences": "[{apiVersion: v1, kind: ConfigMap, name: m, uid: 5e8f1a3c-1111-4222-8333-444455556666}]"},
	"ObjectMeta.managedFields":   {"spec.template.metadata.managedFields": "[{manager: m, operation: Update, apiVersion: v1, fieldsType: FieldsV1, fieldsV1: {}}]"},

	"PodSpec.ephemeralContainers": {},
	"PodSpec.nodeName":            {"spec.template.spec.nodeName": "node1"},
	"PodSpec.schedulingGates":     {"spec.template.spec.schedulingGates": "[{name: example.com/wait}]"},
	"PodSpec.schedulingGroup":     {"spec.template.spec.schedulingGroup": "{podGroupName: g}"},
	"PodSpec.evictionResponders":  {"spec.template.spec.evictionResponders": "[{name: example.com/slow, priority: 100}]"},

	"PodAffinityTerm.namespaces":        {"spec.template.spec.affinity": "{podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/os, namespaces: [others]}]}}"},
	"PodAffinityTerm.namespaceSelector": {"spec.template.spec.affinity": "{podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: kubernetes.io/os, namespaceSelector: {}}}]}}"},

	"Container.restartPolicyRules":        {"spec.template.spec.containers.0.restartPolicy": "Never", "spec.template.spec.containers.0.restartPolicyRules": "[{action: Restart, exitCodes: {operator: In, values: [1]}}]"},
	"ContainerPort.hostIP":                {"spec.template.spec.containers.0.ports": "[{containerPort: 80, hostIP: 127.0.0.1}]"},
	"Probe.terminationGracePeriodSeconds": {"spec.template.spec.containers.1.livenessProbe": "{exec: {command: [a]}, terminationGracePeriodSeconds: 80}"},
	"Lifecycle.postStart":                 {"spec.template.spec.containers.0.lifecycle": `{postStart: {exec: {command: [sleep, "3000"]}}}`},

	"EnvVarSource.fileKeyRef": {"spec.template.spec.volumes": "[{name: v, emptyDir: {}}]",
		"spec.template.spec.containers.1.env": "[{name: A, valueFrom: {fileKeyRef: {volumeName: v, path: f, key: A, optional: true}}}]"},

	"SecurityContext.windowsOptions":    {"spec.template.spec.containers.0.securityContext": "{windowsOptions: {runAsUserName: a}}"},
	"PodSecurityContext.windowsOptions": {"spec.template.spec.securityContext": "{windowsOptions: {runAsUserName: a}}"},

	"Volume.hostPath":             volumeOfKind("{hostPath: {path: /etc}}"),
	"Volume.gitRepo":              volumeOfKind("{gitRepo: {repository: 'https://git.example.com/r'}}"),
	"Volume.gcePersistentDisk":    volumeOfKind("{gcePersistentDisk: {pdName: d}}"),
	"Volume.awsElasticBlockStore": volumeOfKind("{awsElasticBlockStore: {volumeID: v}}"),
	"Volume.nfs":                  volumeOfKind("{nfs: {server: nfs.example.com, path: /}}"),
	"Volume.iscsi":                volumeOfKind("{iscsi: {targetPortal: 10.0.0.1, iqn: 'iqn.2001-04.com.example:s', lun: 0}}"),
	"Volume.glusterfs":            volumeOfKind("{glusterfs: {endpoints: e, path: p}}"),
	"Volume.rbd":                  volumeOfKind("{rbd: {monitors: [10.0.0.1], image: i}}"),
	"Volume.flexVolume":           volumeOfKind("{flexVolume: {driver: example.com/d}}"),
	"Volume.cinder":               volumeOfKind("{cinder: {volumeID: v}}"),
	"Volume.cephfs":               volumeOfKind("{cephfs: {monitors: [10.0.0.1]}}"),
	"Volume.flocker":              volumeOfKind("{flocker: {datasetName: d}}"),
	"Volume.fc":                   volumeOfKind("{fc: {targetWWNs: ['5000'], lun: 1}}"),
	"Volume.azureFile":            volumeOfKind("{azureFile: {secretName: s, shareName: share}}"),
	"Volume.vsphereVolume":        volumeOfKind("{vsphereVolume: {volumePath: v}}"),
	"Volume.quobyte":              volumeOfKind("{quobyte: {registry: '10.0.0.1:7861', volume: v}}"),
	"Volume.azureDisk":            volumeOfKind("{azureDisk: {diskName: d, diskURI: 'https://disk.example.com/d'}}"),
	"Volume.photonPersistentDisk": volumeOfKind("{photonPersistentDisk: {pdID: d}}"),
	"Volume.portworxVolume":       volumeOfKind("{portworxVolume: {volumeID: v}}"),
	"Volume.scaleIO":              volumeOfKind("{scaleIO: {gateway: 'https://10.0.0.1', system: s, secretRef: {name: x}, volumeName: v}}"),
	"Volume.storageos":            volumeOfKind("{storageos: {volumeName: v}}"),
	"HTTPGetAction.host":          {"spec.template.spec.containers.0.readinessProbe": "{httpGet: {host: 169.254.169.254, port: 80}}"},
	"TCPSocketAction.host":        {"spec.template.spec.containers.0.lifecycle": "{preStop: {tcpSocket: {host: 10.0.0.1, port: 80}}}"},
}

// otherValues has, for each field that may have some values alone, one that it may not have.
var otherValues = map[string]map[string]string{
	"JobSpec.parallelism":              {"spec.parallelism": "2"},
	"JobSpec.completions":              {"spec.completions": "2"},
	"JobSpec.backoffLimit":             {"spec.backoffLimit": "1"},
	"JobSpec.completionMode":           {"spec.completionMode": "Indexed"},
	"JobSpec.manualSelector":           {"spec.manualSelector": "true", "spec.selector": "{matchLabels: {valetkey.dev/request: q}}"},
	"JobSpec.managedBy":                {"spec.managedBy": "example.com/mine"},
	"JobSpec.podReplacementPolicy":     {},
	"PodSpec.restartPolicy":            {"spec.template.spec.restartPolicy": "OnFailure"},
	"PodSpec.enableServiceLinks":       {},
	"PodSpec.hostNetwork":              {"spec.template.spec.hostNetwork": "true"},
	"PodSpec.hostPID":                  {"spec.template.spec.hostPID": "true"},
	"PodSpec.hostIPC":                  {"spec.template.spec.hostIPC": "true"},
	"PodSpec.shareProcessNamespace":    {"spec.template.spec.shareProcessNamespace": "true"},
	"PodOS.name":                       {"spec.template.spec.os": "{name: windows}"},
	"Container.restartPolicy":          {"spec.template.spec.initContainers": "[{name: i, image: '" + image + "', restartPolicy: OnFailure}]"},
	"Container.terminationMessagePath": {"spec.template.spec.containers.0.terminationMessagePath": "/var/run/secrets/valetkey.dev/aws/credentials"},
	"ContainerPort.hostPort":           {"spec.template.spec.containers.0.ports": "[{containerPort: 80, hostPort: 80}]"},
	"VolumeMount.mountPropagation":     {"spec.template.spec.volumes": "[{name: v, emptyDir: {}}]", "spec.template.spec.containers.0.securityContext": "{privileged: true}", "spec.template.spec.containers.0.volumeMounts": "[{name: v, mountPath: /v, mountPropagation: Bidirectional}]"},
	"SecurityContext.privileged":       {"spec.template.spec.containers.0.securityContext": "{privileged: true}"},
	"SecurityContext.procMount":        {"spec.template.spec.hostUsers": "false", "spec.template.spec.containers.0.securityContext": "{procMount: Unmasked}"},
	"ImageVolumeSource.pullPolicy":     {"spec.template.spec.volumes": "[{name: v, image: {reference: '" + image + "', pullPolicy: Always}}]"},
}

func volumeOfKind(source string) map[string]string {
	return map[string]string{"spec.template.spec.volumes": "[{name: v, " + strings.TrimPrefix(source, "{") + "]"}
}

// fieldRows has a row for each field that the table refuses.
func fieldRows() []row {
	var all []row
	for _, f := range policy.Fields() {
		if f.Class != policy.Refused {
			continue
		}
		name, values := f.Type+"."+f.Name, refusedFields
		words := f.Name + " must not be set"
		if len(f.Values) > 0 {
			values, words = otherValues, f.Name+" must be "
		}
		edits, known := values[name]
		switch {
		case !known:
			all = append(all, row{name: "a Job that sets " + name, by: agent, rule: "valetkey-job-fields", words: "nobody wrote an attack for it"})
		case len(edits) == 0: // The API server sets it itself, or takes it from nobody.
		case slices.Contains(dropped, name):
			all = append(all, row{name: "a Job that sets " + name + " is stored without it", by: agent, rule: "the API server", shows: dropsField(f.Name, edits)})
		default:
			all = append(all, row{name: "a Job that sets " + name, by: agent, rule: "valetkey-job-fields", words: words, try: setsField(edits)})
		}
	}
	return all
}

// dropped are the fields behind gates that are off in the cluster of these tests: the API server stores none of them. With a gate on, its
// row says so, and becomes an ordinary one.
var dropped = []string{"JobSpec.scheduling", "PodSpec.schedulingGroup", "PodSpec.evictionResponders"}

// setting creates a Job with the fields.
func setting(ctx context.Context, w *world, by string, edits map[string]string) (string, error) {
	var changes []edit
	for _, path := range slices.Sorted(maps.Keys(edits)) {
		var value any
		if err := yaml.Unmarshal([]byte(edits[path]), &value); err != nil {
			return "", err
		}
		changes = append(changes, set(path, value))
	}
	stored, err := w.clients[by].Resource(kinds["Job"]).Namespace(namespace).Create(ctx, w.job0("q", changes...), metav1.CreateOptions{DryRun: dryRun})
	if err != nil {
		return "", err
	}
	return fmt.Sprint(stored.Object["spec"]), nil
}

func setsField(edits map[string]string) func(context.Context, *world, string) error {
	return func(ctx context.Context, w *world, by string) error {
		_, err := setting(ctx, w, by, edits)
		return err
	}
}

// dropsField sees that nothing of the field is stored.
func dropsField(field string, edits map[string]string) func(context.Context, *world) error {
	return func(ctx context.Context, w *world) error {
		stored, err := setting(ctx, w, agent, edits)
		if err == nil && strings.Contains(stored, field+":") {
			err = fmt.Errorf("the API server stores %s: %s", field, stored)
		}
		return err
	}
}
