// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/trace"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/config"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/catalog"
	"github.com/valetkey/valetkey/internal/controller/grant"
	"github.com/valetkey/valetkey/internal/controller/inuse"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/controller/request"
	"github.com/valetkey/valetkey/internal/fairqueue"
	"github.com/valetkey/valetkey/internal/guard"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/limits"
	"github.com/valetkey/valetkey/internal/live"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/aws"
	"github.com/valetkey/valetkey/internal/provider/gcp"
	"github.com/valetkey/valetkey/internal/provider/github"
	kubernetesprovider "github.com/valetkey/valetkey/internal/provider/kubernetes"
	"github.com/valetkey/valetkey/internal/provider/token"
	"github.com/valetkey/valetkey/internal/provider/vault"
	"github.com/valetkey/valetkey/internal/telemetry"
)

// The longest a step that failed waits to be tried again, and the shortest.
const (
	retryShortest = 100 * time.Millisecond
	retryLongest  = 30 * time.Second
)

func setUp(mgr ctrl.Manager, o options, log *audit.Log, tracing trace.TracerProvider) error {
	reader := live.New(mgr.GetAPIReader())
	observer, err := newObserver(mgr, o, reader, tracing)
	if err != nil {
		return err
	}
	told, err := telemetry.New(metrics.Registry)
	if err != nil {
		return err
	}
	traces, audited, marks := telemetry.NewTraces(tracing), told.Audit(log), &inuse.Marks{}
	for _, add := range []func() error{
		func() error { return addCatalog(mgr, o, observer) },
		func() error { return addRequests(mgr, o, reader, observer, marks, told, traces, audited) },
		func() error { return addGrants(mgr, o, reader, observer, marks, told, traces, audited) },
		func() error {
			return metrics.Registry.Register(telemetry.NewLiving(mgr.GetClient(), mgr.Elected(), o.watches, o.clock))
		},
		func() error { return addMetricsServer(mgr, o) },
		func() error { return addProfileServer(mgr, o) },
		func() error {
			return addHealthServer(mgr, o, map[string]healthz.Checker{
				"audit": explained(mgr.GetLogger(), "audit", func(*http.Request) error { return log.Healthy() }),
				"guard": explained(mgr.GetLogger(), "guard", guardInForce(mgr, observer)),
			})
		},
	} {
		if err := add(); err != nil {
			return err
		}
	}
	return nil
}

// explained logs why a check fails, once for each reason: /readyz itself withholds it, and only /readyz/<check> tells.
func explained(log logr.Logger, name string, check healthz.Checker) healthz.Checker {
	var mu sync.Mutex
	said := ""
	return func(r *http.Request) error {
		err := check(r)
		mu.Lock()
		defer mu.Unlock()
		reason := ""
		if err != nil {
			reason = err.Error()
		}
		if reason != said && reason != "" {
			log.Info("not ready", "check", name, "reason", reason)
		}
		said = reason
		return err
	}
}

// guardInForce is what an installation waits for: from then on, what is created is under the guard. The cache is asked without
// waiting, for the probe's own time-out must not be spent here.
func guardInForce(mgr ctrl.Manager, observer *observe.Observer) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !mgr.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the cache is not filled yet")
		}
		return observer.Guarded(ctx)
	}
}

// newProviders is the list of back ends.
func newProviders(mgr ctrl.Manager, o options, reader *live.Reader, tracing trace.TracerProvider) (provider.Set, error) {
	clients, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return provider.Set{}, err
	}
	identities := identity.NewSource(clients, o.identitiesNamespace)
	instrument, err := provider.NewInstrument(metrics.Registry, tracing.Tracer(telemetry.Scope), o.clock)
	if err != nil {
		return provider.Set{}, err
	}
	tokens := token.New(token.Options{Issuer: o.tokenIssuer, Signer: o.signers[o.tokenSigner], Lives: living(reader, mgr.GetClient(), o.clock), Clock: o.clock})
	if err := addTokenServer(mgr, o, tokens); err != nil {
		return provider.Set{}, err
	}
	return provider.NewSet(
		instrument.Wrap(aws.New(aws.Options{Endpoints: o.awsEndpoints, Audiences: o.awsAudiences, Outbound: o.outbound, Identities: identities, Clock: o.clock})),
		instrument.Wrap(kubernetesprovider.New(kubernetesprovider.Options{Servers: o.kubernetesServers, CA: authority(mgr.GetConfig()), Namespace: o.identitiesNamespace,
			OperatorNamespace: o.namespace, Identities: identities, Roles: mgr.GetClient()})),
		instrument.Wrap(vault.New(vault.Options{Addresses: o.vaultAddresses, Audiences: o.vaultAudiences, Outbound: o.outbound, Identities: identities, Clock: o.clock})),
		instrument.Wrap(gcp.New(gcp.Options{Endpoints: o.gcpEndpoints, Audiences: o.gcpAudiences, Outbound: o.outbound, Identities: identities, Clock: o.clock})),
		instrument.Wrap(tokens),
		instrument.Wrap(github.New(github.Options{APIs: o.githubAPIs, Outbound: o.outbound, Signers: o.signers, Clock: o.clock})),
	), nil
}

