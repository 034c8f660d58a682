// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
	"github.com/valetkey/valetkey/internal/provider/vault"
)

// standIn says what Vault does of a lease, and of its end.
func standIn(w http.ResponseWriter, r *http.Request) {
	gone := map[string]string{"/v1/sys/leases/lookup": "invalid lease", "/v1/auth/token/lookup-accessor": "invalid accessor"}
	switch said := answers()[r.URL.Path]; {
	case said != nil:
		_ = json.NewEncoder(w).Encode(said)
	case gone[r.URL.Path] != "":
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{gone[r.URL.Path]}})
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

func TestOutbound_VaultIsReachedAsTheOperatorIsTold(t *testing.T) {
	outboundtest.Run(t, outboundtest.BackEnd{Server: http.HandlerFunc(standIn), Clock: clock.RealClock{}, Ends: v1alpha1.RevocationImmediate,
		New: func(t *testing.T, url string, way outbound.Settings) provider.Provider {
			return vault.New(vault.Options{Addresses: []string{url}, Audiences: []string{"vault"}, Outbound: way, Identities: identityOf(t), Clock: clock.RealClock{}})
		},
		Lease: leaseOf})
}

// leaseOf is of a Vault at a URL.
func leaseOf(url, bundle string) provider.Lease {
	return provider.Lease{
		ID: "9f8c6b6a-9c2a-4e0b-8a4d-2d7db8f80731", Attempt: 1, TTL: 15 * time.Minute,
		Values: provider.Values{Repo: "web-app", Environment: "preview", Namespace: "agents"},
		Capability: &v1alpha1.Capability{ObjectMeta: metav1.ObjectMeta{Name: "read"}, Spec: v1alpha1.CapabilitySpec{Vault: &v1alpha1.VaultCapability{
			ServiceAccountName: "reader", Role: "reader", Path: "database/creds/previews", Revocation: v1alpha1.VaultImmediate,
			Variables: []v1alpha1.VaultVariable{{Name: "PASSWORD", Value: "${data.password}"}}}}},
		Provider: &v1alpha1.CapabilityProvider{Spec: v1alpha1.CapabilityProviderSpec{Vault: &v1alpha1.VaultProvider{
			Address: url, AuthPath: "jwt", Audience: "vault", CABundle: bundle}}},
	}
}

func TestIssue_OnlyWhatVaultRefusesIsSaidNotToBeIssued(t *testing.T) {
	outboundtest.Refusals(t, outboundtest.BackEnd{Server: http.HandlerFunc(standIn), Clock: clock.RealClock{},
		New: func(t *testing.T, url string, way outbound.Settings) provider.Provider {
			return vault.New(vault.Options{Addresses: []string{url}, Audiences: []string{"vault"}, Outbound: way, Identities: identityOf(t), Clock: clock.RealClock{}})
		},
		Lease: leaseOf}, outboundtest.Issuing{Is: func(r *http.Request) bool { return r.URL.Path == leases },
		Refusal: `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`})
}
