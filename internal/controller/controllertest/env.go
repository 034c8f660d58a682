// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllertest runs the controllers of requests and grants on an API server in memory, by a clock that its
// tests set. What is written brings back what watches would bring back, in a fixed order, so that a test sees who is
// looked at again, and when.
package controllertest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/grant"
	"github.com/valetkey/valetkey/internal/controller/inuse"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/controller/request"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/limits"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
	backend "github.com/valetkey/valetkey/internal/provider/fake"
	"github.com/valetkey/valetkey/internal/telemetry"
)

// Namespace is where requests are made, and Capability what they ask for.
const (
	Namespace  = "agents"
	Capability = "publish"
)

// Env is an API server in memory with a back end in memory, and what is needed to run operators on them.
type Env struct {
	testing.TB
	// Client does what an administrator does.
	Client client.WithWatch
	// Clock is everybody's.
	Clock *clocktesting.FakePassiveClock
	// Backend issues the credentials.
	Backend *backend.Provider
	// Most is the most credentials that the back end accepted at any instant.
	Most int
	// Faults, if set, is asked before each write of an operator, and after it.
	Faults Faults

	scheme    *runtime.Scheme
	operators []*Operator
	uids      int
}

// Faults has writes fail.
type Faults struct {
	// Before returns the error with which a write fails without being stored.
	Before func(verb string, object client.Object) error
	// After returns the error with which a write fails although it was stored.
	After func(verb string, object client.Object) error
}

// Operator is one process: its two controllers, what it remembers, and what waits to be looked at.
type Operator struct {
	*Env
	// Ledger counts for its request controller.
	Ledger *limits.Ledger
	// Requests and Grants are its controllers.
	Requests *request.Controller
	Grants   *grant.Controller
	// Events are what it told people.
	Events *events.FakeRecorder
	// Woken are the requests that its ledger woke, in order.
	Woken []string
	// Looks counts how often each request was looked at.
	Looks map[string]int
	// Records are what it wrote to its audit log.
	Records []audit.Record

	// busy are namespaces whose requests are not looked at.
	busy     map[string]bool
	asleep   bool
	queue    []work
	due      map[work]time.Time
	answered int
}

// work is an object to look at.
type work struct {
	grant bool
	name  types.NamespacedName
}

// New starts an API server with a capability whose credentials live for the minimum at least, and a namespace to ask
// in. There is no policy and no operator.
func New(t testing.TB, minimum time.Duration, mode v1alpha1.RevocationMode) *Env {
	t.Helper()
	e := &Env{
		TB:     t,
		Clock:  clocktesting.NewFakePassiveClock(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)),
		scheme: runtime.NewScheme(),
	}
	e.Backend = backend.New(e.Clock, minimum, mode)
	e.Must(clientgoscheme.AddToScheme(e.scheme))
	e.Must(v1alpha1.AddToScheme(e.scheme))
	e.Client = e.watched(
		fake.NewClientBuilder().WithScheme(e.scheme).WithIndex(&v1alpha1.CapabilityGrant{}, grant.PolicyField, policyOf).
			WithIndex(&corev1.Pod{}, grant.PodRequestField, grant.PodRequest).
			WithStatusSubresource(&v1alpha1.CapabilityRequest{}, &v1alpha1.CapabilityGrant{}, &batchv1.Job{}).Build(),
		nil,
	)
	e.furnish()
	return e
}

// furnish stores the namespace, and what can be asked for in it.
func (e *Env) furnish() {
	ready := []metav1.Condition{
		{
			Type:               v1alpha1.ConditionReady,
			Status:             metav1.ConditionTrue,
			Reason:             v1alpha1.ReasonReady,
			LastTransitionTime: metav1.NewTime(e.Clock.Now()),
		},
	}
	e.Namespace(Namespace)
	e.Store(
		&v1alpha1.CapabilityProvider{
			ObjectMeta: metav1.ObjectMeta{Name: "aws"},
			Spec:       v1alpha1.CapabilityProviderSpec{AWS: &v1alpha1.AWSProvider{Region: "eu-central-1"}},
			Status:     v1alpha1.CapabilityProviderStatus{Conditions: ready},
		},
	)
	e.Store(
		&v1alpha1.Capability{
			ObjectMeta: metav1.ObjectMeta{Name: Capability},
			Status:     v1alpha1.CapabilityStatus{Conditions: ready},
			Spec: v1alpha1.CapabilitySpec{
				Description:       "Publish what was built.",
				ProviderRef:       v1alpha1.ProviderReference{Name: "aws"},
				DefaultTTLSeconds: 60,
				MaxTTLSeconds:     3600,
				AWS: &v1alpha1.AWSCapability{
					RoleARN:            "arn:aws:iam::123456789012:role/publisher",
					ServiceAccountName: "publisher",
					Scope: []v1alpha1.AWSStatement{
						{Actions: []string{"s3:PutObject"}, Resources: []string{"arn:aws:s3:::previews/${request.repo}/*"}},
					},
				},
			},
		},
	)
}

