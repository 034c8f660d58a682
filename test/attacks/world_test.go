// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build integration || mutation

package attacks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/localcluster"
	"github.com/valetkey/valetkey/hack/localcluster/clustertest"
	"github.com/valetkey/valetkey/test/manifests"
)

// Who attacks. Each is a real client certificate or a real token.
const (
	admin    = "admin"             // system:masters
	agent    = "agent"             // ServiceAccount agents/web-app-bot with the role valetkey-requester
	alice    = "alice@example.com" // a release manager: valetkey-approver and valetkey-revoker
	viewer   = "viewer"            // may read and patch requests and grants, without the verbs approve and revoke
	mallory  = "mallory"           // may do everything in the agents' namespace and in the identities'
	operator = "operator"          // ServiceAccount valetkey-system/valetkey, with more rights than it is shipped with
	kubelet  = "system:node:node1"
)

const (
	namespace  = "agents"
	plain      = "plain" // a namespace that is not enrolled
	identities = "valetkey-identities"
	digest     = "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
)

// The cast: a request that waits for approval, one whose Job was started, one whose Job was started and stopped, and one that
// alice denied and that the operator has not looked at since.
const (
	denied  = "denied"
	waiting = "waiting"
	granted = "granted"
	stopped = "stopped"
)

// world is a cluster with everything installed and the cast on stage.
type world struct {
	cluster *localcluster.Cluster
	configs map[string]*rest.Config
	clients map[string]dynamic.Interface
	// grantUID, secret and pod are those of the request that was granted.
	grantUID, secret, pod string
}

var kinds = map[string]schema.GroupVersionResource{
	"CapabilityRequest":     {Group: "valetkey.dev", Version: "v1alpha1", Resource: "capabilityrequests"},
	"CapabilityGrant":       {Group: "valetkey.dev", Version: "v1alpha1", Resource: "capabilitygrants"},
	"Capability":            {Group: "valetkey.dev", Version: "v1alpha1", Resource: "capabilities"},
	"Job":                   {Group: "batch", Version: "v1", Resource: "jobs"},
	"CronJob":               {Group: "batch", Version: "v1", Resource: "cronjobs"},
	"Deployment":            {Group: "apps", Version: "v1", Resource: "deployments"},
	"ReplicaSet":            {Group: "apps", Version: "v1", Resource: "replicasets"},
	"StatefulSet":           {Group: "apps", Version: "v1", Resource: "statefulsets"},
	"DaemonSet":             {Group: "apps", Version: "v1", Resource: "daemonsets"},
	"ReplicationController": {Version: "v1", Resource: "replicationcontrollers"},
	"PodTemplate":           {Version: "v1", Resource: "podtemplates"},
	"Pod":                   {Version: "v1", Resource: "pods"},
	"Secret":                {Version: "v1", Resource: "secrets"},
	"ConfigMap":             {Version: "v1", Resource: "configmaps"},
	"ServiceAccount":        {Version: "v1", Resource: "serviceaccounts"},
	"Namespace":             {Version: "v1", Resource: "namespaces"},
}