// authority reads the certificate by which the operator itself knows the API server. It may be renewed.
func authority(config *rest.Config) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(config.CAData) > 0 {
			return config.CAData, nil
		}
		return os.ReadFile(config.CAFile)
	}
}

func newObserver(mgr ctrl.Manager, o options, reader *live.Reader, tracing trace.TracerProvider) (*observe.Observer, error) {
	providers, err := newProviders(mgr, o, reader, tracing)
	if err != nil {
		return nil, err
	}
	compiler, err := policy.NewCompiler()
	if err != nil {
		return nil, err
	}
	checker, err := guard.New(config.Admission, mgr.GetClient(), mgr.GetClient(), o.identitiesNamespace)
	if err != nil {
		return nil, err
	}
	return &observe.Observer{
		Cache: mgr.GetClient(), Live: reader, Access: mgr.GetClient(), Providers: providers,
		Policies: observe.NewPolicies(mgr.GetClient(), compiler), Guard: checker, Clock: o.clock,
		Answers:          observe.NewAnswers(o.clock),
		IdentityExtraKey: o.identityExtraKey,
	}, nil
}

func controllerOptions(workers int) controller.Options {
	warm := true
	return controller.Options{
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](retryShortest, retryLongest),
		// One that does not lead fills its cache too: it is ready to take over, and can say whether the guard is whole.
		EnableWarmup: &warm,
	}
}

// inTurn are the options of a controller whose workers namespaces share: one with thousands of requests keeps no
// other waiting.
func inTurn(workers int) controller.Options {
	options := controllerOptions(workers)
	type limiter = workqueue.TypedRateLimiter[reconcile.Request]
	options.NewQueue = func(name string, limiter limiter) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		// Delays pass by the machine's clock, as controller-runtime's own queue has it.
		return fairqueue.New(name, limiter, workers, clock.RealClock{})
	}
	return options
}

