// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/hack/demo/stage"
	"github.com/valetkey/valetkey/internal/audit"
)

// fencePolicy allows what is tried here, any number of times.
const fencePolicy = `apiVersion: valetkey.dev/v1alpha1
kind: CapabilityPolicy
metadata: {name: fence}
spec:
  effect: Allow
  capabilities: [publish-preview-build]
  repos: [web-app]
  environments: [fence]
  requesters:
  - {kind: ServiceAccount, namespace: agents, name: web-app-bot}
`

// unprivileged is what Pod Security restricted asks of each container.
const unprivileged = "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}"

// late is the label that a node gets while a Pod waits for one.
const late = "valetkey.dev/late"

// stubbornPods are what a requester may set that could keep a node from looking at a Pod's deadline. NAME is the request's: by it the
// processes are found.
func stubbornPods() map[string][]string {
	const (
		pod  = "{op: add, path: /spec/template/spec/"
		step = pod + "containers/0/"
		stay = "[/stubborn, stay, NAME]"
		// Of the step itself the kubelet asks nothing that is answered in words.
		beside = pod + "containers/-, value: {name: beside, image: IMAGE, " + unprivileged + ", command: " + stay + ", "
		init   = pod + "initContainers, value: [{name: first, image: IMAGE, " + unprivileged + ", "
	)
	return map[string][]string{
		"plain":         nil,
		"prestop-exec":  {beside + "lifecycle: {preStop: {exec: {command: " + stay + "}}}}}"},
		"prestop-http":  {beside + "lifecycle: {preStop: {httpGet: {port: 8099}}}}}"},
		"prestop-sleep": {step + "lifecycle, value: {preStop: {sleep: {seconds: 5}}}}"},
		"liveness":      {beside + "livenessProbe: {timeoutSeconds: 3600, httpGet: {port: 8099}}}}"},
		"startup":       {beside + "startupProbe: {timeoutSeconds: 3600, httpGet: {port: 8099}}}}"},
		"sidecar-alive": {init + "restartPolicy: Always, command: " + stay + ", livenessProbe: {timeoutSeconds: 3600, exec: {command: " + stay + "}}}]}"},
		"readiness":     {beside + "readinessProbe: {timeoutSeconds: 3600, httpGet: {port: 8099}}}}"},
		"init":          {init + "command: " + stay + "}]}"},
		"sidecar":       {init + "restartPolicy: Always, command: " + stay + ", lifecycle: {preStop: {exec: {command: " + stay + "}}}}]}"},
		"sidecar-ends":  {init + "restartPolicy: Always, command: [/stubborn, end]}]}"},
		"sidecar-waits": {init + "restartPolicy: Always, command: " + stay + ", startupProbe: {failureThreshold: 1000, exec: {command: [/stubborn, end]}}}]}"},
		"gate":          {pod + "readinessGates, value: [{conditionType: example.com/never}]}"},
		"no-node":       {pod + "nodeSelector, value: {example.com/none: none}}"},
		"late":          {pod + "nodeSelector, value: {" + late + ": now}}"},
	}
}

// endsInTime has steps that would stay for ever, in Pods that do what they can for it. Each grant ends, nobody has to be told that an
// end was not seen, and when a grant says that it ended no process of its Pod is there any more.
func endsInTime(t *testing.T, s *stage.Stage) {
	stubborn := builtImage(t, s, "stubborn", map[string]string{"stubborn": "./test/e2e/stubborn"}, nil)
	defer unlisted(t, s)()
	apply(t, s, fencePolicy)
	pods := stubbornPods()
	names := slices.Sorted(maps.Keys(pods))
	for _, name := range names {
		t.Run(name+" is asked for", func(t *testing.T) { stays(t, s, stubborn, name, pods[name]) })
	}
	waited, err := s.AwaitGrant(t.Context(), request("late"), v1alpha1.ConditionDelivered)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitRunning(t.Context(), request("plain")); err != nil {
		t.Fatal(err)
	}
	if len(processes(t, request("plain"))) == 0 {
		t.Fatal("a process that runs is not found")
	}
	// It is the waiting for a node that is tried here.
	select {
	case <-time.After(time.Until(waited.Status.ExpiresAt.Add(-10 * time.Second))):
	case <-t.Context().Done():
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "label", "node", "--all", late+"=now"); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			ended(t, s, request(name), v1alpha1.OutcomeExpired, v1alpha1.ReasonExpired)
			if left := processes(t, request(name)); len(left) > 0 {
				t.Errorf("its grant has ended, and these run: %v", left)
			}
			if records(t, s, request(name), audit.EventEndNotSeen) > 0 {
				t.Error("its end was not seen in time")
			}
		})
	}
}

