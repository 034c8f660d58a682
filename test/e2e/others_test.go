// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/hack/localcluster"
)

// TestBesideOtherOperators follows the first page on a cluster in which prometheus-operator works already, as it ships, and
// sees that neither hinders the other: not while Valetkey is there, nor when it has been removed.
func TestBesideOtherOperators(t *testing.T) {
	r := newReader(t, localcluster.Options{Others: true})
	r.installsOthers(t)
	r.watchesItself(t, "default")

	r.follows(t, "docs/start.md")
	r.findsNoNameTwice(t)

	r.runs(t, "kubectl apply --server-side -k config/monitoring")
	r.watchesItself(t, "agents")
	r.watchesValetkey(t)

	r.removesValetkey(t)
	r.watchesItself(t, "kube-public")
}

// runs types a command that has to succeed, and returns what it printed.
func (r *reader) runs(t *testing.T, command string) string {
	t.Helper()
	printed, err := r.types(t, command)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(printed)
}

// applies applies a manifest.
func (r *reader) applies(t *testing.T, manifest string) {
	t.Helper()
	r.runs(t, "kubectl apply --server-side -f - <<'END'\n"+manifest+"\nEND")
}

// installsOthers applies what the other operators ship, with images that need no registry.
func (r *reader) installsOthers(t *testing.T) {
	t.Helper()
	watches := r.imageOf(t, r.cluster.Other(localcluster.PrometheusOperator), "localhost/prometheus-operator:test", "/bin/operator")
	r.runs(t, fmt.Sprintf("sed 's|image: quay.io/prometheus-operator/prometheus-operator:.*|image: %s|' %s/bundle.yaml | kubectl apply --server-side -f -",
		watches, module(t, localcluster.PrometheusOperator, "github.com/prometheus-operator/prometheus-operator")))
	r.runs(t, "kubectl wait deployment -A --all --for=condition=Available --timeout=180s || { kubectl get pods -A; kubectl logs deploy/prometheus-operator --tail=30; false; }")
}

// module is the folder of a pinned module, which has the manifests beside the source.
func module(t *testing.T, pin, path string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", path)
	cmd.Dir = filepath.Join("..", "..", "hack", "pins", pin)
	text, err := cmd.Output()
	var found struct{ Dir string }
	if err == nil {
		err = json.Unmarshal(text, &found)
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, text)
	}
	return found.Dir
}

// watchesItself has prometheus-operator make what a Prometheus needs: a StatefulSet, Secrets, and a ConfigMap with the rules that it
// finds. The Pod has no image here, and is not waited for.
func (r *reader) watchesItself(t *testing.T, namespace string) {
	t.Helper()
	r.applies(t, fmt.Sprintf(watchesAll, namespace))
	for _, made := range []string{"statefulset/prometheus-all", "secret/prometheus-all", "secret/prometheus-all-tls-assets-0", "configmap/prometheus-all-rulefiles-0"} {
		r.runs(t, fmt.Sprintf("kubectl -n %s wait %s --for=create --timeout=60s || { kubectl logs deploy/prometheus-operator --tail=20; false; }", namespace, made))
	}
}

const watchesAll = `apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: all, namespace: %s}
spec: {ruleSelector: {}, ruleNamespaceSelector: {}, podMonitorSelector: {}, podMonitorNamespaceSelector: {}}`

// watchesValetkey looks for Valetkey's rules and Pods in what prometheus-operator wrote for Prometheus. What it rejects it leaves out.
func (r *reader) watchesValetkey(t *testing.T) {
	t.Helper()
	r.runs(t, `grep -q -m1 'alert: ValetkeyDown' < <(timeout 60 kubectl -n agents get configmap prometheus-all-rulefiles-0 -o yaml --watch)`)
	r.runs(t, `grep -q -m1 'job_name: podMonitor/valetkey-system/valetkey/0' < <(timeout 60 kubectl -n agents get secret prometheus-all \
	-o jsonpath='{.data.prometheus\.yaml\.gz}{"\n"}' --watch | while read -r text; do base64 -d <<<$text | gunzip; done)`)
}

// removesValetkey does as docs/install.md says.
func (r *reader) removesValetkey(t *testing.T) {
	t.Helper()
	if living := r.runs(t, "kubectl valetkey grants -A 2>&1"); strings.Contains(living, "read-settings") {
		t.Fatalf("grants live:\n%s", living)
	}
	for _, applied := range []string{"config/monitoring", "config/samples/kubernetes", "config/default"} {
		r.runs(t, "kubectl delete -k "+applied)
	}
	if left := r.runs(t, "kubectl get crd,validatingadmissionpolicy,mutatingadmissionpolicy,clusterrole,namespace -o name | grep valetkey || true"); left != "" {
		t.Errorf("of Valetkey there is left:\n%s", left)
	}
}

// findsNoNameTwice: what somebody types for one of Valetkey's kinds means no other.
func (r *reader) findsNoNameTwice(t *testing.T) {
	t.Helper()
	var list struct {
		Items []struct {
			Status struct {
				AcceptedNames struct {
					Plural, Singular string
					ShortNames       []string
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(r.runs(t, "kubectl get crd -o json")), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, item := range list.Items {
		n := item.Status.AcceptedNames
		names = append(append(names, n.Plural, n.Singular), n.ShortNames...)
	}
	slices.Sort(names)
	for i := range names[1:] {
		if names[i] == names[i+1] {
			t.Errorf("%s means two kinds", names[i])
		}
	}
}
