// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/visible"
)

// The exit codes of run where the step has none of its own.
const (
	exitNotRun    = 1
	exitTimeOver  = 124
	exitWithdrawn = 130
)

// journey is a request that is followed: every step is told once, when it has happened.
type journey struct {
	*shell
	c       *cluster
	request *v1alpha1.CapabilityRequest
	told    map[string]bool
	// status is the step's own exit code, once it has ended.
	status *int
	logged chan struct{}
	// sees is what the watches show.
	sees chan client.Object
}

func newJourney(s *shell, c *cluster, r *v1alpha1.CapabilityRequest) *journey {
	return &journey{shell: s, c: c, request: r, told: map[string]bool{}, sees: make(chan client.Object)}
}

// line tells a step as the article's terminal view has it, once.
func (j *journey) line(step, key, format string, args ...any) {
	if j.told[key] {
		return
	}
	j.told[key] = true
	_, _ = fmt.Fprintf(j.ErrOut, "%-19s %s\n", step, visible.Sprintf(format, args...))
}

// follow watches the request, its grant and its Pod until nothing more will happen, and returns the exit code.
func (j *journey) follow(ctx context.Context) (int, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 3)
	j.watch(ctx, failed, &v1alpha1.CapabilityRequest{}, &v1alpha1.CapabilityRequestList{}, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", j.request.Name)})
	j.watch(ctx, failed, &v1alpha1.CapabilityGrant{}, &v1alpha1.CapabilityGrantList{}, client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", j.request.Name)})
	j.watch(ctx, failed, &corev1.Pod{}, &corev1.PodList{}, client.MatchingLabels{v1alpha1.LabelRequest: j.request.Name})
	for {
		select {
		case err := <-failed:
			return exitNotRun, err
		case seen := <-j.sees:
			if over := j.look(ctx, seen); over != nil {
				j.awaitLog(ctx)
				return over(), nil
			}
		case <-ctx.Done():
			return exitWithdrawn, nil
		}
	}
}

// watch shows every state of some objects.
func (j *journey) watch(ctx context.Context, failed chan<- error, kind client.Object, list client.ObjectList, which client.ListOption) {
	options := func(o metav1.ListOptions) []client.ListOption {
		return []client.ListOption{which, client.InNamespace(j.c.namespace), &client.ListOptions{Raw: &o}}
	}
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			found := list.DeepCopyObject().(client.ObjectList)
			return found, j.c.List(ctx, found, options(o)...)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return j.c.Watch(ctx, list.DeepCopyObject().(client.ObjectList), options(o)...)
		},
	}
	go func() {
		_, err := watchtools.UntilWithSync(ctx, source, kind, nil, func(e watch.Event) (bool, error) {
			object, ok := e.Object.(client.Object)
			if !ok {
				return false, apierrors.FromObject(e.Object)
			}
			if e.Type == watch.Deleted {
				now := metav1.NewTime(j.clock.Now())
				object.SetDeletionTimestamp(&now)
			}
			select {
			case j.sees <- object:
			case <-ctx.Done():
			}
			return false, nil
		})
		if ctx.Err() == nil {
			failed <- fmt.Errorf("watching %T: %w", kind, err)
		}
	}()
}

// look tells what is new. When it is over it returns the exit code, as it will be when the step's output was read.
func (j *journey) look(ctx context.Context, seen client.Object) (over func() int) {
	switch o := seen.(type) {
	case *v1alpha1.CapabilityRequest:
		return j.lookAtRequest(o)
	case *v1alpha1.CapabilityGrant:
		if o.Spec.RequestRef.UID == string(j.request.UID) {
			return j.lookAtGrant(o)
		}
	case *corev1.Pod:
		j.lookAtPod(ctx, o)
	}
	return nil
}

func notRun() int { return exitNotRun }

func (j *journey) lookAtRequest(r *v1alpha1.CapabilityRequest) (over func() int) {
	if r.UID != j.request.UID {
		return nil
	}
	if r.DeletionTimestamp != nil {
		j.line("request.withdrawn", "withdrawn", "name=%s, by somebody else", r.Name)
		return notRun
	}
	allowed := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionAllowed)
	if allowed == nil || allowed.Reason == v1alpha1.ReasonAwaitingJob {
		return nil
	}
	switch {
	case reasonOf(r.Status.Conditions, v1alpha1.ConditionEnded) == v1alpha1.ReasonRefused:
		j.check("")
		j.line("policy.result", "result", "approved=false reason=%s\n%19s %s", allowed.Reason, "", allowed.Message)
		return notRun
	case allowed.Reason == v1alpha1.ReasonAwaitingApproval && r.Status.Review != nil:
		j.check(" approval=required")
		words, _, _ := strings.Cut(allowed.Message, "; look at status.review")
		j.line("policy.wait", "wait/"+words, "%s\n%19s kubectl valetkey approve %s -n %s\n%19s kubectl annotate capreq %s -n %s %s=%s", words,
			"", r.Name, r.Namespace, "or:", r.Name, r.Namespace, v1alpha1.AnnotationApprove, r.Status.Review.Digest)
	case r.Status.GrantName == "":
		j.line("policy.wait", "wait/"+allowed.Message, "%s: %s", allowed.Reason, allowed.Message)
	}
	return nil
}

// check is the first line, whatever is seen first.
func (j *journey) check(approval string) {
	s := &j.request.Spec
	j.line("policy.check", "check", "capability=%s repo=%s env=%s%s", s.Capability, s.Repo, s.Environment, approval)
}

