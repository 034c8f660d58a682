// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package app puts the operator together: flags, scheme, cache, back ends and controllers. It is the only importer of back ends.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc/grpclog"
	authenticationv1 "k8s.io/api/authentication/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	// A scratch image has no certificate authorities of its own.
	_ "golang.org/x/crypto/x509roots/fallback"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/controller/observe"
	"github.com/valetkey/valetkey/internal/librarylog"
	"github.com/valetkey/valetkey/internal/telemetry"
)

// operator is the user that the admission rules know the operator by.
const operator = "system:serviceaccount:valetkey-system:valetkey"

// Run runs the operator by the given clock until the context ends. It returns the process's exit code.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer, clock clock.PassiveClock) int {
	o, err := parse(args)
	o.clock = clock
	if errors.Is(err, pflag.ErrHelp) {
		printHelp(stdout)
		return 0
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "%v\nmanager --help lists the flags; nothing was started\n", err)
		return 2
	}
	logger := zap.New(zap.WriteTo(stderr), zap.UseDevMode(false), zap.Level(level(o.verbose)))
	ctrl.SetLogger(logger)
	logLibraries(logger)
	if err := run(ctx, o, stdout, logger); err != nil {
		logger.Error(err, "the operator ends")
		return 1
	}
	return 0
}

// logLibraries leaves out what libraries say of connections, and logs what client-go says of the API server.
func logLibraries(logger logr.Logger) {
	words := librarylog.TakeOver(func(what string, times uint64) {
		logger.WithName("libraries").Info(what, "times", times)
	})
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, words))
	klog.SetLogger(logger.WithName("client-go"))
}

func run(ctx context.Context, o options, stdout io.Writer, logger logr.Logger) error {
	config, err := clusterConfig()
	if err != nil {
		return err
	}
	// The API server's own priority and fairness is the limit; a client's would let a burst of requests wait for minutes.
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	served, err := checkWatched(ctx, clients, o, logger)
	if err := errors.Join(checkIdentity(ctx, clients), checkJobController(ctx, clients), err); err != nil {
		return err
	}
	o.watchNamespaces = served
	log, err := audit.Open(audit.Options{Path: o.auditFile, Stdout: stdout, MaxSizeMB: o.auditMaxSizeMB, MaxBackups: o.auditBackups, Clock: o.clock})
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	mgr, err := newManager(config, o, logger)
	if err != nil {
		return err
	}
	tracing, flush, err := telemetry.Export(ctx, o.traceEndpoint, o.outbound, logger.WithName("traces"))
	if err != nil {
		return err
	}
	if err := setUp(mgr, o, log, tracing); err != nil {
		return err
	}
	err = mgr.Start(ctx)
	flush()
	return errors.Join(err, log.Close())
}

// checkJobController: where the controller manager uses one identity for all its controllers, Jobs' Pods come from a user that the
// admission rules do not know, and no granted Job would ever get its Pod.
func checkJobController(ctx context.Context, clients kubernetes.Interface) error {
	_, err := clients.CoreV1().ServiceAccounts(metav1.NamespaceSystem).Get(ctx, "job-controller", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return errors.New("there is no ServiceAccount kube-system/job-controller: run kube-controller-manager with --use-service-account-credentials=true, or no granted Job gets its Pod")
	}
	if err != nil {
		return fmt.Errorf("looking for the job-controller's ServiceAccount: %w", err)
	}
	return nil
}

// checkIdentity: the admission rules know the operator by its user name. As anybody else it could do nothing.
func checkIdentity(ctx context.Context, clients kubernetes.Interface) error {
	me, err := clients.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("asking the API server who the operator is: %w", err)
	}
	if name := me.Status.UserInfo.Username; name != operator {
		return fmt.Errorf("the operator runs as %s, but the admission rules know it as %s: run it with that ServiceAccount", name, operator)
	}
	return nil
}

func newManager(config *rest.Config, o options, logger logr.Logger) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	ours, err := labels.NewRequirement(v1alpha1.LabelRequest, selection.Exists, nil)
	if err != nil {
		return nil, err
	}
	watched := map[string]cache.Config{}
	for _, name := range o.watchNamespaces {
		watched[name] = cache.Config{}
	}
	work := cache.ByObject{Namespaces: watched}
	selected := cache.ByObject{Namespaces: watched, Label: labels.NewSelector().Add(*ours)}
	identities := cache.ByObject{Namespaces: map[string]cache.Config{o.identitiesNamespace: {}}}
	renew := o.leaseDuration * 2 / 3
	// A standby takes up to 2.2 times as long to see that the lease is free, and grants that end meanwhile end late.
	retry := min(o.leaseDuration/7, 250*time.Millisecond)
	led, err := newLease(config, o, renew)
	if err != nil {
		return nil, err
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme,
		Logger: logger,
		Cache: cache.Options{
			// Nothing is watched that is not named here or by a controller: an informer for Secrets would be a list of them.
			ReaderFailOnMissingInformer: true,
			NewInformer:                 observe.NewInformer,
			DefaultTransform:            observe.Slim, // it refuses a kind that it does not know, so that none is kept whole unseen
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.CapabilityRequest{}: work, &v1alpha1.CapabilityGrant{}: work, &batchv1.Job{}: selected, &corev1.Pod{}: selected,
				&corev1.ServiceAccount{}: identities,
			},
		},
		// Its own metrics server knows no exemplars, and its own health server no bounds: see addMetricsServer and
		// addHealthServer.
		Metrics:                             metricsserver.Options{BindAddress: "0"},
		LeaderElection:                      o.leaderElect,
		LeaderElectionResourceLockInterface: led,
		LeaderElectionReleaseOnCancel:       true,
		LeaseDuration:                       &o.leaseDuration,
		RenewDeadline:                       &renew,
		RetryPeriod:                         &retry,
	})
}

func level(verbose bool) zapcore.LevelEnabler {
	if verbose {
		return zapcore.DebugLevel
	}
	return zapcore.InfoLevel
}
