// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"testing"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider/gcp"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

func TestOutbound_GoogleIsReachedAsTheOperatorIsTold(t *testing.T) {
	w := newWorld(t)
	outboundtest.Run(t, outboundtest.BackEnd{Server: w.gate, Use: func(t *testing.T, url, bundle string, way outbound.Settings) error {
		g := gcp.New(gcp.Options{Endpoints: []string{url}, Audiences: []string{audience}, Outbound: way,
			Identities: identity.NewSource(w.api, identities), Clock: clock.RealClock{}})
		l := w.lease()
		l.Provider.Spec.GCP = &v1alpha1.GCPProvider{WorkloadIdentityProvider: pool, STSEndpoint: url, IAMCredentialsEndpoint: url, CABundle: bundle}
		_, err := g.Issue(t.Context(), l)
		return err
	}})
}