// Namespace stores a namespace in which requests can be made.
func (e *Env) Namespace(name string) {
	e.Helper()
	e.Store(&corev1.Namespace{Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
		ObjectMeta: metav1.ObjectMeta{Name: name,
			Labels: map[string]string{v1alpha1.LabelEnrolled: "true", "pod-security.kubernetes.io/enforce": "baseline"}}})
}

func policyOf(object client.Object) []string {
	if g, ok := object.(*v1alpha1.CapabilityGrant); ok {
		return []string{g.Spec.Approval.Policy}
	}
	return nil
}

// Must ends the test if there is an error.
func (e *Env) Must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

// Store creates an object as it is, its status included.
func (e *Env) Store(object client.Object) {
	e.Helper()
	e.Must(e.Client.Create(e.Context(), object))
}

// Start starts an operator, which looks at all that is stored when Run is called. Its controllers run after its
// ledger was told all.
func (e *Env) Start() *Operator {
	e.Helper()
	o := &Operator{
		Env:    e,
		Ledger: limits.New(e.Clock),
		Events: events.NewFakeRecorder(10_000),
		Looks:  map[string]int{},
		busy:   map[string]bool{},
		due:    map[work]time.Time{},
	}
	metrics, err := telemetry.New(prometheus.NewRegistry())
	e.Must(err)
	cluster := e.watched(e.Client, &e.Faults)
	observer := e.observer(cluster)
	traces := telemetry.NewTraces(sdktrace.NewTracerProvider())
	reader := observer.Live
	o.Requests = &request.Controller{
		Client:     reader.Client(cached{cluster}),
		Live:       reader,
		Observer:   observer,
		Marks:      &inuse.Marks{},
		Limits:     o.Ledger,
		Audit:      o,
		Events:     o.Events,
		Metrics:    metrics,
		Traces:     traces,
		Clock:      e.Clock,
		Retention:  time.Hour,
		JobTimeout: time.Hour,
	}
	o.Grants = &grant.Controller{
		Client:   reader.Client(cached{cluster}),
		Live:     reader,
		Observer: observer,
		Peers:    grant.LivePeers{Reader: reader, Cache: e.Client, Namespaces: []string{metav1.NamespaceAll}},
		Audit:    o,
		Events:   o.Events,
		Metrics:  metrics,
		Traces:   traces,
		Clock:    e.Clock,
		Answered: make(chan event.GenericEvent, 100),
	}
	o.open()
	e.operators = append(e.operators, o)
	return o
}

// open tells the ledger all that is stored, and has it reserve from then on.
func (o *Operator) open() {
	o.Ledger.OnWake(func(name types.NamespacedName) {
		o.Woken = append(o.Woken, name.Name)
		o.enqueue(work{name: name})
	})
	o.tellAll()
	o.Ledger.Open()
	o.Ledger.Lead()
}

// observer reads from the cluster, where nobody but the operator may read Secrets and the admission rules are whole.
func (e *Env) observer(cluster client.Client) *observe.Observer {
	e.Helper()
	compiler, err := policy.NewCompiler()
	e.Must(err)
	return &observe.Observer{
		Cache:     cached{cluster},
		Live:      live.New(cluster),
		Access:    nobodyMay{},
		Providers: provider.NewSet(e.Backend),
		Policies:  observe.NewPolicies(cluster, compiler),
		Guard:     whole{},
		Clock:     e.Clock,
		Answers:   observe.NewAnswers(e.Clock),
	}
}

// cached shows of requests and Jobs what the operator's cache keeps of them.
type cached struct{ client.Client }

// Get implements client.Client.
func (c cached) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if err := c.Client.Get(ctx, key, into, opts...); err != nil {
		return err
	}
	switch o := into.(type) {
	case *v1alpha1.CapabilityRequest:
		_, err := observe.Slim(o)
		return err
	case *batchv1.Job:
		kept, err := observe.Slim(o.DeepCopy())
		if job, is := kept.(*batchv1.Job); is {
			job.DeepCopyInto(o)
		}
		return err
	}
	return nil
}