// request is the name of the request of a stubborn Pod.
func request(pod string) string { return "stay-" + pod }

// stays asks for a step that stays.
func stays(t *testing.T, s *stage.Stage, image, pod string, job []string) {
	t.Helper()
	name := request(pod)
	a := stage.Ask{Name: name, Environment: "fence", TTLSeconds: 45, Command: []string{"/stubborn"}, Args: []string{"stay", name}}
	a.Job = ofImage(image)
	if pod != "plain" {
		a.Job = append(a.Job, "{op: remove, path: /spec/template/spec/containers/1}")
	}
	for _, operation := range job {
		a.Job = append(a.Job, strings.NewReplacer("NAME", name, "IMAGE", image).Replace(operation))
	}
	if err := s.Request(t.Context(), stage.Agent, a); err != nil {
		t.Fatal(err)
	}
}

// ofImage has both containers of the sample run an image.
func ofImage(image string) []string {
	const replace = `{op: replace, path: /spec/template/spec/containers/%d/%s, value: %s}`
	return []string{fmt.Sprintf(replace, 0, "image", `"`+image+`"`), fmt.Sprintf(replace, 1, "image", `"`+image+`"`),
		fmt.Sprintf(replace, 1, "command", "[/stubborn]"), fmt.Sprintf(replace, 1, "args", "[stay, beside]")}
}

// unlisted has the sample's capability take every image, until the end is called.
func unlisted(t *testing.T, s *stage.Stage) (end func()) {
	t.Helper()
	before, err := s.Kubectl(t.Context(), stage.Admin, "get", "cap", "publish-preview-build", "-o", "jsonpath={.spec.runner}")
	if err != nil {
		t.Fatal(err)
	}
	set(t, s, `{"spec":{"runner":null}}`)
	return func() { set(t, s, `{"spec":{"runner":`+before+`}}`) }
}

// processes of this machine, its containers' included, that have a word among their arguments.
func processes(t *testing.T, word string) []string {
	t.Helper()
	var found []string
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		line, _ := os.ReadFile(file) // One that has ended meanwhile is not there.
		if words := bytes.Split(line, []byte{0}); string(words[0]) == "/stubborn" && slices.ContainsFunc(words, func(w []byte) bool { return string(w) == word }) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// records counts those of a request in the operator's audit log.
func records(t *testing.T, s *stage.Stage, request string, event audit.Event) int {
	t.Helper()
	count := 0
	for replica := range 2 {
		text, err := os.ReadFile(filepath.Join(s.AuditDir(replica), "audit.log"))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var r audit.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if r.Request == request && r.Event == event {
				count++
			}
		}
	}
	return count
}

