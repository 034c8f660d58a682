// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"errors"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider/github"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
	"github.com/valetkey/valetkey/internal/signer"
)

func TestOutbound_GitHubIsReachedAsTheOperatorIsTold(t *testing.T) {
	w := newWorld(t)
	outboundtest.Run(t, outboundtest.BackEnd{Server: w.gate, Use: func(t *testing.T, url, bundle string, way outbound.Settings) error {
		key, err := signer.New(w.key)
		if err != nil {
			t.Fatal(err)
		}
		g := github.New(github.Options{APIs: []string{url}, Outbound: way, Signers: map[string]signer.Signer{"app": key}, Clock: clock.RealClock{}})
		l := w.lease()
		l.Provider.Spec.GitHub.APIURL, l.Provider.Spec.GitHub.CABundle = url, bundle
		issued := l.Issued(g.Handle(l), time.Now().Add(time.Hour))
		if _, err := g.Issue(t.Context(), l); err != nil {
			return err
		}
		// The provider is another one by then.
		*l.Provider = v1alpha1.CapabilityProvider{}
		revoked, err := g.Revoke(t.Context(), issued)
		if err == nil && revoked.Mode != v1alpha1.RevocationImmediate {
			err = errors.New("the token was not ended")
		}
		return err
	}})
}