// newWorld starts a control plane, installs what config/ ships, and puts the cast on stage.
func newWorld(ctx context.Context, t *testing.T) *world {
	t.Helper()
	cluster := clustertest.Start(t, localcluster.Options{Fast: true, Progress: os.Stderr})
	w := &world{cluster: cluster, configs: map[string]*rest.Config{}, clients: map[string]dynamic.Interface{}}
	w.install(t)
	w.people(ctx, t)
	w.awaitGuard(ctx, t)
	w.somebodyElses(ctx, t)
	w.cast(ctx, t)
	return w
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (w *world) install(t *testing.T) {
	t.Helper()
	for _, folder := range []string{"crd", "namespaces", "rbac", "admission"} {
		w.kubectl(t, "apply", "--server-side", "-k", filepath.Join(root(t), "config", folder))
		if folder == "crd" {
			w.kubectl(t, "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
		}
		if folder == "rbac" {
			w.kubectl(t, manifests.AwaitAggregated()...)
		}
	}
	for _, file := range []string{"namespace.yaml", "people.yaml"} {
		w.kubectl(t, "apply", "--server-side", "-f", filepath.Join(root(t), "config", "samples", file))
	}
	w.kubectl(t, "apply", "--server-side", "-f", filepath.Join("testdata", "people.yaml"))
}

func (w *world) kubectl(t *testing.T, args ...string) {
	t.Helper()
	kubeconfig, err := w.cluster.Kubeconfig("admin")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), w.cluster.Kubectl(), append([]string{"--kubeconfig", kubeconfig}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
}

// people makes a client for everybody.
func (w *world) people(ctx context.Context, t *testing.T) {
	t.Helper()
	w.configs[admin] = w.cluster.AdminConfig()
	for _, who := range []struct{ name, group string }{{alice, "release-managers"}, {viewer, "viewers"}, {mallory, "mallories"}, {kubelet, "system:nodes"}} {
		config, err := w.cluster.UserConfig(who.name, who.group)
		if err != nil {
			t.Fatal(err)
		}
		w.configs[who.name] = config
	}
	for who, account := range map[string][2]string{agent: {namespace, "web-app-bot"}, operator: {"valetkey-system", "valetkey"},
		gitops: {plain, gitops}, gitopsStar: {plain, gitopsStar}, ingress: {plain, ingress}} {
		w.configs[who] = w.tokenConfig(ctx, t, account[0], account[1])
	}
	for who, config := range w.configs {
		config.WarningHandler = rest.NoWarnings{}
		client, err := dynamic.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		w.clients[who] = client
	}
}

func (w *world) tokenConfig(ctx context.Context, t *testing.T, ns, account string) *rest.Config {
	t.Helper()
	clients := kubernetes.NewForConfigOrDie(w.cluster.AdminConfig())
	token, err := clients.CoreV1().ServiceAccounts(ns).CreateToken(ctx, account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.AnonymousClientConfig(w.cluster.AdminConfig())
	config.BearerToken, config.QPS = token.Status.Token, -1
	return config
}

// awaitGuard returns when the rules are in force: when the last of them to be stored refuses what it must.
func (w *world) awaitGuard(ctx context.Context, t *testing.T) {
	t.Helper()
	probes := []func() error{
		func() error {
			return w.create(ctx, mallory, w.pod0("probe", set("metadata.labels", map[string]any{"valetkey.dev/request": "x"})))
		},
		func() error { return w.create(ctx, mallory, w.secret0("valetkey-probe", "Opaque")) },
		func() error { return w.create(ctx, mallory, w.job0("probe", set("spec.parallelism", 2))) },
		func() error { return w.create(ctx, operator, w.secret0("probe", "Opaque")) },
		func() error {
			return w.create(ctx, mallory, w.request0("probe", set("metadata.finalizers", []any{"a.example.com/b"})))
		},
		func() error { return w.create(ctx, mallory, object("Pod", identities, "probe", restricted())) },
	}
	for i, probe := range probes {
		eventually(t, func() error {
			if err := probe(); err == nil || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
				return fmt.Errorf("probe %d is not refused yet: %w", i, errors.Join(err))
			}
			return nil
		})
	}
}

// eventually asks until there is no error, as often as the API server answers, for at most half a minute.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// cast puts on stage a request that waits for approval, and one that was granted and whose Job the job-controller made a Pod for.
func (w *world) cast(ctx context.Context, t *testing.T) {
	t.Helper()
	must := func(_ *unstructured.Unstructured, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// Nobody runs the node that the granted Pod is given to: it is to stay there all the same.
	stays := set("spec.template.spec.tolerations", []any{map[string]any{"operator": "Exists", "effect": "NoExecute"}})
	for _, name := range []string{waiting, granted, stopped, denied} {
		must(w.clients[agent].Resource(kinds["CapabilityRequest"]).Namespace(namespace).Create(ctx, w.request0(name), metav1.CreateOptions{}))
		must(w.clients[agent].Resource(kinds["Job"]).Namespace(namespace).Create(ctx, w.job0(name, stays), metav1.CreateOptions{}))
		must(w.apply(ctx, operator, "CapabilityRequest", name, "status", nil, fmt.Sprintf(`{"status":{"review":%s}}`, reviewJSON(name))))
	}
	must(w.clients[admin].Resource(kinds["Secret"]).Namespace(namespace).Create(ctx, w.secret0("ordinary", "Opaque"), metav1.CreateOptions{}))
	must(w.clients[admin].Resource(kinds["ConfigMap"]).Namespace(namespace).Create(ctx, object("ConfigMap", namespace, "settings", nil), metav1.CreateOptions{}))
	request := w.get(ctx, t, "CapabilityRequest", granted)
	must(w.clients[operator].Resource(kinds["CapabilityGrant"]).Namespace(namespace).Create(ctx, w.grant0(granted, string(request.GetUID())), metav1.CreateOptions{}))
	w.grantUID = string(w.get(ctx, t, "CapabilityGrant", granted).GetUID())
	w.secret = "valetkey-" + w.grantUID + "-1"
	must(w.clients[operator].Resource(kinds["Secret"]).Namespace(namespace).Create(ctx, w.grantSecret(), metav1.CreateOptions{}))
	must(w.clients[operator].Resource(kinds["ConfigMap"]).Namespace(namespace).Create(ctx, w.copy0(), metav1.CreateOptions{}))
	must(w.clients[operator].Resource(kinds["Secret"]).Namespace(identities).Create(ctx, w.anchor(), metav1.CreateOptions{}))
	must(w.apply(ctx, operator, "CapabilityRequest", granted, "status", nil, `{"status":{"grantName":"granted"}}`))
	must(w.apply(ctx, operator, "CapabilityGrant", granted, "status", nil, `{"status":{"attempt":1}}`))
	must(w.apply(ctx, operator, "Namespace", namespace, "", nil, `{"metadata":{"labels":{"valetkey.dev/in-use":"true"}}}`))
	must(w.apply(ctx, operator, "Job", "valetkey-"+granted, "", nil, w.startPatch("publish")))
	must(w.apply(ctx, operator, "Job", "valetkey-"+stopped, "", nil, w.startPatch("publish")))
	must(w.apply(ctx, operator, "Job", "valetkey-"+stopped, "", nil, `{"spec":{"suspend":true}}`))
	must(w.apply(ctx, alice, "CapabilityRequest", denied, "", nil, `{"metadata":{"annotations":{"valetkey.dev/deny":"`+digest+`"}}}`))
	w.pod = w.awaitPod(ctx, t)
	w.give(ctx, t, w.pod)
}

// give gives a Pod to a node that nobody runs.
func (w *world) give(ctx context.Context, t *testing.T, pod string) {
	t.Helper()
	clients := kubernetes.NewForConfigOrDie(w.cluster.AdminConfig())
	room := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("4Gi"), corev1.ResourcePods: resource.MustParse("110")}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}, Status: corev1.NodeStatus{Capacity: room, Allocatable: room}}
	if _, err := clients.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: pod}, Target: corev1.ObjectReference{Kind: "Node", Name: "node1"}}
	if err := clients.CoreV1().Pods(namespace).Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (w *world) awaitPod(ctx context.Context, t *testing.T) string {
	t.Helper()
	clients := kubernetes.NewForConfigOrDie(w.cluster.AdminConfig())
	source := cache.NewFilteredListWatchFromClient(clients.CoreV1().RESTClient(), "pods", namespace, func(o *metav1.ListOptions) {
		o.LabelSelector = "valetkey.dev/request=" + granted
	})
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	event, err := watchtools.UntilWithSync(ctx, source, &corev1.Pod{}, nil, func(e watch.Event) (bool, error) { return e.Type == watch.Added, nil })
	if err != nil {
		t.Fatalf("the job-controller made no Pod: %v", err)
	}
	return event.Object.(metav1.Object).GetName()
}

