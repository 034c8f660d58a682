// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/lifecycle"
)

var (
	runs     = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	creating = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
)

func exited(code int32, reason, message string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: message}}
}

// TestStepFacts_TheNodesWordsAreOneLine: a Pod's status repeats what others wrote.
func TestStepFacts_TheNodesWordsAreOneLine(t *testing.T) {
	const odd, shown = "x\n\x1b[31m\u202ey", `x\u000a\u001b[31m\u202ey`
	waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: odd}}
	for name, row := range map[string]struct {
		status corev1.PodStatus
		want   string
	}{
		"of a Pod that was evicted":     {corev1.PodStatus{Reason: "Evicted", Message: odd}, "Evicted: " + shown},
		"of one without a node":         {corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: odd}}}, shown},
		"of a container that waits":     {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "publish", State: waiting}}}, "ErrImagePull: " + shown},
		"of one that ended before it":   {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "init", State: exited(1, odd, "")}}}, "container init: it ended with exit code 1: " + shown},
		"of the step itself":            {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "publish", State: exited(1, odd, "")}}}, shown},
		"of a step that was not begun":  {corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "publish", State: exited(1, observe.NotStarted, odd)}}}, observe.NotStarted + ": " + shown},
		"of a Pod, in an ordinary form": {corev1.PodStatus{Reason: "Evicted", Message: "low on resource: memory (1Gi)"}, "Evicted: low on resource: memory (1Gi)"},
	} {
		if got := stepFacts(&corev1.Pod{Status: row.status}, "publish").Said; got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
}

// withHelper has a container beside the step.
func withHelper(job *batchv1.Job) {
	pod := &job.Spec.Template.Spec
	pod.Containers = append(pod.Containers, corev1.Container{Name: "helper", Image: image, Command: []string{"/help"}})
}

// statuses writes what the node says of step and helper.
func (e *env) statuses(pod *corev1.Pod, step, helper corev1.ContainerState) {
	e.Helper()
	e.must(e.client.Get(e.Context(), client.ObjectKeyFromObject(pod), pod))
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "helper", State: helper}, {Name: "publish", State: step}}
	e.must(e.client.Status().Update(e.Context(), pod))
	e.grants.Saw(pod)
	e.reconcile()
}

func TestACredentialLivesAsLongAsItsContainer(t *testing.T) {
	for name, tt := range map[string]struct {
		code    int32
		outcome v1alpha1.GrantOutcome
		reason  string
	}{
		"a step that succeeds": {0, v1alpha1.OutcomeCompleted, v1alpha1.ReasonStepCompleted},
		"a step that fails":    {3, v1alpha1.OutcomeFailed, v1alpha1.ReasonStepFailed},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t, withHelper)
			pod := e.delivered()
			over := exited(tt.code, "Error", "what the step said")
			over.Terminated.FinishedAt = metav1.NewTime(e.clock.Now())
			e.statuses(pod, over, runs)
			if e.grant().Status.Stop != nil {
				t.Fatal("the helper had no moment to end with it")
			}
			e.clock.Step(lifecycle.StepGrace)
			e.reconcile()
			g := e.grant()
			if g.Status.Stop == nil || g.Status.Stop.Reason != tt.reason || g.Status.Revocation == nil || g.Status.Revocation.Mode != v1alpha1.RevocationImmediate {
				t.Fatalf("stop %+v, revocation %+v", g.Status.Stop, g.Status.Revocation)
			}
			if err := e.client.Get(t.Context(), client.ObjectKeyFromObject(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: g.Status.SecretName}}), &corev1.Secret{}); err == nil {
				t.Error("the Secret is still there")
			}
			if suspended(e.job()) || g.Status.EndedAt != nil {
				t.Fatal("the helper was not left alone")
			}
			if c := e.condition(v1alpha1.ConditionRunning); c.Status != metav1.ConditionFalse || c.Reason != v1alpha1.ReasonStepOver || strings.Contains(c.Message, "what the step said") {
				t.Errorf("Running is %s, %s: %s", c.Status, c.Reason, c.Message)
			}
			if c := e.endedCondition(); !strings.Contains(c.Message, "waiting for the Job's other containers to end") {
				t.Errorf("it says %q", c.Message)
			}
			e.must(e.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
			pod.Status.Phase = corev1.PodSucceeded
			e.must(e.client.Status().Update(t.Context(), pod))
			e.jobControllerSays(batchv1.JobFailed)
			e.statuses(pod, exited(tt.code, "Error", ""), exited(1, "Error", ""))
			if g := e.grant(); g.Status.EndedAt == nil || g.Status.Outcome != tt.outcome {
				t.Errorf("ended at %v as %s, want %s", g.Status.EndedAt, g.Status.Outcome, tt.outcome)
			}
		})
	}
}

func TestAHelperThatGoesOnEndsWithTheTime(t *testing.T) {
	e := newEnv(t, withHelper)
	pod := e.delivered()
	e.statuses(pod, exited(0, "Completed", ""), runs)
	if result := e.reconcile(); result.RequeueAfter != e.grant().Status.ExpiresAt.Sub(e.clock.Now()) || suspended(e.job()) {
		t.Fatalf("it is looked at again after %s", result.RequeueAfter)
	}
	e.clock.Step(10 * time.Minute)
	e.reconcile()
	if !suspended(e.job()) {
		t.Error("the Job goes on when the time is up")
	}
}