// readsWhatWasRead: a Pod has made the node remember another content of the ConfigMap's name.
func readsWhatWasRead(t *testing.T, s *stage.Stage) {
	stubborn := builtImage(t, s, "stubborn", map[string]string{"stubborn": "./test/e2e/stubborn"}, nil)
	defer unlisted(t, s)()
	apply(t, s, fencePolicy)
	apply(t, s, `apiVersion: v1
kind: ConfigMap
metadata: {name: script, namespace: agents}
immutable: true
data: {run: "evil\n"}
---
apiVersion: v1
kind: Pod
metadata: {name: decoy, namespace: agents}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - {name: c, image: "`+stubborn+`", command: [/stubborn, stay, decoy], volumeMounts: [{name: script, mountPath: /script}],
     `+unprivileged+`}
  volumes: [{name: script, configMap: {name: script}}]
`)
	for _, args := range [][]string{{"wait", "pod/decoy", "--for=condition=Ready", "--timeout=60s"}, {"delete", "configmap", "script"}} {
		if _, err := s.Kubectl(t.Context(), stage.Admin, append([]string{"-n", stage.Namespace}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, s, `apiVersion: v1
kind: ConfigMap
metadata: {name: script, namespace: agents}
immutable: true
data: {run: "harmless\n"}
`)
	a := stage.Ask{Name: "decoyed", Environment: "fence", TTLSeconds: 300, Command: []string{"/stubborn"}, Args: []string{"print", "/script/run"}, Job: append(ofImage(stubborn),
		`{op: remove, path: /spec/template/spec/containers/1}`,
		`{op: add, path: /spec/template/spec/volumes, value: [{name: script, configMap: {name: script}}]}`,
		`{op: add, path: /spec/template/spec/containers/0/volumeMounts, value: [{name: script, mountPath: /script}]}`)}
	if err := s.Request(t.Context(), stage.Agent, a); err != nil {
		t.Fatal(err)
	}
	ended(t, s, "decoyed", v1alpha1.OutcomeCompleted, v1alpha1.ReasonJobCompleted)
	if text := logs(t, s, "decoyed", "publish"); text != "harmless" {
		t.Errorf("the step read %q", text)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", stage.Namespace, "delete", "pod/decoy", "configmap/script"); err != nil {
		t.Fatal(err)
	}
}

// leftByTheJobController has the job-controller hang, with all others of Kubernetes: whatever holds it up holds up no end.
func leftByTheJobController(t *testing.T, s *stage.Stage) {
	const controllers = "kube-controller-manager"
	stubborn := builtImage(t, s, "stubborn", map[string]string{"stubborn": "./test/e2e/stubborn"}, nil)
	defer unlisted(t, s)()
	apply(t, s, fencePolicy)
	a := stage.Ask{Name: "left", Environment: "fence", TTLSeconds: 300, Command: []string{"/stubborn"}, Args: []string{"stay", "left"},
		Job: append(ofImage(stubborn), `{op: remove, path: /spec/template/spec/containers/1}`)}
	if err := s.Request(t.Context(), stage.Agent, a); err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitRunning(t.Context(), a.Name); err != nil {
		t.Fatal(err)
	}
	if err := s.Cluster.Signal(controllers, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := sync.OnceFunc(func() {
		if err := s.Cluster.Signal(controllers, syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	defer goOn()
	if _, err := s.Kubectl(t.Context(), stage.Alice, "-n", stage.Namespace, "annotate", "capgrant", a.Name, v1alpha1.AnnotationRevoke+"=leaked"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", stage.Namespace, "wait", "pod", "-l", v1alpha1.LabelRequest+"="+a.Name,
		"--for=jsonpath={.status.phase}=Failed", "--timeout=90s"); err != nil {
		t.Fatal(err)
	}
	if left := processes(t, a.Name); len(left) > 0 {
		t.Errorf("it was revoked, and these run: %v", left)
	}
	goOn()
	ended(t, s, a.Name, v1alpha1.OutcomeRevoked, v1alpha1.ReasonRevokedByAnnotation)
}

// outlived has a step that ends at once, and a container beside it that stays.
func outlived(t *testing.T, s *stage.Stage) {
	stubborn := builtImage(t, s, "stubborn", map[string]string{"stubborn": "./test/e2e/stubborn"}, nil)
	defer unlisted(t, s)()
	apply(t, s, fencePolicy)
	a := stage.Ask{Name: "outlived", Environment: "fence", TTLSeconds: 300, Command: []string{"/stubborn"}, Args: []string{"print", "/etc/hosts"},
		Job: append(ofImage(stubborn), `{op: replace, path: /spec/template/spec/containers/1/args, value: [stay, outlived]}`)}
	if err := s.Request(t.Context(), stage.Agent, a); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AwaitGrant(t.Context(), a.Name, v1alpha1.ConditionDelivered); err != nil {
		t.Fatal(err)
	}
	wait := func(path, value string) {
		t.Helper()
		if _, err := s.Kubectl(t.Context(), stage.Admin, "-n", stage.Namespace, "wait", "capgrant", a.Name,
			"--for=jsonpath={"+path+"}="+value, "--timeout=60s"); err != nil {
			t.Fatal(err)
		}
	}
	wait(".status.stop.reason", v1alpha1.ReasonStepCompleted)
	wait(".status.revocation.mode", string(v1alpha1.RevocationAtExpiry))
	wait(`.status.conditions[?(@.type=="Running")].reason`, v1alpha1.ReasonStepOver)
	if text := logs(t, s, a.Name, "publish"); !strings.Contains(text, "localhost") {
		t.Errorf("the step says %q", text)
	}
	if len(processes(t, a.Name)) == 0 {
		t.Error("the container beside it does not run any more")
	}
	if _, err := s.Kubectl(t.Context(), stage.Alice, "-n", stage.Namespace, "annotate", "capgrant", a.Name, v1alpha1.AnnotationRevoke+"=enough"); err != nil {
		t.Fatal(err)
	}
	ended(t, s, a.Name, v1alpha1.OutcomeCompleted, v1alpha1.ReasonStepCompleted)
	if left := processes(t, a.Name); len(left) > 0 {
		t.Errorf("it was revoked, and these run: %v", left)
	}
}

func apply(t *testing.T, s *stage.Stage, manifests string) {
	t.Helper()
	if _, err := s.KubectlIn(t.Context(), stage.Admin, strings.NewReader(manifests), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}