func (w *world) get(ctx context.Context, t *testing.T, kind, name string) *unstructured.Unstructured {
	t.Helper()
	found, err := w.clients[admin].Resource(kinds[kind]).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// --- what attackers do; all of it dry runs, so that a row that gets through changes nothing for the next -----------------

var dryRun = []string{metav1.DryRunAll}

func (w *world) create(ctx context.Context, who string, o *unstructured.Unstructured) error {
	_, err := w.creating(ctx, who, o)
	return err
}

// creating returns what would be stored.
func (w *world) creating(ctx context.Context, who string, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	return w.clients[who].Resource(kinds[o.GetKind()]).Namespace(o.GetNamespace()).Create(ctx, o, metav1.CreateOptions{DryRun: dryRun})
}

// patch sends a JSON merge patch to an object of the agents' namespace; to a Namespace itself where that is the kind.
func (w *world) patch(ctx context.Context, who, kind, name, subresource, body string) error {
	_, err := w.patching(ctx, who, kind, name, subresource, body)
	return err
}

// patching returns what would be stored.
func (w *world) patching(ctx context.Context, who, kind, name, subresource, body string) (*unstructured.Unstructured, error) {
	return w.apply(ctx, who, kind, name, subresource, dryRun, body)
}

func (w *world) apply(ctx context.Context, who, kind, name, subresource string, dry []string, body string) (*unstructured.Unstructured, error) {
	ns := namespace
	if kind == "Namespace" {
		ns = ""
	}
	var sub []string
	if subresource != "" {
		sub = []string{subresource}
	}
	return w.clients[who].Resource(kinds[kind]).Namespace(ns).Patch(ctx, name, types.MergePatchType, []byte(body), metav1.PatchOptions{DryRun: dry}, sub...)
}

func (w *world) delete(ctx context.Context, who, kind, name string, o metav1.DeleteOptions) error {
	if o.DryRun == nil {
		o.DryRun = dryRun
	}
	return w.clients[who].Resource(kinds[kind]).Namespace(namespace).Delete(ctx, name, o)
}

// connect opens a connection to the Pod that holds a credential, by a POST as exec and its like are.
func (w *world) connect(ctx context.Context, who, how string) error {
	clients := kubernetes.NewForConfigOrDie(w.configs[who])
	return clients.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(w.pod).SubResource(how).Do(ctx).Error()
}

func (w *world) token(ctx context.Context, who, ns string, spec authenticationv1.TokenRequestSpec) error {
	clients := kubernetes.NewForConfigOrDie(w.configs[who])
	_, err := clients.CoreV1().ServiceAccounts(ns).CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{DryRun: dryRun})
	return err
}

