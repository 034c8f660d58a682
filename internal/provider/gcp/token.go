// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package gcp

import (
	"time"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/handover"
	"github.com/valetkey/valetkey/internal/provider"
)

// clockSkew is how far the clocks of Google and operator may be apart before an expiry is not believed.
const clockSkew = 10 * time.Minute

// token is what Google answered. It cannot be printed.
type token struct {
	provider.Unprintable
	reveal func() string
	// sent are the tokens that it was exchanged for.
	sent    func() []string
	expires time.Time
	bearer  bool
	// works is until when it works, and what it was exchanged for.
	works provider.Works
	// whole is until when the service account's token works that it may be narrowed from: nobody is given that.
	whole time.Time
}

// believable refuses an answer that is not what was asked for.
func (t *token) believable(now time.Time, ttl time.Duration) error {
	why := ""
	switch {
	case t.reveal() == "" || !provider.Plain(t.reveal()) || !t.bearer:
		why = "no access token that can be used"
	case !t.expires.After(now):
		why = "a token that has expired already, by the operator's clock"
	case t.expires.After(now.Add(ttl + clockSkew)):
		why = "a token that lives longer than was asked for, by the operator's clock"
	}
	if why == "" {
		return nil
	}
	return provider.Mismatched(provider.Final, t.works, "Google answered with "+why+"; it is not used")
}

// credential is what the container is given: for gcloud and its kin, for Google's libraries, or for programs that read the environment.
func (t *token) credential(p *v1alpha1.GCPProvider, l provider.Lease, account string) (*provider.Credential, error) {
	f := provider.CredentialFields{ID: l.Session(), Principal: account, ExpiresAt: t.expires, Uncertain: max(0, t.whole.Sub(t.expires)), Secrets: []string{t.reveal()},
		Sent: t.sent(), Pointers: map[string]string{
			// The node's own service account must not be a way out.
			"GCE_METADATA_HOST": "metadata.invalid",
		}}
	if l.Capability.Spec.GCP.Delivery == v1alpha1.DeliveryEnv {
		f.Variables = map[string]string{"CLOUDSDK_AUTH_ACCESS_TOKEN": t.reveal(), "GOOGLE_OAUTH_ACCESS_TOKEN": t.reveal()}
	} else {
		const file = v1alpha1.MountPath + "/gcp/access-token"
		f.Files = map[string]string{"gcp/access-token": t.reveal(), "gcp/credentials": handover.Credentials(file, "//iam.googleapis.com/"+p.WorkloadIdentityProvider, t.expires)}
		f.Pointers["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"] = file
		f.Pointers["GOOGLE_APPLICATION_CREDENTIALS"] = v1alpha1.MountPath + "/gcp/credentials"
	}
	c, err := provider.NewCredential(f)
	if err != nil {
		return nil, provider.Mismatched(provider.Final, t.works, "what Google answered cannot be projected: "+err.Error())
	}
	return c, nil
}
