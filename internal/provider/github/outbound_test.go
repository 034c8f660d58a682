// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package github_test

import (
	"net/http"
	"testing"

	"k8s.io/utils/clock"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/provider"
	"github.com/valetkey/valetkey/internal/provider/github"
	"github.com/valetkey/valetkey/internal/provider/outbound"
	"github.com/valetkey/valetkey/internal/provider/outbound/outboundtest"
	"github.com/valetkey/valetkey/internal/signer"
)

// backEnd is the back end of a world, wherever its API is.
func (w *world) backEnd() outboundtest.BackEnd {
	return outboundtest.BackEnd{Server: w.gate, Clock: clock.RealClock{}, Ends: v1alpha1.RevocationImmediate,
		New: func(t *testing.T, url string, way outbound.Settings) provider.Provider {
			key, err := signer.New(w.key)
			if err != nil {
				t.Fatal(err)
			}
			return github.New(github.Options{APIs: []string{url}, Outbound: way, Signers: map[string]signer.Signer{"app": key}, Clock: clock.RealClock{}})
		},
		Lease: func(url, bundle string) provider.Lease {
			l := w.lease()
			l.Provider.Spec.GitHub.APIURL, l.Provider.Spec.GitHub.CABundle = url, bundle
			return l
		}}
}

func TestOutbound_GitHubIsReachedAsTheOperatorIsTold(t *testing.T) {
	outboundtest.Run(t, newWorld(t).backEnd())
}

func TestIssue_OnlyWhatGitHubRefusesIsSaidNotToBeIssued(t *testing.T) {
	outboundtest.Refusals(t, newWorld(t).backEnd(), outboundtest.Issuing{
		Is:      func(r *http.Request) bool { return r.Method == http.MethodPost },
		Refusal: `{"message":"no","documentation_url":"https://docs.github.com/rest","status":"403"}`})
}
