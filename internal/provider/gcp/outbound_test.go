// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp_test

import (
	"net/http"
	"strings"
	"testing"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/identity"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/gcp"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
)

// backEnd is the back end of a world, wherever its servers are.
func (w *world) backEnd() outboundtest.BackEnd {
	return outboundtest.BackEnd{Server: w.gate, Clock: clock.RealClock{}, Ends: v1alpha1.RevocationAtExpiry,
		New: func(_ *testing.T, url string, way outbound.Settings) provider.Provider {
			return gcp.New(gcp.Options{Endpoints: []string{url}, Audiences: []string{audience}, Outbound: way,
				Identities: identity.NewSource(w.api, identities), Clock: clock.RealClock{}})
		},
		Lease: func(url, bundle string) provider.Lease {
			l := w.lease()
			l.Provider.Spec.GCP = &v1alpha1.GCPProvider{WorkloadIdentityProvider: pool, STSEndpoint: url, IAMCredentialsEndpoint: url, CABundle: bundle}
			return l
		}}
}

func TestOutbound_GoogleIsReachedAsTheOperatorIsTold(t *testing.T) {
	outboundtest.Run(t, newWorld(t).backEnd())
}

func TestIssue_OnlyWhatGoogleRefusesIsSaidNotToBeIssued(t *testing.T) {
	const google = `{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}`
	for name, call := range map[string]outboundtest.Issuing{
		"the federated token": {Refusal: `{"error":"invalid_grant","error_description":"no"}`,
			Is: func(r *http.Request) bool { return r.URL.Path == "/v1/token" }},
		"the federated token, refused by Google's front end": {Refusal: google,
			Is: func(r *http.Request) bool { return r.URL.Path == "/v1/token" }},
		"the account's token": {Refusal: google,
			Is: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ":generateAccessToken") }},
	} {
		t.Run(name, func(t *testing.T) { outboundtest.Refusals(t, newWorld(t).backEnd(), call) })
	}
}
