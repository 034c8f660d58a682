// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart writes the templates of charts/valetkey from config/, so that what is installed has one source. It is run in the
// root of the repository.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	source = "config"
	target = "charts/valetkey/templates"
)

// A setting makes a place in a manifest one that the chart's user sets. The text must occur exactly once in its file.
type setting struct{ file, text, template string }

var settings = []setting{
	{"admission/identities.yaml", "audiences: sts.amazonaws.com,vault\n", "audiences: {{ join \",\" .Values.audiences | quote }}\n"},
	{"manager/network.yaml", policyComment, "{{- if .Values.networkPolicy.enabled }}\n" + policyComment},
	{"manager/network.yaml", "port: 6443}\n", "port: 6443}\n  {{- with .Values.networkPolicy.egress }}\n  {{- toYaml . | nindent 2 }}\n  {{- end }}\n{{- end }}\n"},
	{"manager/statefulset.yaml", "[ReadWriteOnce]\n", "[ReadWriteOnce]\n      {{- with .Values.audit.storageClassName }}\n      storageClassName: {{ . | quote }}\n      {{- end }}\n"},
	{"manager/statefulset.yaml", "storage: 1Gi", "storage: {{ .Values.audit.storage | quote }}"},
	{"manager/statefulset.yaml", "image: valetkey.dev/valetkey:dev", `image: {{ required "image: name the operator's image, by digest" .Values.image | quote }}`},
	{"manager/statefulset.yaml", "imagePullPolicy: IfNotPresent", "imagePullPolicy: {{ .Values.imagePullPolicy }}"},
	{"manager/statefulset.yaml", "      serviceAccountName: valetkey\n", "      serviceAccountName: valetkey\n" + optional("imagePullSecrets") + optional("nodeSelector") + optional("tolerations")},
	{"manager/statefulset.yaml", "args: []\n", "args: {{ include \"valetkey.args\" . }}\n"},
	{"manager/statefulset.yaml", "$(MEMORY_LIMIT_MIB)000000}\n", "$(MEMORY_LIMIT_MIB)000000}\n        {{- range .Values.env }}\n        - {{ toJson . }}\n        {{- end }}\n"},
	{"manager/statefulset.yaml", "\n          requests: {cpu: 50m, memory: 64Mi}\n          limits: {memory: 512Mi}\n", " {{ toJson .Values.resources }}\n"},
	{"manager/statefulset.yaml", "mountPath: /var/log/valetkey}\n", "mountPath: /var/log/valetkey}\n        {{- with .Values.volumeMounts }}\n        {{- toYaml . | nindent 8 }}\n        {{- end }}\n"},
	{"manager/statefulset.yaml", "volumes: []", "volumes: {{ toJson .Values.volumes }}"},
	{"rbac/everywhere.yaml", boundEverywhere, boundWhereWatched},
	{"rbac/everywhere.yaml", boundSubject, boundSubject + "{{- end }}\n"},
	// Helm's --create-namespace makes the release's namespace; a chart that brings it, too, cannot be installed into it.
	{"namespaces/namespaces.yaml", systemNamespace, ""},
	// The identities in it are the user's own.
	{"namespaces/namespaces.yaml", "  name: valetkey-identities\n", "  name: valetkey-identities\n  annotations: {helm.sh/resource-policy: keep}\n"},
}

// policyComment begins the NetworkPolicy, which can be left out.
const policyComment = "---\n# Who may talk to the operator"

// optional is a field of the Pod that is there if its value is.
func optional(field string) string {
	return fmt.Sprintf("      {{- with .Values.%[1]s }}\n      %[1]s: {{ toJson . }}\n      {{- end }}\n", field)
}

// The operator's power over what is in namespaces is bound in the whole cluster, or in each namespace that is watched.
const (
	boundEverywhere = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: valetkey-operator-namespaced}\n"

	boundWhereWatched = `{{- range .Values.watchNamespaces | default (list "") }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ if . }}RoleBinding{{ else }}ClusterRoleBinding{{ end }}
metadata: {name: valetkey-operator-namespaced{{ if . }}, namespace: {{ . | quote }}{{ end }}}
`

	boundSubject = "subjects: [{kind: ServiceAccount, name: valetkey, namespace: valetkey-system}]\n"
)

const systemNamespace = `apiVersion: v1
kind: Namespace
metadata:
  name: valetkey-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
---
`

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

func write() error {
	old, err := filepath.Glob(filepath.Join(target, "*.yaml"))
	if err != nil {
		return err
	}
	for _, file := range old {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	for _, folder := range []string{"crd", "namespaces", "rbac", "admission", "manager"} {
		files, err := filepath.Glob(filepath.Join(source, folder, "*.yaml"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if filepath.Base(file) == "kustomization.yaml" {
				continue
			}
			if err := template(folder, filepath.Base(file)); err != nil {
				return err
			}
		}
	}
	return writeMonitoring()
}

// template writes one file's template. The kinds are templates as well: Helm never upgrades what is in a chart's crds folder.
func template(folder, base string) error {
	file := folder + "/" + base
	b, err := os.ReadFile(filepath.Join(source, file))
	if err != nil {
		return err
	}
	// What looks like a template in a manifest is text.
	text := strings.ReplaceAll(string(b), "{{", "{{ `{{` }}")
	for _, s := range settings {
		if s.file != file {
			continue
		}
		if n := strings.Count(text, s.text); n != 1 {
			return fmt.Errorf("%s: %q is there %d times, not once: mend hack/chart", file, s.text, n)
		}
		text = strings.Replace(text, s.text, s.template, 1)
	}
	if folder == "crd" {
		// Removing the kinds would remove every request and grant with them.
		text = strings.Replace(text, "  annotations:\n", "  annotations:\n    helm.sh/resource-policy: keep\n", 1)
	}
	header := fmt.Sprintf("{{- /* Generated from %s/%s by hack/chart; DO NOT EDIT. */ -}}\n", source, file)
	return os.WriteFile(filepath.Join(target, folder+"-"+base), []byte(header+text), 0o644)
}
