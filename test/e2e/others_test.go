// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e && heavy

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

// TestBesideOtherOperators follows the first page on a cluster in which prometheus-operator and Kueue work already, as each ships, and
// sees that neither hinders the other: not while Valetkey is there, nor when it has been removed.
func TestBesideOtherOperators(t *testing.T) {
	r := newReader(t, localcluster.Options{Others: true})
	r.installsOthers(t)
	r.queuesAJob(t, "default", "before")
	r.watchesItself(t, "default")

	r.follows(t, "docs/start.md")
	r.findsNoNameTwice(t)

	r.runs(t, "kubectl apply --server-side -k config/monitoring")
	r.watchesItself(t, "agents")
	r.watchesValetkey(t)
	r.queuesAJob(t, "agents", "meanwhile")
	r.queuesAGrantedJob(t)

	r.removesValetkey(t)
	r.queuesAJob(t, "default", "after")
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
	queues := r.imageOf(t, r.cluster.Other(localcluster.Kueue), "localhost/kueue:test", "/manager")
	r.runs(t, fmt.Sprintf("sed 's|image: quay.io/prometheus-operator/prometheus-operator:.*|image: %s|' %s/bundle.yaml | kubectl apply --server-side -f -",
		watches, module(t, localcluster.PrometheusOperator, "github.com/prometheus-operator/prometheus-operator")))
	r.runs(t, fmt.Sprintf("kubectl kustomize %s/config/default | sed 's|image: .*/kueue:.*|image: %s|; s|imagePullPolicy: Always|imagePullPolicy: Never|' | kubectl apply --server-side -f -",
		module(t, localcluster.Kueue, "sigs.k8s.io/kueue"), queues))
	// Nothing leads from this API server to others: it has no certificate to be known by.
	r.runs(t, "kubectl delete apiservice -l app.kubernetes.io/name=kueue")
	r.runs(t, "kubectl wait deployment -A --all --for=condition=Available --timeout=180s || { kubectl get pods -A; kubectl logs -n kueue-system deploy/kueue-controller-manager --tail=30; kubectl logs deploy/prometheus-operator --tail=30; false; }")
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

// queuesAJob has Kueue start an ordinary Job, and waits for its end.
func (r *reader) queuesAJob(t *testing.T, namespace, name string) {
	t.Helper()
	r.applies(t, fmt.Sprintf(queueForAll, namespace))
	r.runs(t, fmt.Sprintf("kubectl wait clusterqueue/all --for=condition=Active --timeout=60s && kubectl -n %s wait localqueue/default --for=condition=Active --timeout=60s", namespace))
	r.applies(t, fmt.Sprintf(queued, name, namespace, r.kubectlImage))
	r.runs(t, fmt.Sprintf("kubectl -n %s wait job/%s --for=condition=Complete --timeout=60s || { kubectl -n %[1]s get job,workload -o yaml; false; }", namespace, name))
	if by := r.runs(t, fmt.Sprintf("kubectl -n %s get workload -o jsonpath='{.items[*].metadata.name}'", namespace)); !strings.Contains(by, "job-"+name+"-") {
		t.Errorf("Kueue knows of the workloads %q, and not of the Job %s", by, name)
	}
}

const queueForAll = `apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: any}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: all}
spec:
  namespaceSelector: {}
  resourceGroups:
  - coveredResources: [cpu]
    flavors: [{name: any, resources: [{name: cpu, nominalQuota: "1"}]}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: default, namespace: %s}
spec: {clusterQueue: all}`

const queued = `apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: %s}
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: %q, imagePullPolicy: Never, args: [version, --client], resources: {requests: {cpu: 10m}}}`

// queuesAGrantedJob asks in a namespace whose queue takes every Job. Where Kueue admits the Job, it counts it. Where it does not, it wants
// to hold the Job that was granted, and the admission rules refuse that.
func (r *reader) queuesAGrantedJob(t *testing.T) {
	t.Helper()
	for _, c := range []struct{ name, policy, reserved string }{{"admitted", "None", "True"}, {"held", "Hold", "False"}} {
		r.runs(t, fmt.Sprintf(`kubectl patch clusterqueue all --type=merge -p '{"spec":{"stopPolicy":"%s"}}'`, c.policy))
		r.runs(t, fmt.Sprintf("agent run read-settings --repo web-app --env rehearsal --task %s --name %[1]s --service-account runner --image $IMAGE -- kubectl get configmaps", c.name))
		uid := r.runs(t, fmt.Sprintf("kubectl -n agents get job valetkey-%s -o jsonpath='{.metadata.uid}'", c.name))
		r.runs(t, fmt.Sprintf("kubectl -n agents wait workload -l kueue.x-k8s.io/job-uid=%s --for=condition=Finished --timeout=60s", uid))
		reserved := r.runs(t, fmt.Sprintf(`kubectl -n agents get workload -l kueue.x-k8s.io/job-uid=%s -o jsonpath='{.items[*].status.conditions[?(@.type=="QuotaReserved")].status}'`, uid))
		if reserved != c.reserved {
			t.Errorf("of the Job %s Kueue says that quota is reserved: %s, want %s", c.name, reserved, c.reserved)
		}
	}
	r.runs(t, "kubectl -n kueue-system logs deploy/kueue-controller-manager | grep 'Suspending job with non admitted workload' | grep '\"name\":\"valetkey-held\"' | grep -c valetkey-jobs-frozen")
	r.runs(t, `kubectl patch clusterqueue all --type=merge -p '{"spec":{"stopPolicy":"None"}}'`)
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