// Kill ends an operator: it looks at nothing more, and what it remembered is lost.
func (o *Operator) Kill() {
	o.operators = slices.DeleteFunc(o.operators, func(other *Operator) bool { return other == o })
	o.queue, o.due = nil, map[work]time.Time{}
}

// Pause has an operator see nothing of what happens until Wake.
func (o *Operator) Pause() { o.asleep = true }

// Wake has it go on, and see what is stored now.
func (o *Operator) Wake() {
	o.asleep = false
	o.tellAll()
}

// Append implements the controllers' Auditor.
func (o *Operator) Append(_ context.Context, r audit.Record) (v1alpha1.AuditAnchor, error) {
	o.Records = append(o.Records, r)
	return v1alpha1.AuditAnchor{
		Writer: "test",
		Seq:    int64(len(o.Records)),
		Hash:   fmt.Sprintf("%064d", len(o.Records)),
	}, nil
}

// Run looks at everything that is to be looked at now, until nothing is.
func (o *Operator) Run() {
	o.Helper()
	const enough = 10_000
	for range enough {
		if o.hear(); !o.Step() {
			return
		}
	}
	o.Fatalf("no rest after %d looks", enough)
}

// Step looks at the first of what is to be looked at now, and reports whether there was any.
func (o *Operator) Step() bool {
	o.Helper()
	at := slices.IndexFunc(o.queue, func(w work) bool { return w.grant || !o.busy[w.name.Namespace] })
	if at < 0 {
		return false
	}
	next := o.queue[at]
	o.queue = slices.Delete(o.queue, at, at+1)
	o.look(next)
	o.Most = max(o.Most, o.Backend.Working())
	return true
}

// Busy has the requests of a namespace wait for others of that namespace to be looked at, until it is called with false.
func (o *Operator) Busy(namespace string, busy bool) { o.busy[namespace] = busy }

// Advance lets time pass, and runs whenever something is due.
func (o *Operator) Advance(d time.Duration) {
	o.Helper()
	end := o.Clock.Now().Add(d)
	o.Ledger.Pass()
	o.Run()
	for {
		next := end
		for _, at := range append(slices.Collect(maps.Values(o.due)), o.Ledger.Due()) {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		o.Clock.SetTime(next)
		o.Ledger.Pass()
		for what, at := range o.due {
			if !at.After(next) {
				delete(o.due, what)
				o.enqueue(what)
			}
		}
		slices.SortFunc(o.queue, func(a, b work) int { return compare(a.name, b.name) })
		o.Run()
		if !next.Before(end) {
			return
		}
	}
}

// hear waits until the back end has answered all that was asked: each time that it was asked is on record.
func (o *Operator) hear() {
	asked := 0
	for _, r := range o.Records {
		if r.Event == audit.EventIssuing {
			asked++
		}
	}
	for ; o.answered < asked; o.answered++ {
		o.enqueue(work{grant: true, name: client.ObjectKeyFromObject((<-o.Grants.Answered).Object)})
	}
}

func (o *Operator) look(what work) {
	o.Helper()
	reconcile := o.Requests.Reconcile
	if what.grant {
		reconcile = o.Grants.Reconcile
	} else {
		o.Looks[what.name.Name]++
	}
	result, err := reconcile(o.Context(), ctrl.Request{NamespacedName: what.name})
	after := result.RequeueAfter
	if err != nil {
		o.Logf("%s: %v", what.name.Name, err)
		after = time.Second
	}
	if after > 0 {
		at := o.Clock.Now().Add(after)
		if known, waits := o.due[what]; !waits || at.Before(known) {
			o.due[what] = at
		}
	}
}

func (o *Operator) enqueue(what work) {
	if !slices.Contains(o.queue, what) {
		o.queue = append(o.queue, what)
	}
}

// nobodyMay answers questions about rights.
type nobodyMay struct{ client.Writer }

// Create answers no.
func (nobodyMay) Create(context.Context, client.Object, ...client.CreateOption) error { return nil }

// whole is a guard of which nothing is missing.
type whole struct{}

// Check finds nothing wrong.
func (whole) Check(context.Context) (guard.Status, error) { return guard.Status{}, nil }

// Probe finds nothing wrong.
func (whole) Probe(context.Context) (string, error) { return "", nil }

// Untold is a ledger that was told nothing.
func Untold(e *Env) *limits.Ledger { return limits.New(e.Clock) }

// Refused is what a back end says that issued nothing, and may later.
func Refused() error {
	return provider.NotAsked(provider.Throttled, "later")
}

// Unreachable is what a client says when the API server does not answer.
func Unreachable() error { return apierrors.NewTimeoutError("the server did not answer in time", 0) }
