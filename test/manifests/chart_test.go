// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration

package manifests

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
)

const keep = "helm.sh/resource-policy"

// TestChart sees that the chart installs what kustomize does, on a real API server, and keeps the kinds when it is removed.
func TestChart(t *testing.T) {
	ctx := t.Context()
	cluster := clustertest.Start(t, localcluster.Options{Fast: true, Helm: true, Progress: os.Stderr})
	h := helm{t: t, cluster: cluster, chart: filepath.Join("..", "..", "charts", "valetkey")}
	const image = "image=valetkey.dev/valetkey:dev"

	t.Run("it renders what config holds", func(t *testing.T) {
		rendered, err := decode([]byte(h.must(ctx, "template", "valetkey", h.chart, "--set", image)))
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]any{}
		for _, folder := range []string{"crd", "namespaces", "rbac", "admission", "manager"} {
			objects, err := read(filepath.Join("..", "..", "config", folder))
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				want[o.GetKind()+" "+o.GetName()] = o.Object
			}
		}
		delete(want, "Namespace valetkey-system") // helm's --create-namespace makes it
		got, hooks := map[string]any{}, map[string]string{}
		for _, o := range rendered {
			annotations := o.GetAnnotations()
			if hook := annotations["helm.sh/hook"]; hook != "" {
				hooks[o.GetName()] = hook
				continue
			}
			if kept := annotations[keep] == "keep"; kept != (o.GetKind() == "CustomResourceDefinition" || o.GetKind() == "Namespace") {
				t.Errorf("%s %s: kept is %v", o.GetKind(), o.GetName(), kept)
			}
			delete(annotations, keep)
			if len(annotations) == 0 {
				annotations = nil
			}
			o.SetAnnotations(annotations)
			got[o.GetKind()+" "+o.GetName()] = o.Object
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[string]string{"valetkey-check": "test", "valetkey-check-removal": "pre-delete"}, hooks); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("it renders the monitoring that config holds, where it is wanted", func(t *testing.T) {
		kustomized, err := exec.CommandContext(ctx, cluster.Kubectl(), "kustomize", filepath.Join("..", "..", "config", "monitoring")).Output()
		if err != nil {
			t.Fatal(err)
		}
		want := byName(t, kustomized)
		if len(want) != 3 {
			t.Fatalf("config/monitoring has %d objects", len(want))
		}
		all := byName(t, []byte(h.must(ctx, "template", "valetkey", h.chart, "--set", image, "--set",
			"monitoring.rules.enabled=true,monitoring.podMonitor.enabled=true,monitoring.dashboard.enabled=true,monitoring.labels.release=prometheus")))
		for name, o := range want {
			labels := o.GetLabels()
			labels["release"] = "prometheus"
			o.SetLabels(labels)
			if got, ok := all[name]; !ok {
				t.Errorf("there is no %s", name)
			} else if diff := cmp.Diff(o.Object, got.Object); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
	})
	t.Run("it refuses what cannot work", func(t *testing.T) {
		for words, args := range map[string][]string{
			"name the operator's image":             {},
			"install into the namespace":            {"--set", image, "--namespace", "default"},
			"additional properties 'imag'":          {"--set", "imag=x"},
			"'/args/0': 'verbose' does not match":   {"--set", image, "--set", "args={verbose}"},
			"'/args/0': 'not' failed":               {"--set", image, "--set", "args={--watch-namespace=agents}"},
			"at '/args/0': 'not' failed":            {"--set", image, "--set", "args={--https-proxy=http://me:hunter2@proxy.example.com}"},
			"httpsProxy: want the URL of a proxy":   {"--set", image, "--set", "httpsProxy=http://me:hunter2@proxy.example.com"},
			"'/noProxy/0': 'a,b' does not match":    {"--set", image, "--set-json", `noProxy=["a,b"]`},
			"'/noProxy/0': '*' does not match":      {"--set", image, "--set", "noProxy={*}"},
			"'/caFile': 'ca.crt' does not match":    {"--set", image, "--set", "caFile=ca.crt"},
			"'/audiences': minItems":                {"--set", image, "--set-json", "audiences=[]"},
			"'/audiences/0': 'a,b' does not match":  {"--set", image, "--set-json", `audiences=["a,b"]`},
			"'/audit/storage': 'much' does not ":    {"--set", image, "--set", "audit.storage=much"},
			"'/watchNamespaces/0': 'A' does not ":   {"--set", image, "--set", "watchNamespaces={A}"},
			"'/monitoring/rules/enabled': got":      {"--set", image, "--set", "monitoring.rules.enabled=sometimes"},
			"'/volumes/0': missing property 'name'": {"--set", image, "--set", "volumes[0].secret.secretName=x"},
			"'/networkPolicy/enabled': got string":  {"--set", image, "--set", "networkPolicy.enabled=perhaps"},
			"'/imagePullPolicy': value must be one": {"--set", image, "--set", "imagePullPolicy=Sometimes"},
		} {
			if out, err := h.run(ctx, append([]string{"template", "valetkey", h.chart}, args...)...); err == nil || !strings.Contains(out, words) || strings.Contains(out, "hunter2") {
				t.Errorf("%v: %v\n%s\nwant %q", args, err, out, words)
			}
		}
	})
	t.Run("where namespaces are named, the operator has its power there alone", func(t *testing.T) {
		rendered, err := decode([]byte(h.must(ctx, "template", "valetkey", h.chart, "--set", image, "--set", "args={--verbose}", "--set", "watchNamespaces={agents,others}")))
		if err != nil {
			t.Fatal(err)
		}
		var bound []string
		for _, o := range rendered {
			if role, _, _ := unstructured.NestedString(o.Object, "roleRef", "name"); role == "valetkey-operator-namespaced" {
				bound = append(bound, o.GetKind()+" in "+o.GetNamespace())
			}
			if containers, found, _ := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers"); found {
				first := map[string]any{"valetkey": "--verbose", "valetkey-check-removal": "check-removal"}[o.GetName()]
				if diff := cmp.Diff([]any{first, "--watch-namespace=agents", "--watch-namespace=others"}, containers[0].(map[string]any)["args"]); diff != "" {
					t.Error(diff)
				}
			}
		}
		if diff := cmp.Diff([]string{"RoleBinding in agents", "RoleBinding in others"}, bound); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("its settings arrive", func(t *testing.T) {
		out := h.must(ctx, "template", "valetkey", h.chart, "--set", "image=example.com/v@sha256:1", "--set", "args={--aws-endpoint=https://sts.example.com}",
			"--set", "imagePullSecrets[0].name=pull", "--set", "audit.storageClassName=fast", "--set", "audit.storage=5Gi", "--set", "resources.limits.memory=1Gi",
			"--set", "nodeSelector.pool=infra", "--set", "tolerations[0].key=infra", "--set", "env[0].name=A", "--set", "env[0].value=b",
			"--set", "volumes[0].name=keys", "--set", "volumes[0].secret.secretName=keys", "--set", "volumeMounts[0].name=keys", "--set", "volumeMounts[0].mountPath=/keys",
			"--set", "networkPolicy.egress[0].ports[0].port=8200", "--set", "audiences={vault,mine}",
			"--set", "httpsProxy=http://proxy.example.com:3128", "--set", "noProxy={svc,10.0.0.0/8}", "--set", "caFile=/keys/ca.crt")
		rendered, err := decode([]byte(out))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range rendered {
			switch o.GetKind() {
			case "ConfigMap":
				has(t, o, "vault,mine", "data", "audiences")
			case "NetworkPolicy":
				rules, _, _ := unstructured.NestedSlice(o.Object, "spec", "egress")
				if diff := cmp.Diff(map[string]any{"ports": []any{map[string]any{"port": 8200.0}}}, rules[len(rules)-1]); diff != "" {
					t.Error(diff)
				}
			case "StatefulSet":
				claims, _, _ := unstructured.NestedSlice(o.Object, "spec", "volumeClaimTemplates")
				claim := &unstructured.Unstructured{Object: claims[0].(map[string]any)}
				has(t, claim, "fast", "spec", "storageClassName")
				has(t, claim, "5Gi", "spec", "resources", "requests", "storage")
				pod, _, _ := unstructured.NestedMap(o.Object, "spec", "template", "spec")
				container := pod["containers"].([]any)[0].(map[string]any)
				const ownVariables = 2 // the memory's limit, twice
				got := []any{pod["imagePullSecrets"], container["image"], container["args"], container["resources"].(map[string]any)["limits"],
					pod["nodeSelector"], pod["tolerations"], container["env"].([]any)[ownVariables:], pod["volumes"], container["volumeMounts"].([]any)[1]}
				flags := []any{"--aws-endpoint=https://sts.example.com", "--https-proxy=http://proxy.example.com:3128", "--no-proxy=svc", "--no-proxy=10.0.0.0/8", "--ca-file=/keys/ca.crt"}
				want := []any{[]any{map[string]any{"name": "pull"}}, "example.com/v@sha256:1", flags, map[string]any{"memory": "1Gi"},
					map[string]any{"pool": "infra"}, []any{map[string]any{"key": "infra"}}, []any{map[string]any{"name": "A", "value": "b"}},
					[]any{map[string]any{"name": "keys", "secret": map[string]any{"secretName": "keys"}}}, map[string]any{"name": "keys", "mountPath": "/keys"}}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
		}
	})
	t.Run("it is installed, upgraded and removed", func(t *testing.T) {
		h.must(ctx, "install", "valetkey", h.chart, "--create-namespace", "--set", image)
		if out, err := exec.CommandContext(ctx, cluster.Kubectl(), "--kubeconfig", h.kubeconfig(), "label", "namespace", "valetkey-system", "pod-security.kubernetes.io/enforce=restricted").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		i, err := newInstaller(cluster.AdminConfig())
		if err != nil {
			t.Fatal(err)
		}
		if err := i.inForce(ctx); err != nil {
			t.Fatal(err)
		}
		h.must(ctx, "upgrade", "valetkey", h.chart, "--set", image, "--set", "args={--audit-backups=9}")
		h.must(ctx, "uninstall", "valetkey", "--no-hooks")
		out, err := exec.CommandContext(ctx, cluster.Kubectl(), "--kubeconfig", h.kubeconfig(), "get", "crd,validatingadmissionpolicies", "-o", "name").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if n := strings.Count(string(out), "valetkey.dev"); n != 5 || strings.Contains(string(out), "validatingadmissionpolicy") {
			t.Errorf("after its removal there are:\n%s", out)
		}
	})
	if out := h.must(ctx, "lint", "--strict", h.chart, "--set", image); !strings.Contains(out, "0 chart(s) failed") {
		t.Error(out)
	}
}

// byName decodes manifests.
func byName(t *testing.T, text []byte) map[string]*unstructured.Unstructured {
	t.Helper()
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		named[o.GetKind()+" "+o.GetName()] = o
	}
	return named
}

func has(t *testing.T, o *unstructured.Unstructured, want string, path ...string) {
	t.Helper()
	if got, _, err := unstructured.NestedString(o.Object, path...); err != nil || got != want {
		t.Errorf("%s: %q, %v; want %q", strings.Join(path, "."), got, err, want)
	}
}

// helm runs helm against the cluster, in the operator's namespace where no other is said.
type helm struct {
	t       *testing.T
	cluster *localcluster.Cluster
	chart   string
}

func (h helm) kubeconfig() string {
	path, err := h.cluster.Kubeconfig("helm", "system:masters")
	if err != nil {
		h.t.Fatal(err)
	}
	return path
}

func (h helm) run(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, h.cluster.Helm(), args...)
	command.Env = append(os.Environ(), "HELM_NAMESPACE=valetkey-system", "KUBECONFIG="+h.kubeconfig(), "HOME="+h.t.TempDir())
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	return out.String(), err
}

func (h helm) must(ctx context.Context, args ...string) string {
	h.t.Helper()
	out, err := h.run(ctx, args...)
	if err != nil {
		h.t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}