func addCatalog(mgr ctrl.Manager, o options, observer *observe.Observer) error {
	writer := catalog.Writer{Client: mgr.GetClient(), Clock: o.clock}
	err := ctrl.NewControllerManagedBy(mgr).Named("provider").WithOptions(controllerOptions(1)).
		For(&v1alpha1.CapabilityProvider{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(&catalog.ProviderController{Writer: writer, Providers: observer.Providers})
	if err != nil {
		return err
	}
	if err := addCapabilities(mgr, o, writer, observer); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("policy").WithOptions(controllerOptions(1)).
		For(&v1alpha1.CapabilityPolicy{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		// How names are written is the capabilities' to say.
		Watches(&v1alpha1.Capability{}, handler.EnqueueRequestsFromMapFunc(everyPolicy(mgr.GetClient())),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Complete(&catalog.PolicyController{Writer: writer, Policies: observer.Policies})
}

// addCapabilities looks again at capabilities whenever something changes that they depend on: their providers, their
// ServiceAccounts, and for those of the cluster itself, roles and bindings.
func addCapabilities(mgr ctrl.Manager, o options, writer catalog.Writer, observer *observe.Observer) error {
	every := gather(o.clock, &observer.World, everyCapability(mgr.GetClient(), func(*v1alpha1.Capability) bool { return true }))
	ofTheCluster := gather(o.clock, &observer.World, everyCapability(mgr.GetClient(), isOfTheCluster))
	b := ctrl.NewControllerManagedBy(mgr).Named("capability").WithOptions(controllerOptions(1)).
		For(&v1alpha1.Capability{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.CapabilityProvider{}, every, builder.WithPredicates(saysSomethingElse())).
		Watches(&corev1.ServiceAccount{}, every, builder.WithPredicates(saysSomethingElse()))
	for _, kind := range rightsKinds() {
		b = b.Watches(kind, ofTheCluster, builder.WithPredicates(saysSomethingElse()))
	}
	return b.Complete(&catalog.CapabilityController{Writer: writer, Providers: observer.Providers})
}

func everyPolicy(reader client.Reader) handler.MapFunc {
	return func(ctx context.Context, _ client.Object) []reconcile.Request {
		list := &v1alpha1.CapabilityPolicyList{}
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil
		}
		keys := make([]reconcile.Request, 0, len(list.Items))
		for i := range list.Items {
			keys = append(keys, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
		return keys
	}
}

func addRequests(mgr ctrl.Manager, o options, reader *live.Reader, observer *observe.Observer, marks *inuse.Marks, told *telemetry.Metrics, traces *telemetry.Traces, log telemetry.Auditor) error {
	ledger, said := limits.New(o.clock), builder.WithPredicates(saysSomethingElse())
	if err := mgr.Add(request.Offers(ledger, o.clock, clock.RealClock{})); err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).Named("request").WithOptions(inTurn(o.workers)).
		For(&v1alpha1.CapabilityRequest{}, said).
		Owns(&v1alpha1.CapabilityGrant{}, builder.WithPredicates(beginsOrEnds())).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(byRequestLabel), said).
		WatchesRawSource(request.Feed(mgr.GetCache(), ledger))
	return onCatalogue(b, o.clock, &observer.World, waitingRequests(mgr.GetClient())).Complete(&request.Controller{
		Client: reader.Client(mgr.GetClient()), Live: reader, Observer: observer, Marks: marks, Limits: ledger,
		Audit: log, Metrics: told, Traces: traces,
		Events: mgr.GetEventRecorder("valetkey"), Clock: o.clock, Retention: o.retention, JobTimeout: o.jobTimeout,
	})
}

func addGrants(mgr ctrl.Manager, o options, reader *live.Reader, observer *observe.Observer, marks *inuse.Marks, told *telemetry.Metrics, traces *telemetry.Traces, log telemetry.Auditor) error {
	peers, err := newPeers(mgr, o, reader)
	if err != nil {
		return err
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &corev1.Pod{}, grant.PodRequestField, grant.PodRequest); err != nil {
		return err
	}
	grants := &grant.Controller{
		Client: reader.Client(mgr.GetClient()), Live: reader, Observer: observer, Peers: peers,
		Audit: log, Metrics: told, Traces: traces,
		Events: mgr.GetEventRecorder("valetkey"), Clock: o.clock, Answered: make(chan event.GenericEvent),
	}
	said := builder.WithPredicates(saysSomethingElse())
	b := ctrl.NewControllerManagedBy(mgr).Named("grant").WithOptions(inTurn(o.workers)).
		Watches(&v1alpha1.CapabilityGrant{}, grant.InTurn(o.clock), said).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(byRequestLabel), said).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(seenBy(grants)), said).
		Watches(&v1alpha1.CapabilityRequest{}, &handler.EnqueueRequestForObject{}, said).
		Watches(&v1alpha1.CapabilityPolicy{}, handler.EnqueueRequestsFromMapFunc(grant.Held(peers)),
			builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Channel(grants.Answered, grant.InTurn(o.clock)))
	if err := onCatalogue(b, o.clock, &observer.World, livingGrants(mgr.GetClient())).Complete(grants); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).Named("namespace").WithOptions(controllerOptions(1)).
		Watches(&v1alpha1.CapabilityGrant{}, itsNamespace(mgr.GetClient()), builder.WithPredicates(beginsOrEnds())).
		Watches(&v1alpha1.CapabilityRequest{}, itsNamespace(mgr.GetClient()), builder.WithPredicates(ends())).
		For(&corev1.Namespace{}, said, builder.WithPredicates(predicate.NewPredicateFuncs(func(ns client.Object) bool { return o.watches(ns.GetName()) }))).
		Complete(&inuse.Controller{Client: reader.Client(mgr.GetClient()), Live: reader, Marks: marks, Held: len(o.watchNamespaces) > 0})
}

// newPeers finds the grants of a policy in the cache, unless namespaces are watched each by itself.
func newPeers(mgr ctrl.Manager, o options, reader *live.Reader) (grant.Peers, error) {
	if len(o.watchNamespaces) > 0 {
		return grant.LivePeers{Reader: reader, Cache: mgr.GetClient(), Namespaces: o.watchNamespaces}, nil
	}
	return grant.NewCachedPeers(context.Background(), mgr.GetCache())
}

func byRequestLabel(_ context.Context, object client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: object.GetLabels()[v1alpha1.LabelRequest]}}}
}

// seenBy shows the controller every state of a Pod, that in which it went included.
func seenBy(c *grant.Controller) handler.MapFunc {
	return func(ctx context.Context, object client.Object) []reconcile.Request {
		if pod, ok := object.(*corev1.Pod); ok {
			c.Saw(pod)
		}
		return byRequestLabel(ctx, object)
	}
}

// ends lets through the end of a request, or its going.
func ends() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, after := e.ObjectOld.(*v1alpha1.CapabilityRequest), e.ObjectNew.(*v1alpha1.CapabilityRequest)
			return before.Status.EndedAt == nil && after.Status.EndedAt != nil
		},
	}
}

// beginsOrEnds lets through no update of a grant but its end, and what is let go of it.
func beginsOrEnds() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, after := e.ObjectOld.(*v1alpha1.CapabilityGrant), e.ObjectNew.(*v1alpha1.CapabilityGrant)
		return before.UID != after.UID || (before.Status.EndedAt == nil) != (after.Status.EndedAt == nil) || len(before.Finalizers) != len(after.Finalizers)
	}}
}

// itsNamespace brings a namespace back when something begins in it, unless it is marked, and a second after something ended: all that lives
// in it is looked through then, once for many that end together.
func itsNamespace(cached client.Reader) handler.Funcs {
	of := func(object client.Object) reconcile.Request {
		return reconcile.Request{NamespacedName: types.NamespacedName{Name: object.GetNamespace()}}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			ns := &corev1.Namespace{}
			if err := cached.Get(ctx, of(e.Object).NamespacedName, ns); err == nil && ns.Labels[v1alpha1.LabelInUse] != "" {
				return
			}
			q.Add(of(e.Object))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			q.AddAfter(of(e.ObjectNew), time.Second)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			q.AddAfter(of(e.Object), time.Second)
		},
	}
}