// --- manifests -------------------------------------------------------------------------------------------------------

// edit changes a manifest.
type edit func(map[string]any)

// set puts a value at a path of dots, in which numbers count in lists.
func set(path string, value any) edit {
	return func(o map[string]any) {
		parts := strings.Split(path, ".")
		var at any = o
		for i, part := range parts {
			last := i == len(parts)-1
			switch node := at.(type) {
			case map[string]any:
				if last {
					node[part] = value
					return
				}
				if node[part] == nil {
					node[part] = map[string]any{}
				}
				at = node[part]
			case []any:
				n, err := strconv.Atoi(part)
				if err != nil {
					panic(err)
				}
				if last {
					node[n] = value
					return
				}
				at = node[n]
			}
		}
	}
}

// label and note are keys with dots in them.
func label(at, key, value string) edit {
	return func(o map[string]any) {
		parent := o
		for _, part := range strings.Split(at, ".") {
			if parent[part] == nil {
				parent[part] = map[string]any{}
			}
			parent = parent[part].(map[string]any)
		}
		parent[key] = value
	}
}

func object(kind, ns, name string, spec map[string]any, edits ...edit) *unstructured.Unstructured {
	gvr := kinds[kind]
	o := map[string]any{"apiVersion": gvr.GroupVersion().String(), "kind": kind, "metadata": map[string]any{"name": name, "namespace": ns}}
	if spec != nil {
		o["spec"] = spec
	}
	for _, e := range edits {
		e(o)
	}
	return normal(o)
}

