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
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/token"
)

// tokenServer answers for the tokens that the operator signs. Every replica does, whoever leads.
type tokenServer struct {
	address, certDir string
	handler          http.Handler
}

// addTokenServer serves what the issuer of tokens is asked, if it is one.
func addTokenServer(mgr ctrl.Manager, o options, tokens *token.Provider) error {
	if o.tokenIssuer == "" {
		return nil
	}
	return mgr.Add(&tokenServer{address: o.tokenAddress, certDir: o.tokenCertDir, handler: tokens.Handler(mayIntrospect(mgr.GetClient(), o.tokenIssuer))})
}

// NeedLeaderElection is false: see tokenServer.
func (*tokenServer) NeedLeaderElection() bool { return false }

// Start serves until the context ends.
func (s *tokenServer) Start(ctx context.Context) error {
	const wait = 10 * time.Second
	server := &http.Server{Handler: s.handler, ReadHeaderTimeout: wait, ReadTimeout: wait, WriteTimeout: wait, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("--token-address: %w", err)
	}
	if s.certDir != "" {
		watcher, err := certwatcher.New(filepath.Join(s.certDir, "tls.crt"), filepath.Join(s.certDir, "tls.key"))
		if err != nil {
			return errors.Join(fmt.Errorf("--token-cert-dir: %w", err), listener.Close())
		}
		go func() { _ = watcher.Start(ctx) }() // until the context ends
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: watcher.GetCertificate, NextProtos: []string{"h2", "http/1.1"}})
	}
	go func() {
		<-ctx.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
		defer cancel()
		_ = server.Shutdown(closing)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// living asks the API server itself whether a grant lives: a cache would know of its end a moment later.
func living(live client.Reader) func(context.Context, token.Grant) (bool, error) {
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
		return g.Spec.LeaseID == asked.Lease && last == asked.Session && g.Status.Stop == nil && g.Status.EndedAt == nil && g.DeletionTimestamp == nil, nil
	}
}

// errNoToken and errNoRight are what callers are told.
var (
	errNoToken = errors.New("bring a ServiceAccount token whose audience is this issuer")
	errNoRight = errors.New("you lack the verb introspect on capabilitygrants (ClusterRole valetkey-introspector)")
	errUnknown = errors.New("who you are cannot be found out now")
)

// mayIntrospect accepts tokens of the cluster for the issuer as their audience, of whoever has the verb introspect.
func mayIntrospect(api client.Client, issuer string) token.Authorize {
	return func(r *http.Request) (int, error) {
		brought := token.BearerOf(r)
		if brought == "" {
			return http.StatusUnauthorized, errNoToken
		}
		review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: brought, Audiences: []string{issuer}}}
		if err := api.Create(r.Context(), review); err != nil {
			return http.StatusServiceUnavailable, errUnknown
		}
		if !review.Status.Authenticated {
			return http.StatusUnauthorized, errNoToken
		}
		user := review.Status.User
		access := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: map[string]authorizationv1.ExtraValue{},
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "introspect", Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "capabilitygrants"},
		}}
		for key, values := range user.Extra {
			access.Spec.Extra[key] = authorizationv1.ExtraValue(values)
		}
		if err := api.Create(r.Context(), access); err != nil {
			return http.StatusServiceUnavailable, errUnknown
		}
		if !access.Status.Allowed {
			return http.StatusForbidden, errNoRight
		}
		return http.StatusOK, nil
	}
}