func (j *journey) lookAtGrant(g *v1alpha1.CapabilityGrant) (over func() int) {
	by, approval := "nobody-had-to", " approval=not_required"
	if len(g.Spec.Approval.ApprovedBy) > 0 {
		by, approval = strings.Join(visible.Names(g.Spec.Approval.ApprovedBy), ","), " approval=required"
	}
	j.check(approval)
	j.line("policy.result", "result", "approved=true ttl_seconds=%d policy=%s by=%s", g.Spec.TTLSeconds, g.Spec.Approval.Policy, by)
	issued := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionIssued)
	if issued != nil && issued.Status == metav1.ConditionTrue {
		j.line("broker.issue", "issue", "provider=%s scope=%s", g.Spec.Provider.Type, strings.Join(g.Spec.Scope, ","))
	} else if issued != nil && (issued.Reason == v1alpha1.ReasonBackingOff || issued.Reason == v1alpha1.ReasonAuditUnavailable) {
		j.line("broker.wait", "issue/"+issued.Message, "%s: %s", issued.Reason, issued.Message)
	}
	if meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionDelivered) && g.Status.ExpiresAt != nil {
		j.line("runner.exec", "exec", "step=%s env_scope=container-only until=%s", g.Spec.Job.Name, g.Status.ExpiresAt.UTC().Format(time.TimeOnly))
	}
	running := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionRunning)
	if running != nil && (running.Reason == v1alpha1.ReasonNotStarted || running.Reason == v1alpha1.ReasonUnscheduled) {
		j.line("runner.wait", "step/"+running.Message, "%s: %s", running.Reason, running.Message)
	}
	if g.Status.EndedAt == nil {
		return nil
	}
	until := ""
	if rev := g.Status.Revocation; rev != nil {
		until = " mode=" + string(rev.Mode)
		if rev.ExposedUntil != nil {
			until += " exposed_until=" + rev.ExposedUntil.UTC().Format(time.TimeOnly)
		}
	}
	j.line("broker.revoke", "revoke", "lease_id=%.8s status=%s%s", g.Spec.LeaseID, strings.ToLower(string(g.Status.Outcome)), until)
	if g.Status.Outcome != v1alpha1.OutcomeCompleted && g.Status.Stop != nil {
		j.line("", "why", "%s: %s", g.Status.Stop.Reason, g.Status.Stop.Message)
	}
	return func() int { return j.code(g) }
}

// code is the step's own, or one for how the grant ended.
func (j *journey) code(g *v1alpha1.CapabilityGrant) int {
	switch {
	case g.Status.Outcome == v1alpha1.OutcomeCompleted:
		return 0
	case j.status != nil && *j.status != 0:
		return *j.status
	case g.Status.Outcome == v1alpha1.OutcomeExpired:
		return exitTimeOver
	default:
		return exitNotRun
	}
}

// lookAtPod begins to show the step's output once it runs, and keeps its exit code.
func (j *journey) lookAtPod(ctx context.Context, p *corev1.Pod) {
	for _, s := range p.Status.ContainerStatuses {
		if s.Name != j.request.Spec.Container {
			continue
		}
		if ended := s.State.Terminated; ended != nil {
			status := int(ended.ExitCode)
			j.status = &status
		}
		if (s.State.Running != nil || s.State.Terminated != nil) && j.logged == nil {
			j.logged = make(chan struct{})
			go j.log(ctx, p.Name)
		}
		if waits := s.State.Waiting; waits != nil && waits.Message != "" {
			j.line("runner.wait", "wait/"+waits.Reason, "%s: %s", waits.Reason, waits.Message)
		}
	}
}

// log copies what the step prints until it has ended.
func (j *journey) log(ctx context.Context, pod string) {
	defer close(j.logged)
	clients, err := kubernetes.NewForConfig(j.c.config)
	if err != nil {
		return
	}
	stream, err := clients.CoreV1().Pods(j.c.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: j.request.Spec.Container, Follow: true}).Stream(ctx)
	if err != nil {
		_, _ = visible.Fprintf(j.ErrOut, "%-19s its output cannot be read: %v\n", "runner.log", err)
		return
	}
	defer func() { _ = stream.Close() }()
	_, _ = io.Copy(j.raw, stream) // the step goes on, whoever reads it
}

// awaitLog returns when all that the step printed is shown, and its exit code is known. The grant can end a moment before.
func (j *journey) awaitLog(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, withdrawal)
	defer cancel()
	if j.logged != nil {
		select {
		case <-j.logged:
		case <-ctx.Done():
		}
	}
	if j.status != nil {
		return
	}
	pods := &corev1.PodList{}
	if err := j.c.List(ctx, pods, client.InNamespace(j.c.namespace), client.MatchingLabels{v1alpha1.LabelRequest: j.request.Name}); err != nil {
		return // how the grant ended says enough
	}
	for i := range pods.Items {
		j.lookAtPod(ctx, &pods.Items[i])
	}
}

// giveUp withdraws the request.
func (j *journey) giveUp(ctx context.Context) error {
	if err := j.c.withdraw(ctx, j.request); err != nil {
		return fmt.Errorf("request %s was not withdrawn; delete it with kubectl delete capreq %s -n %s: %w", j.request.Name, j.request.Name, j.c.namespace, err)
	}
	j.line("request.withdrawn", "withdrawn", "name=%s; what it was granted ends now", j.request.Name)
	return &exit{code: exitWithdrawn}
}