// normal makes every number what the API's JSON would make it.
func normal(o map[string]any) *unstructured.Unstructured {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil {
		panic(err)
	}
	return u
}

func parse(manifest string) map[string]any {
	var o map[string]any
	if err := yaml.Unmarshal([]byte(manifest), &o); err != nil {
		panic(err)
	}
	return o
}

const (
	imageDigest = "@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	image       = "registry.example.com/publisher" + imageDigest
)

func podSpec() map[string]any {
	return parse("restartPolicy: Never\nautomountServiceAccountToken: false\ncontainers:\n- {name: publish, image: " + image + ", resources: {requests: {cpu: 100m}}}\n- {name: beside, image: " + image + "}\n")
}

// restricted is a Pod's spec that Pod Security has nothing against.
func restricted() map[string]any {
	return parse("securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}\ncontainers:\n- {name: a, image: " + image +
		", securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}\n")
}

func (w *world) pod0(name string, edits ...edit) *unstructured.Unstructured {
	return object("Pod", namespace, name, podSpec(), edits...)
}

func (w *world) request0(name string, edits ...edit) *unstructured.Unstructured {
	return object("CapabilityRequest", namespace, name, parse(
		"{capability: publish-preview-build, taskID: pr-184, actor: openclaw-agent, repo: web-app, environment: preview, container: publish}"), edits...)
}

// job0 is the Job of a request.
func (w *world) job0(name string, edits ...edit) *unstructured.Unstructured {
	spec := map[string]any{"backoffLimit": 0, "template": map[string]any{"metadata": map[string]any{"labels": map[string]any{"valetkey.dev/request": name}}, "spec": podSpec()}}
	return object("Job", namespace, "valetkey-"+name, spec, append([]edit{label("metadata.labels", "valetkey.dev/request", name)}, edits...)...)
}

func (w *world) secret0(name, kind string, edits ...edit) *unstructured.Unstructured {
	return object("Secret", namespace, name, nil, append([]edit{set("type", kind)}, edits...)...)
}

// grantSecret is the Secret of the grant that lives.
func (w *world) grantSecret(edits ...edit) *unstructured.Unstructured {
	base := []edit{set("immutable", true), set("stringData", map[string]any{"aws.credentials": "[default]"}), set("metadata.ownerReferences", []any{map[string]any{
		"apiVersion": "valetkey.dev/v1alpha1", "kind": "CapabilityGrant", "name": granted, "uid": w.grantUID, "controller": true}})}
	return w.secret0("valetkey-"+w.grantUID+"-1", "valetkey.dev/credential", append(base, edits...)...)
}

// copy0 is the copy of a ConfigMap that the grant that lives makes.
func (w *world) copy0(edits ...edit) *unstructured.Unstructured {
	base := []edit{set("immutable", true), set("data", map[string]any{"a": "b"}), set("metadata.ownerReferences", []any{map[string]any{
		"apiVersion": "valetkey.dev/v1alpha1", "kind": "CapabilityGrant", "name": granted, "uid": w.grantUID, "controller": true}})}
	return object("ConfigMap", namespace, w.copyName(), nil, append(base, edits...)...)
}

func (w *world) copyName() string { return "valetkey.dev-" + w.grantUID + "-0" }

// anchor of a token of the grant that lives.
const anchor = "valetkey-agent-9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731-1"

func (w *world) anchor(edits ...edit) *unstructured.Unstructured {
	return w.secret0(anchor, v1alpha1.AnchorType, append([]edit{set("metadata.namespace", identities)}, edits...)...)
}

