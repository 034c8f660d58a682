// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/callers"
	"github.com/valetkey/valetkey/internal/lifecycle"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/token"
)

// tokenServer answers for the tokens that the operator signs. Every replica does, whoever leads.
type tokenServer struct {
	address, certDir string
	keys             *callers.Keys
	handler          http.Handler
}

// addTokenServer serves what the issuer of tokens is asked, if it is one.
func addTokenServer(mgr ctrl.Manager, o options, tokens *token.Provider) error {
	if o.tokenIssuer == "" {
		return nil
	}
	clients, err := kubernetes.NewForConfig(mgr.GetConfig())
	if err != nil {
		return err
	}
	get := func(ctx context.Context, path string) ([]byte, error) {
		return clients.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx)
	}
	keys := callers.NewKeys(get, clock.RealClock{}, mgr.GetLogger().WithName("tokens"))
	introspectors := callers.New(callers.Options{
		Audience: o.tokenIssuer, API: mgr.GetClient(), Keys: keys, Clock: o.clock,
		Access: authorizationv1.ResourceAttributes{
			Verb: "introspect", Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version,
			Resource: "capabilitygrants",
		},
		NoAccess: "you lack the verb introspect on capabilitygrants (ClusterRole valetkey-introspector)",
	})
	return mgr.Add(&tokenServer{
		address: o.tokenAddress, certDir: o.tokenCertDir, keys: keys, handler: tokens.Handler(introspectors.Check)})
}

// NeedLeaderElection is false: see tokenServer.
func (*tokenServer) NeedLeaderElection() bool { return false }

// Start serves until the context ends.
func (s *tokenServer) Start(ctx context.Context) error {
	listener, err := listen(ctx, s.address)
	if err != nil {
		return fmt.Errorf("--token-address: %w", err)
	}
	return s.serve(ctx, listener)
}

func (s *tokenServer) serve(ctx context.Context, listener net.Listener) error {
	server := newServer(s.handler)
	if s.certDir != "" {
		watcher, err := certwatcher.New(filepath.Join(s.certDir, "tls.crt"), filepath.Join(s.certDir, "tls.key"))
		if err != nil {
			return errors.Join(fmt.Errorf("--token-cert-dir: %w", err), listener.Close())
		}
		go func() { _ = watcher.Start(ctx) }() // until the context ends
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: watcher.GetCertificate, NextProtos: []string{"h2", "http/1.1"}})
	}
	go s.keys.Run(ctx)
	go func() {
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), callerTime)
		defer cancel()
		_ = server.Shutdown(closing)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// living asks the API server itself whether a grant lives: a cache would know of its end a moment later. What ends a grant whose status nobody
// can store counts, too: that somebody revoked it, that its time is over, and that its Job runs no more.
func living(live, cached client.Reader, clock clock.PassiveClock) func(context.Context, token.Grant) (bool, error) {
	return func(ctx context.Context, asked token.Grant) (bool, error) {
		g := &v1alpha1.CapabilityGrant{}
		err := live.Get(ctx, client.ObjectKey{Namespace: asked.Namespace, Name: asked.Name}, g)
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		last := provider.Lease{ID: g.Spec.LeaseID, Attempt: g.Status.Attempt}.Session()
		if g.Spec.LeaseID != asked.Lease || last != asked.Session || g.Status.Stop != nil || g.Status.EndedAt != nil || g.DeletionTimestamp != nil ||
			g.Revoked() || lifecycle.Expired(g, clock.Now()) {
			return false, nil
		}
		if runs, err := jobRuns(ctx, cached, g); runs || err != nil {
			return runs, err
		}
		return jobRuns(ctx, live, g) // the cache may not show yet that it was started
	}
}

// jobRuns reports whether a grant's Job was started and is not over.
func jobRuns(ctx context.Context, from client.Reader, g *v1alpha1.CapabilityGrant) (bool, error) {
	job := &batchv1.Job{}
	err := from.Get(ctx, client.ObjectKey{Namespace: g.Namespace, Name: g.Spec.Job.Name}, job)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	over := job.DeletionTimestamp != nil || slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed)
	})
	return err == nil && string(job.UID) == g.Spec.Job.UID && !ptr.Deref(job.Spec.Suspend, false) && !over, err
}