func TestRunningIsSaidInTheNodesWords(t *testing.T) {
	e := newEnv(t, withHelper)
	pod := e.delivered()
	says := func(status metav1.ConditionStatus, reason, words string) {
		t.Helper()
		if c := e.condition(v1alpha1.ConditionRunning); c.Status != status || c.Reason != reason || !strings.Contains(c.Message, words) {
			t.Errorf("Running is %s, %s: %s; want %s, %s: %s", c.Status, c.Reason, c.Message, status, reason, words)
		}
	}
	says(metav1.ConditionTrue, v1alpha1.ReasonRunning, "container publish runs in Pod valetkey-pr-184-x on node node1")
	e.statuses(pod, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such digest"}}, creating)
	says(metav1.ConditionFalse, v1alpha1.ReasonNotStarted, "ErrImagePull: no such digest")
	version := e.grant().ResourceVersion
	e.statuses(pod, creating, creating)
	if e.grant().ResourceVersion != version {
		t.Error("that nothing is said was stored")
	}
	e.statuses(pod, exited(128, observe.NotStarted, "exec /publish: no such file"), runs)
	says(metav1.ConditionFalse, v1alpha1.ReasonStepOver, "container publish ended with exit code 128: StartError: exec /publish: no such file")
}

func TestWhyNot_IsWhatSchedulerAndKubeletSay(t *testing.T) {
	waiting := func(name, reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "words"}}}
	}
	for want, status := range map[string]corev1.PodStatus{
		"": {ContainerStatuses: []corev1.ContainerStatus{waiting("publish", "ContainerCreating"), waiting("helper", "PodInitializing")}},
		"Unschedulable: 0/3 nodes": {Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes"}}},
		"Evicted: low on memory":                {Reason: "Evicted", Message: "low on memory"},
		"InvalidImageName: words":               {ContainerStatuses: []corev1.ContainerStatus{waiting("publish", "InvalidImageName")}},
		"container first: ErrImagePull: words":  {InitContainerStatuses: []corev1.ContainerStatus{waiting("first", "ErrImagePull")}},
		"container helper: ErrImagePull: words": {ContainerStatuses: []corev1.ContainerStatus{waiting("helper", "ErrImagePull"), waiting("publish", "ContainerCreating")}},
		"container first: it ended with exit code 2: Error": {InitContainerStatuses: []corev1.ContainerStatus{
			{Name: "first", State: exited(2, "Error", "what it said itself")}}},
	} {
		if got := whyNot(&corev1.Pod{Status: status}, "publish"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOthersGoOn(t *testing.T) {
	status := func(name string, state corev1.ContainerState) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: state}
	}
	spec := corev1.PodSpec{InitContainers: []corev1.Container{{Name: "mesh"}}, Containers: []corev1.Container{{Name: "publish"}, {Name: "helper"}}}
	alone := corev1.PodSpec{InitContainers: spec.InitContainers, Containers: spec.Containers[:1]}
	for name, tt := range map[string]struct {
		spec          corev1.PodSpec
		mesh, helpers []corev1.ContainerStatus
		want          bool
	}{
		"a helper that runs":           {spec, nil, []corev1.ContainerStatus{status("helper", runs)}, true},
		"a helper that is to start":    {spec, nil, []corev1.ContainerStatus{status("helper", creating)}, true},
		"a helper nothing is said of":  {spec, nil, nil, true},
		"a helper that ended":          {spec, nil, []corev1.ContainerStatus{status("helper", exited(0, "", ""))}, false},
		"a sidecar that runs":          {alone, []corev1.ContainerStatus{status("mesh", runs)}, nil, true},
		"an init container that ended": {alone, []corev1.ContainerStatus{status("mesh", exited(0, "", ""))}, nil, false},
		"none":                         {alone, nil, nil, false},
	} {
		pod := &corev1.Pod{Spec: tt.spec, Status: corev1.PodStatus{InitContainerStatuses: tt.mesh, ContainerStatuses: tt.helpers}}
		if got := othersGoOn(pod, "publish"); got != tt.want {
			t.Errorf("%s: got %t", name, got)
		}
	}
}

// TestStep_AJobThatSaysNothingOfItsEndKeepsNoCredential: whatever holds up the job-controller, and whatever time it is on the node.
func TestStep_AJobThatSaysNothingOfItsEndKeepsNoCredential(t *testing.T) {
	e := newEnv(t)
	pod := e.delivered()
	state := ended()
	state.Terminated.FinishedAt = metav1.NewTime(e.clock.Now().Add(-time.Hour))
	e.nodeSays(pod, corev1.PodSucceeded, state)
	again := e.reconcile().RequeueAfter
	if stop := e.grant().Status.Stop; stop != nil || again != lifecycle.JobGrace {
		t.Fatalf("it stops for %+v, and is looked at again after %s", stop, again)
	}
	e.clock.Step(again)
	e.reconcile()
	if stop := e.grant().Status.Stop; stop == nil || stop.Reason != v1alpha1.ReasonStepCompleted || e.grant().Status.Revocation == nil {
		t.Errorf("it stops for %+v", stop)
	}
}