func (w *world) grant0(name, requestUID string, edits ...edit) *unstructured.Unstructured {
	spec := parse(fmt.Sprintf(`
leaseID: 9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731
requestRef: {name: %s, uid: %s}
requester: system:serviceaccount:agents:web-app-bot
taskID: pr-184
actor: openclaw-agent
repo: web-app
environment: preview
capability: publish-preview-build
provider: {name: aws-preview, type: aws-sts}
scope: [s3:PutObject]
ttlSeconds: 900
job: {name: valetkey-%s, uid: u, container: publish}
approval: {policy: preview-builds, policyGeneration: 1, digest: %s}
`, name, requestUID, name, digest))
	base := []edit{set("metadata.finalizers", []any{"valetkey.dev/revoke"}), set("metadata.ownerReferences", []any{map[string]any{
		"apiVersion": "valetkey.dev/v1alpha1", "kind": "CapabilityRequest", "name": name, "uid": requestUID, "controller": true}})}
	return object("CapabilityGrant", namespace, name, spec, append(base, edits...)...)
}

func reviewJSON(name string) string {
	return fmt.Sprintf(`{"digest":%q,"at":"2026-05-09T11:48:00Z","job":{"name":"valetkey-%s","uid":"u","container":"publish","image":%q},
"capability":{"name":"publish-preview-build","provider":"aws-preview","principal":"arn:aws:iam::123456789012:role/r"},"scope":["s3:PutObject"],"ttlSeconds":900}`, digest, name, image)
}

// startPatch is the operator's.
func (w *world) startPatch(container string, edits ...edit) string {
	patch := map[string]any{"spec": map[string]any{"suspend": false, "activeDeadlineSeconds": 600, "template": map[string]any{"metadata": map[string]any{"annotations": map[string]any{
		"valetkey.dev/grant": w.grantUID, "valetkey.dev/secret": w.secret, "valetkey.dev/container": container, "valetkey.dev/files": "aws.credentials=aws/credentials",
		"valetkey.dev/pointers": "AWS_REGION=us-east-1,AWS_CONFIG_FILE=/var/run/secrets/valetkey.dev/aws/config", "valetkey.dev/variables": "", "valetkey.dev/deadline-seconds": "600",
		"valetkey.dev/containers": "publish=" + imageDigest + ",beside=" + imageDigest,
		"valetkey.dev/inputs":     "settings=" + w.copyName(),
	}}}}}
	for _, e := range edits {
		e(patch)
	}
	text, err := json.Marshal(patch)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// projectAgain makes the job-controller's Pod once more, as the job-controller would: a dry run by an impersonating administrator.
// It sees that the projection happens now, not only that it once did.
func (w *world) projectAgain(ctx context.Context, made *unstructured.Unstructured) error {
	again, err := w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, w.template(ctx, made, true), metav1.CreateOptions{DryRun: dryRun})
	if err != nil {
		return err
	}
	if text := fmt.Sprint(again.Object["spec"]); !strings.Contains(text, "secretName:"+w.secret) || !strings.Contains(text, "AWS_REGION") || !strings.Contains(text, "activeDeadlineSeconds:600") {
		return fmt.Errorf("it is not projected: %s", text)
	}
	return nil
}

// unprojected makes a Pod of the Job that nobody granted.
func (w *world) unprojected(ctx context.Context) error {
	made, err := w.clients[admin].Resource(kinds["Pod"]).Namespace(namespace).Get(ctx, w.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	_, err = w.asJobController().Resource(kinds["Pod"]).Namespace(namespace).Create(ctx, w.template(ctx, made, false), metav1.CreateOptions{DryRun: dryRun})
	return err
}

// template is the Pod as the job-controller sends it, with or without the grant's notes.
func (w *world) template(_ context.Context, made *unstructured.Unstructured, notes bool) *unstructured.Unstructured {
	o := w.pod0("valetkey-again", set("metadata.labels", stringsToAny(made.GetLabels())))
	o.SetOwnerReferences(made.GetOwnerReferences())
	if notes {
		o.SetAnnotations(made.GetAnnotations())
	}
	return o
}

func stringsToAny(in map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range in {
		out[k] = v
	}
	return out
}

func (w *world) asJobController() dynamic.Interface {
	config := rest.CopyConfig(w.configs[admin])
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:kube-system:job-controller",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"}}
	return dynamic.NewForConfigOrDie(config)
}
