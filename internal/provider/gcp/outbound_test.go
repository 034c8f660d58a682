// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"testing"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/gcp"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

func TestOutbound_GoogleIsReachedAsTheOperatorIsTold(t *testing.T) {
	w := newWorld(t)
	outboundtest.Run(t, outboundtest.BackEnd{Server: w.gate, Clock: clock.RealClock{}, Ends: v1alpha1.RevocationAtExpiry,
		New: func(_ *testing.T, url string, way outbound.Settings) provider.Provider {
			return gcp.New(gcp.Options{Endpoints: []string{url}, Audiences: []string{audience}, Outbound: way,
				Identities: identity.NewSource(w.api, identities), Clock: clock.RealClock{}})
		},
		Lease: func(url, bundle string) provider.Lease {
			l := w.lease()
			l.Provider.Spec.GCP = &v1alpha1.GCPProvider{WorkloadIdentityProvider: pool, STSEndpoint: url, IAMCredentialsEndpoint: url, CABundle: bundle}
			return l
		}})
}
